"""Worlds so small that a step takes a few milliseconds: real networks with random weights, pictures of 16 x 20."""

from pathlib import Path

import numpy as np
import torch

from world_model import Contexts, SamplerConfig, WorldModel, WorldModelConfig, save_world

BIAS = {"never": -1.0, "sometimes": 0.75, "always": 1.0}


BOUNDS = [-1.0, 0.0, 0.0], [1.0, 1.0, 1.0]
"""of the actions of a small world that is driven"""


def save_small_world(folder: Path, ends: str = "never", seed: int = 0, driven: bool = False,
                     conditions: tuple[str, ...] = (), history: int = 2) -> Path:
    """Write a world of 6 actions, or a driven one's vectors; episodes end never, now and then, or at the first step.

    With conditions its five clips are under the first, the second, the first, ...
    """
    torch.manual_seed(seed)
    low, high = BOUNDS if driven else ([], [])
    config = WorldModelConfig(height=16, width=20, patch=[8, 10], channels=8, canvas=4, kinds=2, dim=16, layers=2,
                              heads=2, mlp_ratio=2, window=4, sinks=1, temporal_every=2, action_low=low,
                              action_high=high, conditions=list(conditions), history=history)  # fmt: skip
    model = WorldModel(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(std=0.3)
        for head, spread in ((model.outcome.reward, 3.0), (model.outcome.termination, 3.0 * (ends == "sometimes"))):
            head.weight.normal_(std=spread)
            head.bias.zero_()
        model.outcome.termination.bias.fill_(BIAS[ends])
        if model.backdrops is not None:
            model.backdrops.pictures.normal_()
    card = {
        "name": folder.name, "fps": 15, "game": {"id": "Small"}, "licence": "CC0-1.0",
        "actions": {"n": 6, "meanings": ["NOOP", "A", "B", "C", "D", "E"], "keys": {}},
    }  # fmt: skip
    if driven:
        card["actions"] = {"meanings": ["STEER", "GAS", "BRAKE"], "keys": {
            "left": [-1, 0, 0], "right": [1, 0, 0], "up": [0, 1, 0], "down": [0, 0, 0.8]}}  # fmt: skip
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 3, 16, 20, 3), np.uint8)
    under = np.arange(5) % max(len(conditions), 1)
    save_world(folder, model, SamplerConfig(steps=1), card, Contexts(frames, _actions(rng, driven), under))
    return folder


def _actions(rng: np.random.Generator, driven: bool) -> np.ndarray:
    return rng.uniform(*BOUNDS, (5, 2, 3)).astype(np.float32) if driven else rng.integers(0, 6, (5, 2))
