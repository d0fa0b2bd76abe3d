"""Episodes that name themselves: every byte follows from who recorded it, in which lane, which episode, which step."""

import struct
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recorders import Extra

SHAPE = (24, 20, 3)
OBSERVATIONS = gymnasium.spaces.Box(0, 255, SHAPE, np.uint8)
ACTIONS = gymnasium.spaces.Discrete(18)
EXTRAS: dict[str, str | Extra] = {"actor": "uint8", "latency": Extra("float32"), "place": Extra("int32", (2,))}
NAME = struct.Struct("<4I")  # the first bytes of every frame: run, lane, number, step
_SIZE = int(np.prod(SHAPE))
_NOISE = np.random.default_rng(0).integers(0, 256, 65536 + _SIZE, np.uint8)
_WINDOWS = sliding_window_view(_NOISE, _SIZE)


@dataclass(frozen=True, order=True)
class Name:
    """Who recorded an episode, and which one it is.

    Attributes:
        run: life of a writer; no two lives share one.
        lane: environment of a vector, 0 without one.
        number: count of the lane's episodes in this run, from 0.
    """

    run: int
    lane: int
    number: int

    @property
    def seed(self) -> int:
        """What the environment would have been reset with."""
        return (self.run * 1_000_003 + self.lane * 10_007 + self.number * 101) % 2**31

    @property
    def steps(self) -> int:
        """How many actions it has when it is whole: mostly below 120, now and then none or up to 1500."""
        drawn = int(np.random.default_rng(self.seed).integers(0, 1 << 30))
        if drawn % 16 == 0:
            return 0
        return drawn // 16 % (1500 if drawn % 16 == 1 else 120)

    @property
    def meta(self) -> dict[str, Any]:
        """Noted when it begins; says the name."""
        return {"who": [self.run, self.lane, self.number]}

    @property
    def arrays(self) -> dict[str, np.ndarray] | None:
        """Arrays that belong to it as a whole; every third episode has some."""
        if self.number % 3:
            return None
        return {"start": self.observations(0, 2), "seed": np.array([self.seed])}

    @property
    def options(self) -> dict[str, Any] | None:
        """Reset options; every second episode has some."""
        return None if self.number % 2 else {"level": self.number % 7}

    def observations(self, start: int, stop: int) -> np.ndarray:
        """Observations start to stop, uint8 [stop - start, 24, 20, 3]: noise that begins with name and step."""
        t = np.arange(start, stop)
        frames = _WINDOWS[(self.seed + t * 7919) % 65536].copy()
        names = np.stack([np.full_like(t, n) for n in (self.run, self.lane, self.number)] + [t], axis=1)
        frames[:, : NAME.size] = names.astype("<u4").view(np.uint8)
        return frames.reshape(-1, *SHAPE)

    def actions(self, start: int, stop: int) -> np.ndarray:
        """Actions start to stop, int64."""
        return (np.arange(start, stop) * 7 + self.number) % 18

    def rewards(self, start: int, stop: int) -> np.ndarray:
        """Rewards start to stop, float64; sums of them are exact."""
        return ((np.arange(start, stop) * 13 + self.seed) % 11 - 5) / 4

    def flags(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Terminated and truncated of actions start to stop: one of the two at the last."""
        last = np.arange(start, stop) == self.steps - 1
        return last & (self.number % 2 == 0), last & (self.number % 2 == 1)

    def extras(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The fields of `EXTRAS` for steps start to stop."""
        t = np.arange(start, stop)
        place = np.stack([t - self.number, t * self.lane - 5], axis=1)
        return {"actor": ((t + self.run) % 256).astype(np.uint8), "latency": (t / np.float32(8)).astype(np.float32),
                "place": place.astype(np.int32)}

    def rows(self) -> "Rows":
        """The whole episode, to be added row by row."""
        n = self.steps
        return Rows(self.observations(0, n + 1), self.actions(0, n), self.rewards(0, n), *self.flags(0, n),
                    self.extras(0, n))


@dataclass(frozen=True)
class Rows:
    """A whole episode in memory; observations have one row more than the rest."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    extras: dict[str, np.ndarray]

    def add(self, recorder: Any, t: int, lane: int) -> None:
        """Hand step `t` to a recorder."""
        extras = {name: values[t] for name, values in self.extras.items()}
        recorder.add(self.observations[t], self.actions[t], float(self.rewards[t]), bool(self.terminated[t]),
                     bool(self.truncated[t]), lane=lane, **extras)
