"""Worlds to test with: real, tiny and untrained."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks are faster so, here and in child processes

import gymnasium
import numpy as np
import pytest
import torch
from small_worlds import save_small_world

from recorders import ZarrRecorder, action_meanings, game_card, game_for, make_game
from world_model import Contexts, SamplerConfig, WorldModel, WorldModelConfig, save_world


def save_tiny_world(folder: Path, ends: bool = False, seed: int = 0, conditions: tuple[str, ...] = ()) -> Path:
    """A world of Pong's spaces with random weights; episodes end at the first step or never.

    With conditions, names of Atari games, it holds those.
    """
    game = game_for("ALE/Pong-v5")
    teacher = make_game(game)
    torch.manual_seed(seed)
    config = WorldModelConfig(patch=[26, 20], dim=32, layers=2, heads=2, mlp_ratio=2, window=4, temporal_every=2,
                              conditions=list(conditions))
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
    if conditions:
        games = {name: game_card(make_game(game_for(f"ALE/{name}-v5"))) for name in conditions}
        card["game"] = {**card["game"], "id": " + ".join(conditions), "conditions": games}
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 3, *teacher.observation_space.shape), np.uint8)
    save_world(folder, model, SamplerConfig(steps=2), card, Contexts(frames, rng.integers(0, 6, (5, 2))))
    return folder


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory) -> Path:
    """Folder of a world that never ends an episode."""
    return save_tiny_world(tmp_path_factory.mktemp("worlds") / "Tiny-v0")


@pytest.fixture(scope="session")
def other_world(tmp_path_factory) -> Path:
    """Folder of a world as `tiny_world`, with other weights."""
    return save_tiny_world(tmp_path_factory.mktemp("others") / "Tiny-v0", seed=1)


@pytest.fixture(scope="session")
def ending_world(tmp_path_factory) -> Path:
    """Folder of a world whose every episode ends at the first step."""
    return save_tiny_world(tmp_path_factory.mktemp("worlds") / "Ending-v0", ends=True)


@pytest.fixture(scope="session")
def small_world(tmp_path_factory) -> str:
    """Folder of a world of small pictures that never ends an episode."""
    return str(save_small_world(tmp_path_factory.mktemp("small") / "Small-v0"))


@pytest.fixture(scope="session")
def mortal_world(tmp_path_factory) -> str:
    """Folder of a world of small pictures whose episodes end now and then."""
    return str(save_small_world(tmp_path_factory.mktemp("small") / "Mortal-v0", ends="sometimes"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six episodes of 41 frames of a square that a 3-action game moves left, right or not; a reward at either edge."""
    path = tmp_path_factory.mktemp("data") / "square"
    game = {"id": "Square", "fps": 10, "action_space": {"n": 3}, "action_meanings": ["NOOP", "LEFT", "RIGHT"],
            "keys": {}}
    rng = np.random.default_rng(0)
    pictures = gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8)
    with ZarrRecorder(path, pictures, gymnasium.spaces.Discrete(3), meta={"game": game}) as writer:
        for episode in range(6):
            place = 5
            writer.begin(seed=episode)
            for step in range(40):
                action = int(rng.integers(3))
                moved = int(np.clip(place + (0, -2, 2)[action], 0, 10))
                reward = float(moved in (0, 10) and moved != place) * (1 if moved else -1)
                writer.add(_square(place), action, reward, step == 39, False)
                place = moved
            writer.end(_square(place))
    return path


def _square(place: int) -> np.ndarray:
    frame = np.full((8, 12, 3), 40, np.uint8)
    frame[2:6, place : place + 2] = (220, 60, 60)
    return frame
