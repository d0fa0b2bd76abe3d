"""Sizes by name: as large as they say, and single sizes win over them."""

import pytest
import torch
from hydra import compose, initialize

import world_model.train  # noqa: F401  (registers the command's settings)
from recorders import settings
from world_model import WorldModel, WorldModelConfig
from world_model.flops import served_flops, training_flops
from world_model.presets import PRESETS
from world_model.sampler import SamplerConfig


def composed(*overrides: str) -> WorldModelConfig:
    with initialize(version_base="1.3", config_path=None):
        model: WorldModelConfig = settings(compose("train", overrides=["data=x", "out=y", *overrides])).model
    return model


def test_a_preset_sets_sizes_and_single_sizes_win_over_it() -> None:
    assert composed() == WorldModelConfig() == composed("preset=tiny")
    base = composed("preset=base", "model.layers=3")
    assert (base.dim, base.heads, base.layers, base.window) == (640, 10, 3, WorldModelConfig().window)


@pytest.mark.parametrize(("name", "millions"), [("tiny", 8), ("base", 60), ("large", 300)])
def test_networks_are_as_large_as_presets_say(name: str, millions: int) -> None:
    config = WorldModelConfig(**PRESETS[name])  # type: ignore[arg-type]
    with torch.device("meta"):
        model = WorldModel(config)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(millions * 1e6, rel=0.1)
    clip, levels = torch.zeros(1, 3, 104, 80, 3, device="meta"), torch.zeros(1, 3, device="meta")
    drawn, tokens = model.forward_teacher(clip, clip, levels, torch.zeros(1, 4, dtype=torch.int64, device="meta"))
    assert drawn.shape == clip.shape and tokens.shape == (1, 6, 20, config.dim)
    assert training_flops(config, 3, 22) > 50 * served_flops(config, SamplerConfig(reuse=True)) > 0
