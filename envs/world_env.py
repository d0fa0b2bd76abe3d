"""A learned world as a Gymnasium environment."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from numpy.typing import NDArray
from torch import Tensor

from world_model import EngineConfig, WorldState

from .batch_arguments import action_space
from .generators import generator_of, note_generator
from .learned_world import LearnedWorld
from .scene import Scene
from .starts import Start, check_going, checked_start, noise_seed

if TYPE_CHECKING:
    from .window import Window


class WorldEnv(LearnedWorld, gymnasium.Env[NDArray[Any], np.int64], EzPickle):
    """Steps a world that a network draws: the same calls as the real game, one frame per step.

    Observations are uint8 [H, W, 3] unless asked for otherwise; actions are integers in [0, n). `reset(seed=s)` decides
    everything random that follows: the starting clip and all noise, so equal seeds and actions give equal bytes on one
    machine. `info` of `reset` says which shipped clip was taken (`context`); `info` of `step` is empty.

    `snapshot`, `restore` and `fork` go back to a moment, or on from it in several ways. Wrappers do not notice them:
    `TimeLimit`, which `gymnasium.make` adds, goes on counting. `reset(options={"state": state})` tells wrappers too.

    Args:
        world: a shipped world's name ("Pong-v0") or the folder of a trained one.
        render_mode: None, "rgb_array" (`render()` returns the last frame) or "human" (a window follows along).
        device: where the network runs, "cpu" or "cuda".
        dtype: number format of the network: "fp32", "bf16", or "auto", the faster one on this device.
        passes: network calls per frame; None for what the world's card says. Fewer are faster and worse.
        size: (height, width) of observations in pixels, each the mean of the area it covers; None for the world's own.
        grayscale: observations without colours, [h, w].
        obs_dtype: "uint8", 0 to 255, or "float32", 0 to 1.
        frame_stack: observations of the last so many frames, oldest first, along a new first axis. After `reset` these
            are the real frames of the clip, so far as it has as many; its first is repeated where it has not.
        max_episode_steps: `truncated` after so many steps of an episode; None for never. `gymnasium.make` has an
            argument of this name that adds a wrapper instead, which counts by itself.
        engine: settings of `world_model.EngineConfig`: by which plan frames are drawn, and whether the next one is
            drawn before it is asked for, e.g. `{"lookahead": "repeat"}`.
        queue: of `step_async`: "fifo" makes every step, "latest" only the newest of those that have not begun.
        condition: name or number of what episodes begin under, in a world that has several (`conditions`); None for
            that of the clip they begin at.
        switch: what `set_condition` does to what is remembered: "keep", "flush", "recache" or "cut"; None for what the
            world's card says, or "keep".

    Raises:
        WorldError: if the world does not exist or its files are damaged; the message says what to do.
        ValueError: if another argument is not one of those.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        world: str,
        render_mode: str | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        passes: int | None = None,
        size: Sequence[int] | None = None,
        grayscale: bool = False,
        obs_dtype: str = "uint8",
        frame_stack: int = 1,
        max_episode_steps: int | None = None,
        engine: EngineConfig | dict[str, Any] | None = None,
        queue: str = "fifo",
        condition: str | int | None = None,
        switch: str | None = None,
    ) -> None:
        EzPickle.__init__(self, world, render_mode, device, dtype, passes, size, grayscale, obs_dtype, frame_stack,
                          max_episode_steps, engine, queue, condition, switch)  # fmt: skip
        self._open(world, render_mode, device, dtype, passes, max_episode_steps, engine, queue, condition, switch,
                   size=size, grayscale=grayscale, obs_dtype=obs_dtype, frame_stack=frame_stack)  # fmt: skip
        self.observation_space = self.observations.space
        self.action_space = action_space(self.world.actions)
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode at a real clip and return the clip's last frame, or go on from a state.

        Args:
            seed: seeds everything random; None goes on with the present generator.
            options: `{"context": i}` begins at the i-th shipped clip; `{"frames": uint8 [k, H, W, 3], "actions":
                [k-1]}` begins at any clip with k >= 1, `actions[t]` taken after seeing `frames[t]`;
                `{"state": state}` goes on from a state, or the file of one, as `restore` does. A seed beside it seeds
                the generator, and all noise from here on is another. `{"condition": name}` begins under that condition.

        Returns:
            The observation and info, with `context` when a shipped clip was taken.

        Raises:
            ValueError: if the options are not of that form, saying what was expected and what came.
            StateError: if the state does not belong here, or its episode is over.
        """
        self._steps.require_empty("reset")
        start = checked_start(options, self.world, self.start_condition)
        info: dict[str, Any] = {}
        if start.state is not None:
            self._go_on(start.state, seed)
        else:
            info = self._begin(start, seed)
        self._steps.lost = False
        self._look_ahead()
        self._follow()
        return self._observation(), info

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Advance the world by one frame.

        Args:
            action: an integer in [0, n), or where actions are continuous, float [A] within the bounds of
                `action_space`.

        Returns:
            The observation, the reward, terminated, truncated and an empty info.

        Raises:
            ResetNeeded: before the first `reset`, and after the episode has ended.
            ValueError: if the action is not one of `action_space`.
        """
        self._steps.require_empty("step")
        result = self._advance(action)
        self._follow()
        return result

    def step_wait(self, timeout: float | None = None) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """See `LearnedWorld.step_wait`."""
        result: tuple[NDArray[Any], float, bool, bool, dict[str, Any]] = super().step_wait(timeout)
        self._follow()
        return result

    def rollout(self, actions: Sequence[Any] | NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64], bool, bool]:
        """Play a whole script of actions, drawn by the engine's plan, until it or the episode ends.

        Plans that know all actions need fewer passes: `engine={"plan": "rolling"}` one per frame. docs/engine.md says
        what that does to the frames.

        Args:
            actions: [n], or continuous ones [n, A], as `step` takes them.

        Returns:
            observations [m, ...] and rewards [m] of the m <= n steps, terminated and truncated of the last one.

        Raises:
            ResetNeeded: before the first `reset`, and after the episode has ended.
            ValueError: if the actions are not of that form, or there are none.
        """
        self._steps.require_empty("rollout")
        self._require_going("rollout")
        script = np.asarray(actions)
        if script.ndim != 1 + len(self.world.actions.shape) or not script.size:
            kind = "numbers [n, A]" if self.world.actions.continuous else "integers [n]"
            raise ValueError(f"actions must be {kind} with n >= 1, got {script.dtype} {list(script.shape)}")
        seen, rewards, terminated, truncated = [], [], False, False
        for drawn in self._engine.rollout(script[None]):
            terminated = bool(drawn.terminated[0])
            truncated = self._count(self._engine.state.episodes[0], terminated)
            seen.append(self._observation())
            rewards.append(float(drawn.rewards[0]))
            if terminated or truncated:
                break
        self._look_ahead()
        return np.stack(seen), np.array(rewards), terminated, truncated

    def snapshot(self) -> WorldState:
        """This moment, to go on from as often as one likes: `restore` it, `save` it, put it into another environment.

        It holds everything that decides what comes: the world's memory and noise, the generator that chooses the next
        starts, steps taken, and the last frames. Taking it copies nothing until this environment is stepped.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._steps.require_empty("snapshot")
        state = self._begun("snapshot").clone()
        note_generator(state.episodes[0], self.np_random, self.np_random_seed)
        return state

    def restore(self, state: WorldState) -> None:
        """Go on from a snapshot of this environment, of another of its world, or of one of a vector (`rows=[i]`).

        Everything that follows is the same, bit for bit, as after the snapshot. The state itself is not changed.

        Raises:
            StateError: if it is of another world or number format, holds more than one rollout, or is damaged. Nothing
                is changed.
        """
        self._steps.require_empty("restore")
        self._settle(state)
        self._look_ahead()
        self._follow()

    def fork(self, n: int) -> "list[WorldEnv]":
        """`n` environments that go on from here, each by itself; they share weights, and memory until stepped.

        None of them opens a window.

        Raises:
            ResetNeeded: before the first `reset`.
            ValueError: if `n` is below 1.
        """
        return [self._twin(state) for state in self.snapshot().fork(n)]

    def render(self) -> NDArray[np.uint8] | None:
        """The last frame as the world draws it, uint8 [H, W, 3], with render_mode "rgb_array"; otherwise None.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._steps.require_empty("render")
        self._begun("render")
        return self._picture(0) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the window, if there is one, and end all threads. May be called more than once."""
        self._close_engine()
        if self._window is not None:
            self._window.close()
            self._window = None

    def recording_start(self, info: dict[str, Any]) -> dict[str, Any]:
        """What a recording notes of an episode just begun with `info`: its noise, and the clip it goes on from."""
        noise = {"noise_seed": self._engine.state.seeds[0]} if self._engine.begun else {}
        if "context" not in info:
            return noise
        contexts, index = self.world.contexts, int(info["context"])
        arrays = {"context_frames": contexts.frames[index], "context_actions": contexts.actions[index]}
        return {**noise, "arrays": arrays, "context": index}

    def _begin(self, start: Start, seed: int | None) -> dict[str, Any]:
        """Begin at a clip; returns reset's info."""
        super().reset(seed=seed)
        state, info = start.begin(self.world, self.np_random, self.observations.frame_stack)
        self._engine.replace(state)
        return info

    def _go_on(self, state: Any, seed: int | None) -> None:
        """Go on from a state whose episode is not over."""
        state = self._fitting(state, [1])
        check_going(state)
        if seed is None:
            self._adopt(state)
            return
        super().reset(seed=seed)
        state.seeds, state.flight = [noise_seed(self.np_random)], None
        self._engine.replace(state)

    def _settle(self, state: WorldState) -> None:
        self._adopt(self._fitting(state, [1]))

    def _adopt(self, state: WorldState) -> None:
        """Go on from a fitting state, with its generator if it has one."""
        known = generator_of(state.episodes[0])
        if known is not None:
            self._np_random, self._np_random_seed = known
        self._engine.replace(state)

    def _advance(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """A step, without showing it."""
        state = self._require_going("step")
        drawn = self._draw(torch.as_tensor(self._checked_action(action), device=self.world.device)[None])
        terminated = bool(drawn.terminated[0])
        truncated = self._count(state.episodes[0], terminated)
        self._look_ahead()
        return self._observation(), float(drawn.rewards[0]), terminated, truncated, {}

    def _require_going(self, call: str) -> WorldState:
        state = self._begun(call)
        if state.episodes[0].over:
            raise ResetNeeded(f"{call}() came after the episode had ended: call reset() to begin another")
        return state

    def _guess_of(self, policy: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
        observations = self.observations
        return lambda pictures: torch.as_tensor(np.array([policy(observations.of(pictures)[0].cpu().numpy())]))

    def _observation(self) -> NDArray[Any]:
        return self.observations.of(self._begun("step").pictures)[0].cpu().numpy()

    def _checked_action(self, action: Any) -> Any:
        if self.world.actions.continuous:
            return self.world.actions.checked(action)
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
        self._window.poll()
        self._window.show(Scene(self._picture(0)))
        self._window.tick(self.metadata["render_fps"])
