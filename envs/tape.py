"""Records what is played in a learned world, with what it takes to draw it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recorders import Extra, ZarrRecorder

from .pilot import ACTORS
from .timeline import Branch, Frame, Moment
from .world_env import WorldEnv


class RecordingTape:
    """Writes episodes of a world into one segment of a recording.

    The recording carries the world, its hash and what the network was run with; every episode its seed and context
    clip, and which episode it left at which step, if it is a branch; every step who acted, with how many passes it was
    drawn, how long it took, and how long after the keys had been read it could be seen.

    Args:
        path: the recording's folder; it may hold earlier recordings of the same world.
        env: the world that is played.

    Raises:
        RecordingError: if `path` is a file.
    """

    def __init__(self, path: str | Path, env: WorldEnv) -> None:
        self._id, self._steps = "", 0
        self._controls = {"condition": "set_condition"} if env.conditions else {}
        self._recorder = ZarrRecorder(
            path,
            env.observation_space,
            env.action_space,
            extras={
                "actor": Extra("uint8", description="place in `behaviours` of who acted"),
                "passes": Extra("uint16", description="network calls that the next observation was drawn with"),
                "latency_ms": Extra("float32", unit="ms", description="how long the world took for the step"),
                "input_ms": Extra("float32", unit="ms", description="from reading the keys to showing the frame"),
                **{name: Extra("int64") for name in self._controls},
            },
            meta={**env.recording_card(), "behaviours": list(ACTORS),
                  "controls": {"passes": "set_passes", **self._controls}},
        )

    def begin(self, branch: Branch) -> None:
        """An episode begins, with the moments that the branch has already."""
        note: dict[str, Any] = {"branch_of": branch.recorded} if branch.recorded else {}
        self._id, self._steps = self._recorder.begin(**branch.start, **note), 0
        for step, moment in enumerate(branch.moments):
            self.add(branch.picture(step), moment)

    def add(self, before: Frame, moment: Moment) -> None:
        """A step was made from the picture `before`."""
        action = moment.action if isinstance(moment.action, int) else np.array(moment.action, np.float32)
        self._recorder.add(before, action, moment.reward, moment.terminated, moment.truncated,
                           actor=moment.actor, passes=moment.passes, latency_ms=moment.latency_ms,
                           input_ms=moment.input_ms, **{name: getattr(moment, name) for name in self._controls})
        self._steps += 1

    def end(self, branch: Branch) -> None:
        """The episode that `begin` began is over, or left, with as many steps as were added."""
        branch.recorded = {"episode": self._id, "step": self._steps}
        self._recorder.end(branch.picture(self._steps), wait=False, **_latencies(branch.moments[: self._steps]))

    def close(self) -> None:
        """Write what is left."""
        self._recorder.close()


def _latencies(moments: Sequence[Moment]) -> dict[str, Any]:
    """Median and 99th percentile of what steps took and of keys to picture, in milliseconds."""
    found = {}
    for name in ("latency_ms", "input_ms"):
        values = [getattr(moment, name) for moment in moments]
        if values:
            p50, p99 = np.percentile(values, [50, 99])
            found[name] = {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}
    return found
