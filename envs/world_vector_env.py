"""Many rollouts of a learned world as one Gymnasium vector environment: one batch for the network."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from world_model import Drawn, EngineConfig, Episode, WorldState

from .batch_arguments import (
    action_space,
    checked_actions,
    checked_count,
    checked_mask,
    checked_mode,
    checked_rows,
    checked_seeds,
)
from .generators import Generators, generator_of, note_generator
from .learned_world import LearnedWorld
from .starts import Start, check_going, checked_start, noise_seed


class WorldVectorEnv(LearnedWorld, VectorEnv[Any, Any, Any], EzPickle):
    """Steps `num_envs` rollouts of a world together: `gymnasium.make_vec("foreframe/Pong-v0", num_envs=64)`.

    Environment i does what a single `WorldEnv` with its seed does, bit for bit with `num_envs=1`; networks round
    differently for different batch sizes. Within one batch size a rollout depends on nothing but itself: neither on
    what the others do nor on when they are reset.

    Args:
        world: a shipped world's name ("Pong-v0") or the folder of a trained one.
        num_envs: how many rollouts B.
        autoreset_mode: `AutoresetMode` or its name: "NextStep", "SameStep" or "Disabled".
        max_episode_steps: `truncated` after so many steps of an episode; None for never.
        render_mode: None or "rgb_array" (`render()` returns the last frame of each).
        tensors: actions are taken and observations, rewards and flags given as torch tensors on the world's device,
            rewards as float32. `infos` are as otherwise, `final_obs` with tensors in it. Which episodes are over is
            decided on the host, so every step waits for the device once, and the flags go there and back.
        device, dtype, passes, size, grayscale, obs_dtype, frame_stack, engine, queue, condition, switch: as those of
            `WorldEnv`. A guess is right when it is for every environment, so looking ahead helps few of them at a time.

    Raises:
        WorldError: if the world does not exist or its files are damaged; the message says what to do.
        ValueError: if another argument is not one of those.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        world: str,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        passes: int | None = None,
        size: Sequence[int] | None = None,
        grayscale: bool = False,
        obs_dtype: str = "uint8",
        frame_stack: int = 1,
        tensors: bool = False,
        engine: EngineConfig | dict[str, Any] | None = None,
        queue: str = "fifo",
        condition: str | int | None = None,
        switch: str | None = None,
    ) -> None:
        EzPickle.__init__(self, world, num_envs, autoreset_mode, max_episode_steps, render_mode, device, dtype, passes,
                          size, grayscale, obs_dtype, frame_stack, tensors, engine, queue, condition,
                          switch)  # fmt: skip
        self.num_envs, self.autoreset_mode = checked_count(num_envs), checked_mode(autoreset_mode)
        if tensors not in (True, False):
            raise ValueError(f"tensors must be True or False, got {tensors!r}")
        self.tensors = tensors
        self._open(world, render_mode, device, dtype, passes, max_episode_steps, engine, queue, condition, switch,
                   size=size, grayscale=grayscale, obs_dtype=obs_dtype, frame_stack=frame_stack)  # fmt: skip
        if not self._engine.config.plan_config().live:
            raise ValueError(f"the plan {self._engine.config.plan} draws scripts: use a single environment's rollout")
        if self._engine.config.lookahead == "branch" and num_envs > 1:
            raise ValueError(f"lookahead=branch draws all actions of one rollout, got num_envs={num_envs}: use repeat")
        self.metadata["autoreset_mode"] = self.autoreset_mode
        self.single_observation_space = self.observations.space
        self.single_action_space = action_space(self.world.actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._generators = Generators(self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes: all of them, or those that `options["reset_mask"]` names; the others stay as they are.

        Args:
            seed: environment i gets `seed + i`, or the i-th of a sequence; None goes on with the present generators.
            options: `reset_mask`, bool [B] with at least one True; and what `WorldEnv.reset` takes, for each of the
                environments alike. A `state` holds as many rollouts as are begun, or one for all of them.

        Returns:
            The observations [B, ...] of all, and infos of those that were begun.

        Raises:
            TypeError: if the mask is no numpy array of bool.
            ValueError: if the mask has another shape or no True, there are more or fewer seeds than environments, or
                the options are not of that form.
            StateError: if the state does not belong here, or an episode of it is over.
            ResetNeeded: if a first `reset` leaves some out.
        """
        self._steps.require_empty("reset")
        options, rows = dict(options or {}), list(range(self.num_envs))
        if "reset_mask" in options:
            rows = checked_mask(options.pop("reset_mask"), self.num_envs)
        if len(rows) < self.num_envs:
            self._begun("reset with a reset_mask")
        seeds = checked_seeds(seed, self.num_envs)
        start = checked_start(options, self.world, self.start_condition)
        generators = self._generators.seeded([seeds[row] if row in rows else None for row in range(self.num_envs)])
        infos: dict[str, Any] = {}
        if start.state is not None:
            state = self._fitting(start.state, [1, len(rows)])
            check_going(state)
            self._go_on(rows, state, generators, [row for row in rows if seeds[row] is not None])
        else:
            self._generators = generators
            self._begin(rows, start, infos)
        self._steps.lost = False  # a reset of some rows was refused above
        self._look_ahead()
        return self._observations(), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance every rollout by one frame; episodes that are over begin anew as `autoreset_mode` says.

        Args:
            actions: B integers in [0, n), or where actions are continuous, float [B, A] within the bounds of
                `single_action_space`; with `tensors` such a tensor on the world's device. Those of environments that
                are only reset by this step do not matter.

        Returns:
            Observations [B, ...], rewards float64 [B], terminations and truncations bool [B], and infos.

        Raises:
            TypeError: if the actions are one scalar.
            ValueError: if they are not B actions.
            ResetNeeded: before the first `reset`, and if an episode is over that is not reset by this step.
        """
        self._steps.require_empty("step")
        return self._advance(actions)

    def _advance(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """A whole step, all episodes that it begins included."""
        state = self._begun("step")
        over = [row for row, episode in enumerate(state.episodes) if episode.over]
        if over and self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise ResetNeeded(f"step() came after the episodes of environments {over} had ended: begin others with "
                              "reset(options={'reset_mask': ...})")  # fmt: skip
        chosen = checked_actions(actions, over, self.num_envs, self.world.actions, self.world.device)
        rewards, terminations, truncations = self._outcome(self._draw(chosen), state.episodes, over)
        infos: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            over = [row for row, episode in enumerate(self._engine.state.episodes) if episode.over]
            self._note_finals(over, infos)
        if over and self.autoreset_mode is not AutoresetMode.DISABLED:
            self._begin(over, Start(condition=self.start_condition), infos)
        self._look_ahead()
        return self._observations(), rewards, terminations, truncations, infos

    def snapshot(self, rows: Sequence[int] | None = None) -> WorldState:
        """This moment of all rollouts, or of those in `rows`; see `WorldEnv.snapshot`.

        Raises:
            ResetNeeded: before the first `reset`.
            ValueError: if `rows` are not different places in [0, B).
        """
        self._steps.require_empty("snapshot")
        state = self._begun("snapshot")
        places = checked_rows(rows, self.num_envs)
        taken = state.clone() if rows is None else state.take(places)
        for episode, row in zip(taken.episodes, places, strict=True):
            note_generator(episode, self._generators[row], self._generators.seeds[row])
        return taken

    def restore(self, state: WorldState, rows: Sequence[int] | None = None) -> None:
        """Go on from a snapshot: all environments, or those in `rows`, which alone are touched.

        Args:
            state: holds as many rollouts as are restored, or one for all of them; from this vector, another one, or a
                single environment.
            rows: different places in [0, B); None for all.

        Raises:
            StateError: if the state is of another world or number format, another number of rollouts, or damaged.
            ValueError: if `rows` are not of that form.
            ResetNeeded: before the first `reset`, if `rows` leaves some out.
        """
        self._steps.require_empty("restore")
        places = checked_rows(rows, self.num_envs)
        if rows is not None:
            self._begun("restore of rows")
        self._settle(state, places)
        self._look_ahead()

    def fork(self, n: int) -> "list[WorldVectorEnv]":
        """`n` vector environments that go on from here; they share weights, and memory until stepped.

        Raises:
            ResetNeeded: before the first `reset`.
            ValueError: if `n` is below 1.
        """
        return [self._twin(state) for state in self.snapshot().fork(n)]

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The last frame of each rollout, uint8 [H, W, 3], with render_mode "rgb_array"; otherwise None.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._steps.require_empty("render")
        self._begun("render")
        return tuple(map(self._picture, range(self.num_envs))) if self.render_mode == "rgb_array" else None

    def close_extras(self, **kwargs: Any) -> None:
        """End all threads."""
        self._close_engine()

    @property  # type: ignore[override]
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """The generator of every environment. May be set: B different ones, or one from which each spawns its own.

        Raises:
            ValueError: if something else is set.
        """
        return self._generators.all

    @np_random.setter
    def np_random(self, value: np.random.Generator | Sequence[np.random.Generator]) -> None:
        self._steps.require_empty("setting np_random")
        self._generators = Generators.of(value, self.num_envs)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each was seeded with; -1 where that is not known, as after `np_random` was set."""
        return self._generators.seeds

    def recording_card(self) -> dict[str, Any]:
        """See `LearnedWorld.recording_card`.

        Raises:
            ValueError: with `tensors`; recordings hold numpy.
        """
        if self.tensors:
            raise ValueError("recordings hold numpy arrays: record a vector environment made with tensors=False")
        return super().recording_card()

    def _begin(self, rows: list[int], start: Start, infos: dict[str, Any]) -> None:
        """Begin an episode in each of `rows`, one by one, so that it does not matter which begin at the same time."""
        begun = []
        for row in rows:
            state, info = start.begin(self.world, self._generators[row], self.observations.frame_stack)
            begun.append(state)
            self._add_info(infos, info, row)
        self._put(rows, WorldState.join(begun))

    def _go_on(self, rows: list[int], state: WorldState, generators: Generators, reseeded: list[int]) -> None:
        """Go on from fitting rollouts, with the generators they keep; those in `reseeded` with new noise instead."""
        if len(state) < len(rows):
            state = state.take([0] * len(rows))
        known = [generator_of(episode) for episode in state.episodes]
        state.seeds = [noise_seed(generators[row]) if row in reseeded else seed
                       for row, seed in zip(rows, state.seeds, strict=True)]  # fmt: skip
        if reseeded and state.flight is not None:
            state = self._with_new_noise(state, [i for i, row in enumerate(rows) if row in reseeded])
        self._put(rows, state)
        for row, kept in zip(rows, known, strict=True):
            if kept is not None and row not in reseeded:
                generators.put(row, *kept)
        self._generators = generators

    def _with_new_noise(self, state: WorldState, places: list[int]) -> WorldState:
        """Frames in flight of the rollouts at `places`, which have other seeds now, begun anew; each by itself."""
        singles = [state.take([i]) for i in range(len(state))]
        for i in places:
            singles[i].flight = None
            self.world.take_off(singles[i], state.flight.stagger if state.flight else None)
        return WorldState.join(singles)

    def _put(self, rows: list[int], state: WorldState) -> None:
        """Make the rollouts in `rows` those of `state`, which becomes this environment's own."""
        if rows == list(range(self.num_envs)):
            self._engine.replace(state)
        else:
            self._engine.put(rows, state)

    def _outcome(self, drawn: Drawn, episodes: list[Episode], over: list[int]) -> tuple[Any, Any, Any]:
        """Rewards, terminations and truncations [B] of a step; nothing for episodes that were over before it."""
        terminations = drawn.terminated.cpu().numpy().copy()
        terminations[over] = False
        truncations = np.zeros(self.num_envs, bool)
        for row in set(range(self.num_envs)) - set(over):
            truncations[row] = self._count(episodes[row], bool(terminations[row]))
        rewards: Any = drawn.rewards.clone() if self.tensors else drawn.rewards.cpu().numpy().astype(np.float64)
        rewards[over] = 0
        if not self.tensors:
            return rewards, terminations, truncations
        return rewards, *(torch.from_numpy(flags).to(self.world.device) for flags in (terminations, truncations))

    def _settle(self, state: WorldState, rows: list[int] | None = None) -> None:
        rows = checked_rows(rows, self.num_envs)
        unseeded = self._generators.seeded([None] * self.num_envs)  # of its own: forks begin with the same object
        self._go_on(rows, self._fitting(state, [1, len(rows)]), unseeded, [])

    def _guess_of(self, policy: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
        observations, tensors = self.observations, self.tensors

        def guess(pictures: Tensor) -> Tensor:
            seen = observations.of(pictures)
            return torch.as_tensor(policy(seen if tensors else seen.cpu().numpy()))

        return guess

    def _note_finals(self, rows: list[int], infos: dict[str, Any]) -> None:
        """Note the last observations of episodes that are about to be replaced."""
        seen: Any = self._observations() if rows else None
        for row in rows:
            self._add_info(infos, {"final_obs": copy.copy(seen[row]), "final_info": {}}, row)

    def _observations(self) -> Any:
        seen = self.observations.of(self._begun("step").pictures)
        return seen if self.tensors else seen.cpu().numpy()
