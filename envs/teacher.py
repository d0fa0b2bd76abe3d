"""The real game behind a learned world, with the world's own spaces and preprocessing."""

import json
from typing import Any

import gymnasium

from recorders import GameConfig, make_game
from world_model import WorldError

from .catalogue import find_world


def make_teacher(world: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """The real game that `world` was learned from.

    Args:
        world: a shipped world's name, or the folder of a trained one.
        **kwargs: passed on to the real game, e.g. `render_mode="rgb_array"`.

    Returns:
        An environment with uint8 [H, W, 3] observations and the world's actions.

    Raises:
        WorldError: if there is no such world, or its card names no game.
        ImportError: if the real game is not installed; the message says what to install.
    """
    folder = find_world(world)
    card = json.loads((folder / "world.json").read_text(encoding="utf-8"))
    return make_game(_game_of(card, folder.name), **kwargs)
