"""Records what is played in a learned world, with what it takes to draw it again."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorders import Extra, ZarrRecorder

from .player import PlayedStep
from .world_env import WorldEnv


class RecordingTape:
    """Writes episodes of a world into one segment of a recording.

    The recording carries the world, its hash and what the network was run with; every episode its seed and context
    clip; every step who acted, how long it took, and how long after the keys had been read it could be seen.

    Args:
        path: the recording's folder; it may hold earlier recordings of the same world.
        env: the world that is played.
        actor: who plays, e.g. "person".

    Raises:
        RecordingError: if `path` is a file.
    """

    def __init__(self, path: str | Path, env: WorldEnv, actor: str) -> None:
        self._env = env
        self._recorder = ZarrRecorder(
            path,
            env.observation_space,
            env.action_space,
            extras={
                "actor": Extra("uint8", description="place in `behaviours` of who acted"),
                "latency_ms": Extra("float32", unit="ms", description="how long the world took for the step"),
                "input_ms": Extra("float32", unit="ms", description="from reading the keys to showing the frame"),
            },
            meta={**env.recording_card(), "behaviours": [actor]},
        )

    def begin(self, seed: int, info: dict[str, Any]) -> None:
        """An episode begins; `info` is what `reset` said."""
        self._recorder.begin(seed=seed, **self._env.recording_start(info))

    def add(self, step: PlayedStep, input_ms: float) -> None:
        """A step was played, and its outcome was on the screen so many milliseconds after the keys had been read."""
        self._recorder.add(step.frame, step.action, step.reward, step.terminated, False, actor=0,
                           latency_ms=step.latency_ms, input_ms=input_ms)  # fmt: skip

    def end(self, frame: NDArray[np.uint8]) -> None:
        """The episode is over; `frame` is its last one."""
        self._recorder.end(frame, wait=False)

    def close(self) -> None:
        """Write what is left."""
        self._recorder.close()
