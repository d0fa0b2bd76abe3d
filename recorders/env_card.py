"""What has to be known of an environment to make it again, as JSON; and making it."""

import json
from collections.abc import Mapping
from typing import Any

import gymnasium

from .games import GameConfig, MissingGame, game_card, game_from_card, make_game, register_games
from .layout import RecordingError

WORLDS = "foreframe"
"""the one module that an environment's id in a recording may name"""
_OF_OTHERS = ("vectorization_mode", "vector_kwargs", "num_envs", "autoreset_mode", "render_mode", "max_episode_steps")


def env_card(env: gymnasium.Env[Any, Any] | gymnasium.vector.VectorEnv[Any, Any, Any]) -> dict[str, Any]:
    """What to note of an environment for a whole recording.

    Args:
        env: any environment or vector of equal ones; one with `recording_card()` adds what that says, e.g. a learned
            world its card, hash and how the network runs. A vector that is not made of environments may have it too.

    Returns:
        `env` (id, kwargs, max_episode_steps, names of wrappers and of kwargs that are no JSON), and what applies of
        `game`, `fps` and what `recording_card` returned.
    """
    card: dict[str, Any] = {}
    one = _one_of(env)
    spec = one.spec if one is not None and one.spec is not None else env.spec
    if spec is not None:
        given = {key: value for key, value in spec.kwargs.items() if key not in _OF_OTHERS}
        kwargs = {key: value for key, value in given.items() if _is_json(value)}
        card["env"] = {
            "id": spec.id,
            "kwargs": kwargs,
            "left_out": sorted(given.keys() - kwargs.keys()),
            "max_episode_steps": spec.max_episode_steps,
            "wrappers": [wrapper.name for wrapper in spec.additional_wrappers],
        }
    if one is None:
        return card
    if isinstance(_attribute(one, "game"), GameConfig):
        card["game"] = game_card(one)
    fps = env.metadata.get("render_fps")
    if fps:
        card["fps"] = float(fps)
    note = getattr(one.unwrapped, "recording_card", None)
    said = dict(note()) if callable(note) else {}
    return {**card, **said, "env": {**card.get("env", {}), **said.get("env", {})}}


def make_recorded_env(meta: Mapping[str, Any], **overrides: Any) -> gymnasium.Env[Any, Any]:
    """The environment that a recording's notes describe.

    Ids are looked up among the registered environments and Foreframe's worlds; nothing else that a recording says is
    imported or run.

    Args:
        meta: the notes.
        **overrides: kwargs that are to differ, e.g. `world="runs/better/world"`.

    Raises:
        RecordingError: if the notes do not say which it was, or it was wrapped in a way that cannot be made again.
        MissingGame: if it is not installed here.
    """
    try:
        if "game" in meta and "world" not in meta:
            return make_game(game_from_card(meta["game"]))
        card = meta["env"]
        name, special = str(card["id"]), [*card.get("wrappers", []), *card.get("left_out", [])]
        kwargs, limit = {**(card.get("kwargs") or {}), **overrides}, card.get("max_episode_steps")
    except (KeyError, TypeError, ValueError):
        raise RecordingError("the recording does not say which environment it came from: hand one over") from None
    if special:
        raise RecordingError(f"{name} was recorded with {special}, which JSON cannot hold: make it so and hand it over")
    register_games(name)
    try:
        return gymnasium.make(_known_id(name), max_episode_steps=limit, disable_env_checker=True, **kwargs)
    except (gymnasium.error.Error, ModuleNotFoundError, TypeError) as error:
        raise MissingGame(f"{name} cannot be made here: {error}") from None


def _is_json(value: Any) -> bool:
    try:
        return json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        return False


def _known_id(name: str) -> str:
    module, _, id = name.rpartition(":")
    if module not in ("", WORLDS):
        raise MissingGame(f"{name} would import {module}: register {id} yourself and hand the environment over")
    return f"{WORLDS}:{id}" if id.startswith(f"{WORLDS}/") else id


def _one_of(env: Any) -> Any:
    """The environment itself, or of a vector the first that it holds in this process, or what speaks for all."""
    if not isinstance(env, gymnasium.vector.VectorEnv):
        return env
    whole: Any = env.unwrapped
    if inner := getattr(whole, "envs", None):
        return inner[0]
    return whole if hasattr(whole, "recording_card") else None


def _attribute(env: Any, name: str) -> Any:
    if isinstance(env, gymnasium.vector.VectorEnv):
        return getattr(env, name, None)
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None
