"""Sizes by name: as large as they say, and single sizes win over them."""

import subprocess
import sys
from pathlib import Path

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
    assert training_flops(config, 3, 22) > 50 * served_flops(config, SamplerConfig(reuse=True)) > 0


def test_the_table_of_sizes_is_printed_without_computing_anything() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.sizes"], capture_output=True, text=True,
                          cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| tiny", "| base", "| large"))]
    assert [row[0] for row in rows] == ["| tiny", "| base", "| large"]
    assert all(float(row[-1].split()[0]) < 0.2 * float(row[-2].split()[0]) for row in rows)  # what is kept for backward
