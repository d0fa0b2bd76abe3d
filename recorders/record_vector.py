"""A Gymnasium wrapper that records every environment of a vector."""

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from .layout import RecordingError
from .record_episodes import LOST, control_values, fresh_seed, open_recorder, step_value
from .recorder import Recorder
from .schema import Extra
from .spaces import in_format


class RecordVectorEpisodes(VectorWrapper):
    """Records the episodes of all environments of a vector, each in a lane of its own; any autoreset mode.

        envs = RecordVectorEpisodes(gymnasium.make_vec("CartPole-v1", num_envs=8), "data/cartpole")

    The last observation of an episode is recorded whichever way the mode hands it over, and steps that only reset
    are not. An environment's episodes after its first go on with its generator: they have no seed, and are replayed
    from the one that has. A first `reset` without a seed is given one. A vector with one generator for all, as
    `make_vec` gives for CartPole, has one seed; it is noted as `vector_seed`, and its episodes cannot be replayed one
    by one. A vector whose `np_random_seed` is a tuple has one for each.

    Args:
        env: what is recorded.
        recorder: where to: a folder, an URL, or a recorder with a lane per environment.
        infos: name to dtype, or `Extra`, of values of `info` that are recorded with each step.
        actors: names of who may act; set `actor` to the place of whose turn it is.
        meta: anything JSON to note for the whole recording.
        **options: passed on to `ZarrRecorder`.

    Raises:
        RecordingError: as `ZarrRecorder`, or if the vector does not say which autoreset mode it has.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        recorder: str | Path | Recorder,
        *,
        infos: Mapping[str, str | Extra] | None = None,
        actors: tuple[str, ...] = ("agent",),
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(env)
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise RecordingError(f"metadata['autoreset_mode'] must be an AutoresetMode, got {mode!r}")
        self.mode, self.actor = mode, 0
        self.recorder = open_recorder(recorder, env, infos, actors, meta, options)
        self._observations: list[Any] = [None] * self.num_envs
        self._open = np.zeros(self.num_envs, bool)
        self._seeded = self._lost = False

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes: all of them, or where `options["reset_mask"]` says so.

        Args:
            seed: None, a number (environment i gets `seed + i`) or one for each environment.
            options: passed on.
        """
        if seed is None and not self._seeded:
            seed = fresh_seed() >> 1  # a number, which every vector takes
        self._seeded = True
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            mask = np.array(options["reset_mask"], bool)
        self._lost = self._lost and not mask.all()
        noted = {key: value for key, value in (options or {}).items() if key != "reset_mask"} or None
        observations, info = self.env.reset(seed=seed, options=options)
        seeds, shared = self._seeds(seed)
        for place, observation in enumerate(self._each(self.env.observation_space, observations)):
            if mask[place]:
                self._cut(place)
                self._begin(place, observation, seeds[place], noted, **shared)
        return observations, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of all environments."""
        if self._lost:
            raise RecordingError(LOST)
        actions = in_format(self.env.action_space, actions)
        controls = control_values(self.env)
        taken, before = self._each(self.env.action_space, actions), time.perf_counter()
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        latency_ms = 1000 * (time.perf_counter() - before)
        self._lost = True  # until all of it is recorded; the environments have gone on
        for place, observation in enumerate(self._each(self.env.observation_space, observations)):
            if not self._open[place]:
                if self.mode == AutoresetMode.NEXT_STEP:
                    self._begin(place, observation)
                continue
            done = bool(terminations[place] or truncations[place])
            same_step = done and self.mode == AutoresetMode.SAME_STEP
            told = infos["final_info"] if same_step and "final_info" in infos else infos
            own = {name: value[place] if np.ndim(value) else value for name, value in controls.items()}
            said = {**own, **self._info_of(told, place)}
            values = {name: step_value(name, self.actor, latency_ms, said) for name in self.recorder.extras}
            self.recorder.add(self._observations[place], taken[place], float(rewards[place]),
                              bool(terminations[place]), bool(truncations[place]), lane=place, **values)  # fmt: skip
            last = copy.deepcopy(infos["final_obs"][place]) if same_step else observation
            self._observations[place] = last
            if done:
                self.recorder.end(last, lane=place, wait=False)
                self._open[place] = False
            if same_step:
                self._begin(place, observation)
        self._lost = False
        return observations, rewards, terminations, truncations, infos

    def close(self, **kwargs: Any) -> None:
        """Close the recording and the environments."""
        for place in range(self.num_envs):
            self._cut(place)
        self.recorder.close()
        super().close(**kwargs)

    def _begin(self, place: int, observation: Any, seed: int | None = None, options: Any = None, **notes: Any) -> None:
        self.recorder.begin(lane=place, seed=seed, options=options, **notes)
        self._observations[place], self._open[place] = observation, True

    def _seeds(self, seed: Any) -> tuple[list[int | None], dict[str, Any]]:
        """What each environment is seeded with, as far as is known, and what else to note of it."""
        if isinstance(seed, Sequence):
            return list(seed), {}
        one_each = isinstance(self.unwrapped, SyncVectorEnv | AsyncVectorEnv) or isinstance(
            getattr(self.unwrapped, "np_random_seed", None), tuple)  # fmt: skip
        if seed is None or one_each:
            return [None if seed is None else seed + place for place in range(self.num_envs)], {}
        return [None] * self.num_envs, {"vector_seed": seed}

    def _cut(self, place: int) -> None:
        if self._open[place]:
            self.recorder.end(self._observations[place], lane=place, wait=False, cut=True)
        self._open[place] = False

    def _each(self, space: gymnasium.Space[Any], values: Any) -> list[Any]:
        """Copies of the values of all environments, one by one."""
        return list(iterate(space, copy.deepcopy(values)))

    def _info_of(self, infos: Mapping[str, Any], place: int) -> dict[str, Any]:
        """What the infos say of one environment."""
        there = [name for name in self.recorder.extras
                 if name in infos and (f"_{name}" not in infos or infos[f"_{name}"][place])]  # fmt: skip
        return {name: infos[name][place] for name in there}
