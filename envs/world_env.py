"""A learned world as a Gymnasium environment."""

import os
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from world_model import WorldState, load_world

from .catalogue import WORLDS, find_world
from .keymap import gymnasium_keys, noop_action
from .starts import Clip, check_options, clip_of, context_index

if TYPE_CHECKING:
    from .window import Window

# A forked child inherits torch's thread pool without its threads and hangs in the first parallel operation
# (AsyncVectorEnv forks by default); one thread needs no pool.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class WorldEnv(gymnasium.Env[NDArray[np.uint8], np.int64], EzPickle):
    """Steps a world that a network draws: the same calls as the real game, one frame per step.

    Observations are uint8 [H, W, 3]; actions are integers in [0, n). `reset(seed=s)` decides everything random
    that follows: the starting clip and all noise, so equal seeds and actions give equal bytes on one machine.
    `info` of `reset` says which shipped clip was taken (`context`); `info` of `step` is empty.

    Args:
        world: a shipped world's name ("Pong-v0") or the folder of a trained one.
        render_mode: None, "rgb_array" (`render()` returns the last frame) or "human" (a window follows along).
        device: where the network runs, "cpu" or "cuda".
        dtype: number format of the network: "fp32", "bf16", or "auto", the faster one on this device.
        passes: network calls per frame; None for what the world's card says. Fewer are faster and worse.

    Raises:
        WorldError: if the world does not exist or its files are damaged; the message says what to do.
        ValueError: if `render_mode`, `dtype` or `passes` is not one of those.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        world: str,
        render_mode: str | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        passes: int | None = None,
    ) -> None:
        EzPickle.__init__(self, world, render_mode, device, dtype, passes)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be None or one of {self.metadata['render_modes']}, got {render_mode!r}")
        if passes is not None and passes < 1:
            raise ValueError(f"passes must be at least 1, got {passes}")
        folder = find_world(world)
        self.world = load_world(folder, device, dtype).with_sampler(passes)
        self._place = folder.name if folder.parent == WORLDS else str(folder.resolve())
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(self.world.fps)}
        self.observation_space = gymnasium.spaces.Box(0, 255, self.world.observation_shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(self.world.num_actions)
        self._state: WorldState | None = None
        self._frame: NDArray[np.uint8] | None = None
        self._ended = False
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin an episode at a real clip and return the clip's last frame.

        Args:
            seed: seeds everything random; None goes on with the present generator.
            options: `{"context": i}` begins at the i-th shipped clip; `{"frames": uint8 [k, H, W, 3], "actions":
                [k-1]}` begins at any clip with k >= 1, `actions[t]` taken after seeing `frames[t]`.

        Returns:
            The observation, uint8 [H, W, 3], and info, with `context` when a shipped clip was taken.

        Raises:
            ValueError: if the options are not of that form, saying what was expected and what came.
        """
        super().reset(seed=seed)
        (frames, actions), info = self._choose_start(options or {})
        noise_seed = int(self.np_random.integers(2**63 - 1))
        self._state = self.world.start(frames, actions, noise_seed)
        self._frame = frames[-1].copy()
        self._ended = False
        self._follow()
        return self._frame.copy(), info

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Advance the world by one frame.

        Args:
            action: an integer in [0, n).

        Returns:
            The observation, uint8 [H, W, 3], the reward, terminated, truncated (always False here) and an empty info.

        Raises:
            ResetNeeded: before the first `reset`, and after the episode has terminated.
            ValueError: if the action is not an integer in [0, n).
        """
        if self._state is None:
            raise ResetNeeded("step() came before reset(): call reset() first")
        if self._ended:
            raise ResetNeeded("step() came after the episode had terminated: call reset() to begin another")
        frame, reward, terminated = self.world.step(self._state, self._checked_action(action))
        self._frame = frame
        self._ended = bool(terminated)
        self._follow()
        return frame.copy(), float(reward), self._ended, False, {}

    def render(self) -> NDArray[np.uint8] | None:
        """The last frame, uint8 [H, W, 3], with render_mode "rgb_array"; otherwise None.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        if self._frame is None:
            raise ResetNeeded("render() came before reset(): call reset() first")
        if self.render_mode == "rgb_array":
            return self._frame.copy()
        return None

    def close(self) -> None:
        """Close the window, if there is one. May be called more than once."""
        if self._window is not None:
            self._window.close()
            self._window = None

    @property
    def name(self) -> str:
        """The world's name, as its card says it."""
        return str(self.world.card["name"])

    @property
    def passes(self) -> int:
        """Network calls per frame, the one that commits it not counted."""
        return self.world.sampler.steps

    def run_card(self) -> dict[str, Any]:
        """What equal bytes depend on besides seed and actions: device, number format, passes, threads, torch."""
        return {
            "device": str(self.world.device),
            "dtype": str(self.world.dtype),
            "passes": self.passes,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def recording_card(self) -> dict[str, Any]:
        """What a recording notes of this world, enough to make it again and to see whether it is the same."""
        dtype = "bf16" if self.world.dtype == torch.bfloat16 else "fp32"
        kwargs = {"world": self._place, "device": str(self.world.device), "dtype": dtype, "passes": self.passes}
        return {
            "env": {"id": "foreframe/World-v0", "kwargs": kwargs},
            "world": self.world.card,
            "world_hash": self.world.hash,
            "run": self.run_card(),
            "fps": self.world.fps,
        }

    def recording_start(self, info: dict[str, Any]) -> dict[str, Any]:
        """What a recording notes of an episode just begun with `info`: its noise, and the clip it goes on from."""
        noise = {"noise_seed": self._state.seeds[0]} if self._state is not None else {}
        if "context" not in info:
            return noise
        contexts, index = self.world.contexts, int(info["context"])
        arrays = {"context_frames": contexts.frames[index], "context_actions": contexts.actions[index]}
        return {**noise, "arrays": arrays, "context": index}

    def get_action_meanings(self) -> list[str]:
        """Names of the actions in the order of their ids, as the real game calls them."""
        return list(self.world.action_meanings)

    def get_keys_to_action(self) -> dict[tuple[int, ...], int]:
        """Keys for `gymnasium.utils.play.play`: sorted key codes held together, to the action they mean."""
        return gymnasium_keys(self.world.card["actions"]["keys"], noop_action(self.world.action_meanings))

    def _choose_start(self, options: dict[str, Any]) -> tuple[Clip, dict[str, Any]]:
        """The clip to continue, and reset's info."""
        check_options(options)
        if "frames" in options:
            return clip_of(options, self.world.observation_shape, self.world.num_actions), {}
        contexts = self.world.contexts
        index = context_index(options.get("context", int(self.np_random.integers(len(contexts)))), len(contexts))
        return (contexts.frames[index], contexts.actions[index]), {"context": index}

    def _checked_action(self, action: Any) -> int:
        if not self.action_space.contains(action):
            last = self.world.num_actions - 1
            raise ValueError(f"action must be an integer in [0, {last}], got {action!r} ({type(action).__name__})")
        return int(action)

    def _follow(self) -> None:
        """Show the last frame, at the world's speed, when a person is watching."""
        if self.render_mode != "human":
            return
        if self._window is None:
            from .window import Window  # pygame is loaded only when a window opens

            self._window = Window(self.world.observation_shape, title=self.name)
        assert self._frame is not None
        self._window.poll()
        self._window.show(self._frame, [])
        self._window.tick(self.metadata["render_fps"])
