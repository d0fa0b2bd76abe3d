"""Real games as Gymnasium environments with a world's frames, and the card that says which game it was."""

import difflib
import importlib
import json
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import AddRenderObservation

from .doom_env import register_doom
from .preprocess import FrameConfig, PreprocessFrames, is_picture
from .repeat_action import RepeatAction
from .software import versions
from .spaces import space_card

PONG, BREAKOUT, DOOM = "ALE/Pong-v5", "ALE/Breakout-v5", "Doom/DefendTheLine-v0"
_PONG_KEYS = {"up": 2, "w": 2, "down": 3, "s": 3, "space": 1,
              "up+space": 4, "w+space": 4, "down+space": 5, "s+space": 5}  # fmt: skip
CAR_RACING = "CarRacing-v3"
_CAR_KEYS = {"left": [-1.0, 0.0, 0.0], "a": [-1.0, 0.0, 0.0], "right": [1.0, 0.0, 0.0], "d": [1.0, 0.0, 0.0],
             "up": [0.0, 1.0, 0.0], "w": [0.0, 1.0, 0.0], "down": [0.0, 0.0, 0.8], "s": [0.0, 0.0, 0.8],
             "space": [0.0, 0.0, 0.8]}  # fmt: skip
_VECTOR_NAMES = {CAR_RACING: ["STEER", "GAS", "BRAKE"]}
_BREAKOUT_KEYS = {"right": 2, "d": 2, "left": 3, "a": 3, "space": 1}


PACKAGES = {"ALE/": "ale_py", "Doom/": "vizdoom", "MiniGrid-": "minigrid", "BabyAI-": "minigrid",
            "MiniWorld-": "miniworld", "highway-": "highway_env"}  # fmt: skip
"""how ids begin, to the package that has those games; for others ids may begin with it: `package:Game-v0`"""
_EXTRAS = {"ale_py": "atari", "vizdoom": "doom"}


class MissingGame(RuntimeError):
    """The game is not installed, or there is none of that name; the message says what to do."""


@dataclass(kw_only=True)
class GameConfig:
    """One game, exactly as it is played, recorded and compared with."""

    id: str = PONG
    """a Gymnasium id"""
    kwargs: dict[str, Any] = field(
        default_factory=lambda: {"frameskip": 4, "repeat_action_probability": 0.0, "full_action_space": False}
    )
    """passed on to `gymnasium.make`"""
    frame: FrameConfig = field(default_factory=FrameConfig)
    repeat: int = 1
    """steps of the game for which an action is held; one step here is so many there"""
    fps: float | None = 15.0
    """steps per second at the game's true speed; None: what the game says it is shown with, over `repeat`"""
    keys: dict[str, Any] = field(default_factory=dict)
    """key names, joined by `+` where held together, to actions, or to what they push in vectors; empty: the game's
    own"""

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise ValueError(f"repeat must be at least 1, got {self.repeat}")
        if self.fps is not None and self.fps <= 0:
            raise ValueError(f"fps must be above 0 steps per second, got {self.fps}")


def game_for(id: str) -> GameConfig:
    """The settings a game is recorded with unless something else is asked for.

    Args:
        id: a Gymnasium id, e.g. `"ALE/Breakout-v5"`.
    """
    if id == PONG:
        return GameConfig(keys=dict(_PONG_KEYS))
    if id == BREAKOUT:  # bricks lie on whole pixels
        return GameConfig(id=id, keys=dict(_BREAKOUT_KEYS), frame=FrameConfig(crop=[1, 209, 0, 160]))
    if id.startswith("ALE/"):
        return GameConfig(id=id, frame=FrameConfig(size=[104, 80], crop=None))
    if id.startswith("Doom/"):
        return GameConfig(id=id, kwargs={}, frame=FrameConfig(size=[96, 128], crop=None), fps=35 / 3)
    frame = FrameConfig(size=None, crop=None)
    if id == CAR_RACING:  # which is shown fifty times a second
        return GameConfig(id=id, kwargs={}, frame=frame, fps=None, repeat=4, keys=dict(_CAR_KEYS))
    return GameConfig(id=id, kwargs={}, frame=frame, fps=None)


def make_game(config: GameConfig, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    """Make the real game with uint8 [H, W, 3] observations of the configured size.

    A game without pictures as observations is shown by its `rgb_array` rendering.

    Args:
        config: which game; where it leaves size or speed open, the attribute `game` of what is returned has them.
        render_mode: as in `gymnasium.make`; rendering shows the game's own, unchanged picture.

    Raises:
        MissingGame: if the game is not installed or not known.
        ValueError: if the crop does not fit, or the game has no pictures.
    """
    env = _make(config, render_mode)
    if not is_picture(env.observation_space):
        env.close()
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"{config.id} has no pictures as observations and is seen by its rendering: "
                f"render_mode must be rgb_array or None, got {render_mode!r}"
            )
        env = AddRenderObservation(_make(config, "rgb_array"), render_only=True)
    shown = PreprocessFrames(env if config.repeat == 1 else RepeatAction(env, config.repeat), config.frame)
    fps = config.fps or float(env.metadata.get("render_fps") or 30.0) / config.repeat
    frame = FrameConfig(size=shown.size, crop=config.frame.crop)
    return _Game(shown, replace(config, frame=frame, fps=fps))


def game_card(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """What has to be known to make the same game again and to play it, ready for JSON.

    Args:
        env: what `make_game` returned.

    Returns:
        `id, kwargs, frame, repeat, fps, keys, action_space, observation_space, action_meanings, versions`.

    Raises:
        ValueError: if `env` does not come from `make_game`.
    """
    config = getattr(env, "game", None)
    if not isinstance(config, GameConfig):
        raise ValueError(f"game_card needs an environment made by make_game, got {env}")
    card = {
        **asdict(config),
        "keys": config.keys or _own_keys(env),
        "action_space": space_card(env.action_space),
        "observation_space": space_card(env.observation_space),
        "action_meanings": action_meanings(env),
        "versions": versions(),
    }
    return json.loads(json.dumps(card))


def game_from_card(card: Mapping[str, Any], trusted: str = "") -> GameConfig:
    """The settings that make the game a card describes; inverse of `game_card` up to what only describes it.

    Args:
        card: of `game_card`.
        trusted: an id whose package may be imported, because whoever runs this has named it.

    Raises:
        KeyError: if the card lacks `id`, `kwargs` or `frame`.
        MissingGame: if the id names a package that nobody has imported: a card may be a stranger's.
    """
    package, _, _ = str(card["id"]).rpartition(":")
    if package and package not in sys.modules and trusted != card["id"]:
        raise MissingGame(f"{card['id']} would import {package}, and a card alone may not: import it first; "
                          f"for world_model.evaluate pass env={card['id']}")  # fmt: skip
    frame = FrameConfig(size=card["frame"]["size"], crop=card["frame"]["crop"])
    return GameConfig(
        id=card["id"],
        kwargs=dict(card["kwargs"]),
        frame=frame,
        repeat=int(card.get("repeat", 1)),
        fps=card.get("fps", 15.0),
        keys=dict(card.get("keys") or {}),
    )


def action_meanings(env: gymnasium.Env[Any, Any]) -> list[str]:
    """Names of a game's actions in order, or of a vector's numbers; `["0", "1", ...]` where the game has none."""
    names = getattr(env.unwrapped, "get_action_meanings", None)
    if names is not None:
        return [str(name) for name in names()]
    if env.spec is not None and env.spec.id in _VECTOR_NAMES:
        return list(_VECTOR_NAMES[env.spec.id])
    shape = env.action_space.shape or ()
    return [str(n) for n in range(int(getattr(env.action_space, "n", shape[0] if len(shape) == 1 else 0)))]


class _Game(gymnasium.Wrapper, RecordConstructorArgs):
    """Remembers the settings it was made with."""

    def __init__(self, env: gymnasium.Env[Any, Any], game: GameConfig) -> None:
        RecordConstructorArgs.__init__(self, game=game)
        gymnasium.Wrapper.__init__(self, env)
        self.game = game


def _make(config: GameConfig, render_mode: str | None) -> gymnasium.Env[Any, Any]:
    register_games(config.id)
    _load_box2d(config.id)
    try:
        return gymnasium.make(config.id, render_mode=render_mode, **config.kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingGame(f"{config.id} cannot be made: {error}") from None
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.NamespaceNotFound, ModuleNotFoundError) as error:
        raise MissingGame(_unknown(config.id, error)) from None


def _load_box2d(id: str) -> None:
    """Import Box2D for games that need it: it warns while it loads, and dies where warnings are errors (swig 2881)."""
    spec = gymnasium.registry.get(id)
    if spec is not None and str(spec.entry_point).startswith("gymnasium.envs.box2d"):
        with warnings.catch_warnings(), suppress(ImportError):
            warnings.simplefilter("ignore")
            importlib.import_module("Box2D")


def register_games(id: str) -> None:
    """Make the games of well-known packages known to Gymnasium, if `id` is one of theirs.

    Raises:
        MissingGame: if the package is not installed.
    """
    package = next((package for start, package in PACKAGES.items() if id.startswith(start)), None)
    if package is None:
        return
    try:
        module = importlib.import_module(package)
    except ImportError:
        extra = f", or pip install -e '.[{_EXTRAS[package]}]' in the checkout" if package in _EXTRAS else ""
        name = package.replace("_", "-")
        raise MissingGame(f"{id} needs {name}, which is not installed: pip install {name}{extra}") from None
    if package == "vizdoom":
        register_doom()
    elif package == "ale_py":
        module.ALEInterface.setLoggerMode(module.LoggerMode.Error)
        gymnasium.register_envs(module)


def _unknown(id: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{id} needs the Python package {error.name}, which is not installed: pip install {error.name}"
    near = difflib.get_close_matches(id, list(gymnasium.registry), n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "gymnasium.pprint_registry() lists all"
    return f"no game is called {id!r}: {hint}"


def _own_keys(env: gymnasium.Env[Any, Any]) -> dict[str, int]:
    table = getattr(env.unwrapped, "get_keys_to_action", None)
    if table is None:
        return {}
    return {"+".join(map(_key_name, keys)): int(action) for keys, action in table().items() if keys}


def _key_name(key: str | int) -> str:
    name = chr(key) if isinstance(key, int) and 0 < key < 0x110000 else str(key)
    return {" ": "space"}.get(name, name)
