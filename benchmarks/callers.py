"""Who calls `step`: programs that want frames as fast as they come, people who hold keys, agents that think."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import WorldEnv, WorldVectorEnv
from world_model import Actions, EngineStats


@dataclass
class Timing:
    """Milliseconds of single calls of `step`, in order."""

    ms: NDArray[np.float64]

    def percentiles(self) -> str:
        """p50, p99 and the longest."""
        p50, p99 = np.percentile(self.ms, [50, 99])
        return f"p50 {p50:7.1f}  p99 {p99:7.1f}  max {self.ms.max():7.1f} ms of {len(self.ms):4d}"

    @property
    def p50(self) -> float:
        """The median, in milliseconds."""
        return float(np.percentile(self.ms, 50))

    def rate(self, count: int) -> float:
        """Steps per second of `count` worlds in a call, by the median."""
        return 1000 * count / self.p50


def random_actions(kind: Actions, seed: int = 0) -> Iterator[Any]:
    """Every action drawn anew."""
    rng = np.random.default_rng(seed)
    while True:
        yield _any(kind, rng)


def held_keys(kind: Actions, seed: int = 0, mean: int = 8) -> Iterator[Any]:
    """A key held for `mean` steps on average (geometric), then another, as a person plays."""
    rng = np.random.default_rng(seed)
    action = _any(kind, rng)
    while True:
        for _ in range(int(rng.geometric(1 / mean))):
            yield action
        before = action
        while kind.count != 1 and np.array_equal(action, before):
            action = _any(kind, rng)


def side_by_side(does: "Caller", kind: Actions, count: int) -> Iterator[NDArray[Any]]:
    """Actions [count, ...] of as many callers, each for itself."""
    callers = [does(kind, seed) for seed in range(count)]
    while True:
        yield np.array([next(caller) for caller in callers])


def _any(kind: Actions, rng: np.random.Generator) -> Any:
    if kind.continuous:
        return rng.uniform(kind.low, kind.high).astype(np.float32)
    return int(rng.integers(kind.count))


Caller = Callable[[Actions, int], Iterator[Any]]
"""(kind of actions, seed) -> what is done"""


def time_steps(env: WorldEnv | WorldVectorEnv, actions: Iterator[Any], steps: int, think: float = 0.0,
               begin: Callable[[], Any] | None = None) -> Timing:
    """Step an environment that has been reset.

    Args:
        actions: what to do, of `side_by_side` for a vector.
        steps: calls that are measured.
        think: seconds between the end of a step and the next one.
        begin: called when the game of a single environment ends; its `reset` when not given.
    """
    times = np.zeros(steps)
    for i in range(steps):
        time.sleep(think)
        action = next(actions)
        before = time.perf_counter()
        ended = env.step(action)[2]
        times[i] = time.perf_counter() - before
        if isinstance(env, WorldEnv) and ended:
            (begin or env.reset)()
    return Timing(1000 * times)


def guessed(stats: EngineStats) -> str:
    """What guessing was good for, in a line."""
    return (f"hits {100 * stats.hit_rate:3.0f}%, {stats.discarded / max(stats.steps, 1):.2f} frames for nothing and "
            f"{stats.saved_ms / max(stats.steps, 1):.1f} ms saved per step")
