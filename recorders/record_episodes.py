"""A Gymnasium wrapper that records everything an environment does."""

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from .env_card import env_card
from .layout import RecordingError
from .recorder import Recorder
from .schema import Extra
from .spaces import in_format
from .zarr_recorder import ZarrRecorder

STEP_EXTRAS = {
    "actor": Extra("uint8", description="place in `behaviours` of who acted"),
    "latency_ms": Extra("float32", unit="ms", description="how long env.step took"),
}
LOST = "a step of this episode could not be recorded and the rest would not fit it: reset begins another one"


class RecordEpisodes(gymnasium.Wrapper, RecordConstructorArgs):
    """Records every episode: all observations, actions, rewards and flags, seeds and reset options.

        env = RecordEpisodes(gymnasium.make("foreframe:foreframe/Pong-v0"), "data/mine")

    Nothing is changed on the way, but for two things, without which a recording could not be replayed: a first `reset`
    without a seed is given one, and actions go on in the number format of their space (a float64 action in a float32
    space lets environments compute differently). An episode that is left by `reset` or `close` before its end is
    recorded with `cut`.
    When a step cannot be recorded, its episode takes no more: what is recorded is what happened, up to there.

    Args:
        env: what is recorded.
        recorder: where to: a folder, an URL, or a recorder whose extras are of those named below.
        infos: name to dtype, or `Extra`, of values of `info` that are recorded with each step.
        actors: names of who may act; set `actor` to the place of whose turn it is.
        meta: anything JSON to note for the whole recording.
        **options: passed on to `ZarrRecorder`.

    Attributes:
        actor: place in `actors` of who chooses the next action.
        recorder: what writes.

    Raises:
        RecordingError: as `ZarrRecorder`; from `step`, also if `info` lacks a value that is to be recorded.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        recorder: str | Path | Recorder,
        *,
        infos: Mapping[str, str | Extra] | None = None,
        actors: tuple[str, ...] = ("agent",),
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        RecordConstructorArgs.__init__(self, recorder=recorder, infos=infos, actors=actors, meta=meta, **options)
        gymnasium.Wrapper.__init__(self, env)
        self.actor = 0
        self.recorder = open_recorder(recorder, env, infos, actors, meta, options)
        self._observation: Any = None
        self._open = self._seeded = self._lost = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, in the environment and in the recording."""
        self._cut()
        self._lost = False
        if seed is None and not self._seeded:
            seed = fresh_seed()
        self._seeded = True
        observation, info = self.env.reset(seed=seed, options=options)
        self.recorder.begin(seed=seed, options=options, **start_notes(self.env, info))
        self._observation, self._open = copy.deepcopy(observation), True
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step, in the environment and in the recording."""
        if self._lost:
            raise RecordingError(LOST)
        action = in_format(self.env.action_space, action)
        controls = control_values(self.env)
        taken, before = copy.deepcopy(action), time.perf_counter()
        observation, reward, terminated, truncated, info = self.env.step(action)
        latency_ms = 1000 * (time.perf_counter() - before)
        self._lost = True  # until it is recorded; the environment has gone on
        said = {**controls, **info}
        values = {name: step_value(name, self.actor, latency_ms, said) for name in self.recorder.extras}
        self.recorder.add(self._observation, taken, float(reward), terminated, truncated, **values)
        self._lost = False
        self._observation = copy.deepcopy(observation)
        if terminated or truncated:
            self.recorder.end(self._observation, wait=False)
            self._open = False
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Close the recording and the environment."""
        self._cut()
        self.recorder.close()
        super().close()

    def _cut(self) -> None:
        if self._open:
            self.recorder.end(self._observation, wait=False, cut=True)
        self._open = False


def open_recorder(
    recorder: str | Path | Recorder,
    env: Any,
    infos: Mapping[str, str | Extra] | None,
    actors: tuple[str, ...],
    meta: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Recorder:
    """The recorder a wrapper was given, or one for the folder it was given."""
    if not isinstance(recorder, str | Path):
        return recorder
    vector = isinstance(env, gymnasium.vector.VectorEnv)
    return ZarrRecorder(
        recorder,
        env.single_observation_space if vector else env.observation_space,
        env.single_action_space if vector else env.action_space,
        extras={**STEP_EXTRAS, **{name: Extra("int64") for name in control_values(env)}, **(infos or {})},
        meta={**env_card(env), "behaviours": list(actors), **_controls_note(env), **(meta or {})},
        lanes=env.num_envs if vector else 1,
        **options,
    )


def control_values(env: Any) -> dict[str, Any]:
    """What an environment with `recording_controls`, name to method, wants to be set to before its next step."""
    unwrapped = env.unwrapped
    return {name: getattr(unwrapped, name) for name in getattr(unwrapped, "recording_controls", {})}


def _controls_note(env: Any) -> dict[str, Any]:
    controls = getattr(env.unwrapped, "recording_controls", {})
    return {"controls": dict(controls)} if controls else {}


def start_notes(env: gymnasium.Env[Any, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """What an environment with `recording_start(info)` wants to have noted with an episode that has just begun."""
    note = getattr(env.unwrapped, "recording_start", None)
    return dict(note(info)) if callable(note) else {}


def step_value(name: str, actor: int, latency_ms: float, info: Mapping[str, Any]) -> Any:
    """The value of an extra."""
    if name in info:
        return info[name]
    known = {"actor": actor, "latency_ms": latency_ms}
    if name not in known:
        raise RecordingError(f"info has no {name!r} to be recorded; it has {sorted(info)}")
    return known[name]


def fresh_seed() -> int:
    """A seed from the operating system, 0 to 2**31 - 1."""
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
