"""Doom, by ViZDoom with the freedoom pictures that it brings: scenarios in which one can move and shoot."""

import importlib
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

SCENARIOS = {"DefendTheLine": "defend_the_line", "DefendTheCenter": "defend_the_center", "MyWayHome": "my_way_home"}
"""names in Gymnasium ids, `Doom/DefendTheLine-v0`, to ViZDoom's"""

BUTTONS = ("MOVE_FORWARD", "MOVE_BACKWARD", "TURN_LEFT", "TURN_RIGHT", "MOVE_LEFT", "MOVE_RIGHT", "ATTACK")

ACTIONS: dict[str, tuple[str, ...]] = {
    "NOOP": (), "FORWARD": ("MOVE_FORWARD",), "BACKWARD": ("MOVE_BACKWARD",), "LEFT": ("TURN_LEFT",),
    "RIGHT": ("TURN_RIGHT",), "STRAFE LEFT": ("MOVE_LEFT",), "STRAFE RIGHT": ("MOVE_RIGHT",), "FIRE": ("ATTACK",),
    "FORWARD LEFT": ("MOVE_FORWARD", "TURN_LEFT"), "FORWARD RIGHT": ("MOVE_FORWARD", "TURN_RIGHT"),
    "FORWARD FIRE": ("MOVE_FORWARD", "ATTACK"), "LEFT FIRE": ("TURN_LEFT", "ATTACK"),
    "RIGHT FIRE": ("TURN_RIGHT", "ATTACK"),
}  # fmt: skip
"""names of the actions, in the order of their ids, to the buttons held for all tics of a step"""

KEYS = {
    "up": "FORWARD", "w": "FORWARD", "down": "BACKWARD", "s": "BACKWARD", "left": "LEFT", "right": "RIGHT",
    "a": "STRAFE LEFT", "d": "STRAFE RIGHT", "space": "FIRE", "up+left": "FORWARD LEFT", "w+left": "FORWARD LEFT",
    "up+right": "FORWARD RIGHT", "w+right": "FORWARD RIGHT", "up+space": "FORWARD FIRE", "w+space": "FORWARD FIRE",
    "left+space": "LEFT FIRE", "right+space": "RIGHT FIRE",
}  # fmt: skip
"""keys, joined by `+` where held together, to names of actions"""

TICS = 35
"""of the game's clock, per second"""
VARIABLES = ("HEALTH", "KILLCOUNT", "POSITION_X", "POSITION_Y", "ANGLE")
SHAPE = 240, 320, 3
LONGEST = 1050
"""steps of an episode, 90 seconds at three tics a step"""


class DoomEnv(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """One player in a scenario.

    Observations are uint8 [240, 320, 3], without particles and the marks that shots leave on walls. The reward is that
    of the scenario, 1 for a monster shot or a goal reached, and -1 for dying, which ends the episode. `info` has
    `health`, `kills`, `x`, `y` (map units) and `angle` (degrees).

    Args:
        scenario: one of ViZDoom's, see `SCENARIOS`.
        frame_skip: tics per step.
        skill: 1 (easy) to 5.
        render_mode: "rgb_array" or None.

    Raises:
        ModuleNotFoundError: if ViZDoom is not installed.
        ValueError: if a setting is out of range.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": TICS / 3}  # noqa: RUF012  (as Gymnasium has it)

    def __init__(self, scenario: str = "defend_the_line", frame_skip: int = 3, skill: int = 3,
                 render_mode: str | None = None) -> None:  # fmt: skip
        if scenario not in SCENARIOS.values():
            raise ValueError(f"scenario must be one of {', '.join(SCENARIOS.values())}, got {scenario!r}")
        if not 1 <= frame_skip <= TICS or not 1 <= skill <= 5:
            raise ValueError(f"need 1 <= frame_skip <= {TICS}, 1 <= skill <= 5, got {frame_skip} and {skill}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be rgb_array or None, got {render_mode!r}")
        self.observation_space = Box(0, 255, SHAPE, np.uint8)
        self.action_space = Discrete(len(ACTIONS))
        self.render_mode, self.frame_skip = render_mode, frame_skip
        self._held = [[int(button in held) for button in BUTTONS] for held in ACTIONS.values()]
        self._folder = tempfile.TemporaryDirectory(prefix="doom-")  # the engine writes its settings somewhere
        self._game = _engine(scenario, skill, Path(self._folder.name))
        self._end = weakref.finalize(self, _end, self._game, self._folder)
        self._picture = np.zeros(SHAPE, np.uint8)
        self._known = dict.fromkeys(VARIABLES, 0.0)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:  # fmt: skip
        """Begin an episode; the seed decides where monsters stand and what they do."""
        super().reset(seed=seed)
        self._game.close()  # a running engine keeps how bright the weapon was
        self._game.init()
        with suppress(OSError):  # the engine leaves this empty folder wherever one works
            Path("_vizdoom").rmdir()
        self._game.set_seed(int(self.np_random.integers(1 << 31)))  # after init, which draws some itself
        self._game.new_episode()
        self._look()
        return self._picture, self._info()

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Hold the action's buttons for `frame_skip` tics."""
        if not self.action_space.contains(np.int64(action)):
            raise ValueError(f"action must be 0 to {len(ACTIONS) - 1}, got {action!r}")
        reward = self._game.make_action(self._held[int(action)], self.frame_skip)
        over = self._game.is_episode_finished()
        if not over:  # the engine has no picture of the end: the last one stays
            self._look()
        return self._picture, float(reward), over, False, self._info()

    def render(self) -> NDArray[np.uint8]:
        """What is seen, uint8 [240, 320, 3]."""
        return self._picture

    def close(self) -> None:
        """End the engine's process."""
        self._end()

    def get_action_meanings(self) -> list[str]:
        """Names of the actions in the order of their ids."""
        return list(ACTIONS)

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Keys held together to actions."""
        names = list(ACTIONS)
        return {tuple(chord.split("+")): names.index(name) for chord, name in KEYS.items()}

    def _look(self) -> None:
        state = self._game.get_state()
        self._picture = np.array(state.screen_buffer)
        self._known = dict(zip(VARIABLES, map(float, state.game_variables), strict=True))

    def _info(self) -> dict[str, Any]:
        known = self._known
        return {"health": known["HEALTH"], "kills": known["KILLCOUNT"], "x": known["POSITION_X"],
                "y": known["POSITION_Y"], "angle": known["ANGLE"]}  # fmt: skip


def register_doom() -> None:
    """Make `Doom/<scenario>-v0` of every scenario known to Gymnasium.

    Raises:
        ModuleNotFoundError: if ViZDoom is not installed.
    """
    importlib.import_module("vizdoom")
    for name, scenario in SCENARIOS.items():
        if f"Doom/{name}-v0" not in gymnasium.registry:
            gymnasium.register(f"Doom/{name}-v0", f"{__name__}:DoomEnv", kwargs={"scenario": scenario},
                               max_episode_steps=LONGEST)  # fmt: skip


def _engine(scenario: str, skill: int, folder: Path) -> Any:
    """ViZDoom without window and sound, not yet begun; it keeps its files in `folder`."""
    vizdoom = importlib.import_module("vizdoom")
    game = vizdoom.DoomGame()
    game.load_config(f"{vizdoom.scenarios_path}/{scenario}.cfg")
    game.set_doom_config_path(str(folder / "doom.ini"))
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
    game.set_render_particles(False)
    game.set_render_decals(False)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
    game.set_available_game_variables([getattr(vizdoom.GameVariable, name) for name in VARIABLES])
    game.set_doom_skill(skill)
    game.set_episode_timeout(0)
    game.set_living_reward(0)
    game.set_death_penalty(1)
    return game


def _end(game: Any, folder: tempfile.TemporaryDirectory[str]) -> None:
    """End the engine, which writes its settings once more, and then remove where it keeps them."""
    game.close()
    folder.cleanup()
