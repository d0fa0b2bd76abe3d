"""Worlds to test with: real, tiny and untrained."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks are faster so, here and in child processes

import numpy as np
import pytest
import torch

from recorders import action_meanings, game_card, game_for, make_game
from world_model import Contexts, SamplerConfig, WorldModel, WorldModelConfig, save_world


def save_tiny_world(folder: Path, ends: bool = False) -> Path:
    """A world of Pong's spaces with random weights; episodes end at the first step or never."""
    game = game_for("ALE/Pong-v5")
    teacher = make_game(game)
    torch.manual_seed(0)
    config = WorldModelConfig(patch=[26, 20], dim=32, layers=2, heads=2, mlp_ratio=2, window=4, temporal_every=2)
    model = WorldModel(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(std=0.2)
        model.outcome.termination.weight.zero_()
        model.outcome.termination.bias.fill_(1.0 if ends else -1.0)
    card = {
        "name": folder.name, "fps": game.fps, "game": game_card(teacher), "licence": "CC0-1.0",
        "actions": {"n": 6, "meanings": action_meanings(teacher), "keys": game.keys},
    }  # fmt: skip
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 3, *teacher.observation_space.shape), np.uint8)
    save_world(folder, model, SamplerConfig(steps=2), card, Contexts(frames, rng.integers(0, 6, (5, 2))))
    return folder


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory) -> Path:
    """Folder of a world that never ends an episode."""
    return save_tiny_world(tmp_path_factory.mktemp("worlds") / "Tiny-v0")


@pytest.fixture(scope="session")
def ending_world(tmp_path_factory) -> Path:
    """Folder of a world whose every episode ends at the first step."""
    return save_tiny_world(tmp_path_factory.mktemp("worlds") / "Ending-v0", ends=True)
