"""Learned worlds as Gymnasium environments: `import foreframe` registers every world that ships here.

    import gymnasium as gym, foreframe
    env = gym.make("foreframe/Pong-v0")
    envs = gym.make_vec("foreframe/Pong-v0", num_envs=64)    # all of them drawn by one pass of the network

The prefixed id works without the import: `gym.make("foreframe:foreframe/Pong-v0")`. Importing this module reads the
worlds' small JSON cards and nothing else: neither torch nor pygame is loaded before the first world is made.
"""

import json
from pathlib import Path
from typing import Any

import gymnasium

NAMESPACE = "foreframe"
ANY_WORLD = f"{NAMESPACE}/World-v0"
"""id of whichever world is named: `gym.make("foreframe/World-v0", world="runs/pong/world")`"""
_ENTRY_POINTS: dict[str, Any] = {"entry_point": "envs:WorldEnv", "vector_entry_point": "envs:WorldVectorEnv"}
_WORLDS = Path(__file__).resolve().parent / "envs" / "worlds"


def world_ids() -> list[str]:
    """Ids of the worlds that ship with this checkout, e.g. `["foreframe/Pong-v0"]`."""
    return [f"{NAMESPACE}/{card.parent.name}" for card in sorted(_WORLDS.glob("*/world.json"))]


def make_teacher(id: str, render_mode: str | None = None, **observations: Any) -> gymnasium.Env[Any, Any]:
    """The real game a world was learned from, with the world's own spaces and preprocessing.

    Args:
        id: a world's id (`"foreframe/Pong-v0"`), its name, or the path of a world folder.
        render_mode: as in `gymnasium.make`; rendering shows the game's own, unchanged picture.
        **observations: `size`, `grayscale`, `obs_dtype`, `frame_stack`, as `gymnasium.make(id, ...)` takes them.

    Returns:
        An environment equal in both spaces to `gym.make(id, **observations)`.

    Raises:
        WorldError: if there is no such world, or its card names no game.
        MissingGame: if the real game is not installed; the message says what to install.
        ValueError: if an observation is asked for that there is not.
    """
    from envs import make_teacher as make  # here, so that importing this module stays light

    return make(id.removeprefix(f"{NAMESPACE}:").removeprefix(f"{NAMESPACE}/"), render_mode, **observations)


def _register_worlds() -> None:
    """Register each shipped world once; kwargs are strings, so specs survive JSON."""
    for id in world_ids():
        if id in gymnasium.registry:
            continue
        name = id.removeprefix(f"{NAMESPACE}/")
        limit = _read_card(name).get("max_episode_steps")
        gymnasium.register(id, **_ENTRY_POINTS, max_episode_steps=limit, kwargs={"world": name})
    if ANY_WORLD not in gymnasium.registry:
        gymnasium.register(ANY_WORLD, **_ENTRY_POINTS, kwargs={"world": ""})  # an error lists those there are


def _read_card(name: str) -> dict[str, Any]:
    """A world's card; {} if it is damaged, which `gym.make` will report when somebody wants that world."""
    try:
        card = json.loads((_WORLDS / name / "world.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


_register_worlds()
