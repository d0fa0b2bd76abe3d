"""Tiny untrained worlds of any game."""

from pathlib import Path

import numpy as np
import torch

from recorders import action_meanings, game_card, game_for, make_game
from world_model import Contexts, SamplerConfig, WorldModel, WorldModelConfig, save_world


def save_game_world(folder: Path, game: str, patch: tuple[int, int], **kwargs: object) -> Path:
    """Write a world of a game's pictures and actions with random weights, whose episodes never end.

    `kwargs` go to the game.
    """
    config = game_for(game)
    config.kwargs |= kwargs
    teacher = make_game(config)
    shape, space = teacher.observation_space.shape, teacher.action_space
    count = int(getattr(space, "n", 1))
    bounds = {} if hasattr(space, "n") else {"action_low": space.low.tolist(), "action_high": space.high.tolist()}
    torch.manual_seed(0)
    sizes = {"dim": 16, "layers": 2, "heads": 2, "mlp_ratio": 2, "window": 4, "temporal_every": 2, **bounds}
    model = WorldModel(WorldModelConfig(height=shape[0], width=shape[1], patch=list(patch), num_actions=count, **sizes))
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(std=0.2)
        model.outcome.termination.weight.zero_()
        model.outcome.termination.bias.fill_(-1.0)
    card = {"name": folder.name, "fps": teacher.game.fps, "game": game_card(teacher), "licence": "CC0-1.0",
            "actions": {"n": count, "meanings": action_meanings(teacher), "keys": {}}}
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 3, *shape), np.uint8)
    actions = np.stack([[space.sample() for _ in range(2)] for _ in range(3)])
    save_world(folder, model, SamplerConfig(steps=1), card, Contexts(frames, actions))
    return folder
