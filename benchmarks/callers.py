"""Who calls `step`: programs that want frames as fast as they come, people who hold keys, agents that think."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import WorldEnv, WorldVectorEnv
from world_model import EngineStats


@dataclass
class Timing:
    """Milliseconds of single calls of `step`, in order."""

    ms: NDArray[np.float64]

    def percentiles(self) -> str:
        """p50, p99 and the longest."""
        p50, p99 = np.percentile(self.ms, [50, 99])
        return f"p50 {p50:7.1f}  p99 {p99:7.1f}  max {self.ms.max():7.1f} ms"

    @property
    def p50(self) -> float:
        """The median, in milliseconds."""
        return float(np.percentile(self.ms, 50))


def random_actions(num_actions: int, seed: int = 0) -> Iterator[int]:
    """Every action drawn anew."""
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(num_actions))


def held_keys(num_actions: int, seed: int = 0, mean: int = 8) -> Iterator[int]:
    """A key held for `mean` steps on average (geometric), then another, as a person plays."""
    rng = np.random.default_rng(seed)
    action = int(rng.integers(num_actions))
    while True:
        for _ in range(int(rng.geometric(1 / mean))):
            yield action
        action = (action + 1 + int(rng.integers(num_actions - 1))) % num_actions


def time_steps(env: WorldEnv | WorldVectorEnv, actions: Iterator[Any], steps: int, think: float = 0.0) -> Timing:
    """Step an environment that has been reset; games that end begin anew.

    Args:
        actions: what to do; a vector's environments all do the same.
        steps: calls that are measured.
        think: seconds between the end of a step and the next one.
    """
    batch = env.num_envs if isinstance(env, WorldVectorEnv) else None
    times = np.zeros(steps)
    for i in range(steps):
        time.sleep(think)
        action = next(actions)
        before = time.perf_counter()
        ended = env.step(action if batch is None else np.full(batch, action))[2]
        times[i] = time.perf_counter() - before
        if batch is None and ended:
            env.reset()
    return Timing(1000 * times)


def guessed(stats: EngineStats) -> str:
    """What guessing was good for, in a line."""
    return (f"hits {100 * stats.hit_rate:3.0f}%, {stats.discarded / max(stats.steps, 1):.2f} frames for nothing and "
            f"{stats.saved_ms / max(stats.steps, 1):.1f} ms saved per step")
