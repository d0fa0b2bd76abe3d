"""Whether stepping stays what it is: `python -m benchmarks.soak minutes=60`.

At full speed, in turn: a vector that resets itself, a single world that looks ahead, snapshots, restores, forks. Every
few minutes memory is read, and an old environment is stepped in turn with a young one: machines vary, the ratio of the
two does not. Ends with exit code 1 if memory grew or the old ones are slower.
"""

import gc
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from envs import WorldEnv, WorldVectorEnv
from recorders import Command, command, processor, settings
from world_model import WorldError, allocator

from .callers import random_actions, time_steps


@dataclass(kw_only=True)
class SoakConfig(Command):
    """How long, on what."""

    world: str = "Pong-v0"
    minutes: float = 60.0
    every: float = 5.0
    """minutes between two reports"""
    num_envs: int = 4
    """of the vector"""
    growth_mb: float = 8.0
    """memory that may be gained after the first report"""
    slower: float = 1.05
    """ratio of old to young that is still no slowdown"""

    def __post_init__(self) -> None:
        if not 0 < 3 * self.every <= self.minutes:
            raise ValueError(f"need three reports at least, 0 < 3 every <= minutes, got every={self.every} and "
                             f"minutes={self.minutes}")


ConfigStore.instance().store(name="soak", node=SoakConfig)


class Soak:
    """The environments that grow old."""

    def __init__(self, config: SoakConfig):
        self.vector = WorldVectorEnv(config.world, config.num_envs, max_episode_steps=500)
        self.single = WorldEnv(config.world, engine={"lookahead": "repeat"})
        self.plain = WorldEnv(config.world)
        self.rng = np.random.default_rng(0)
        self.actions = random_actions(self.plain.world.actions)
        self.steps = 0
        for env in (self.vector, self.single, self.plain):
            env.reset(seed=0)

    def run(self, seconds: float) -> None:
        """Step everything for a while."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.vector.step(np.array([next(self.actions) for _ in range(self.vector.num_envs)]))
            action = next(self.actions)
            for _ in range(4):
                self._step(self.single, action)
                self._step(self.plain, action)
            self.steps += self.vector.num_envs + 8
            if self.rng.random() < 0.05:
                self._go_back()

    def _step(self, env: WorldEnv, action: Any) -> None:
        if env.step(action)[2]:
            env.reset()

    def _go_back(self) -> None:
        state = self.single.snapshot()
        for fork in self.single.fork(2):
            fork.step(next(self.actions))
            fork.close()
        self._step(self.single, next(self.actions))
        self.single.restore(state)
        self.vector.restore(self.vector.snapshot(rows=[1]), rows=[0])


def resident_mb() -> float:
    """Resident memory of this process, in 10^6 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def ratio(config: SoakConfig, soak: Soak) -> float:
    """Median step time of an old single world over that of a young one, stepped in turn."""
    young = WorldEnv(config.world)
    young.reset(seed=1)
    actions = random_actions(young.world.actions)
    time_steps(young, actions, 100)
    pairs = [(time_steps(soak.plain, actions, 1).ms[0], time_steps(young, actions, 1).ms[0]) for _ in range(200)]
    old, new = np.median(np.array(pairs), 0)
    return float(old / new)


def run(config: SoakConfig) -> bool:
    """Print a line per report; returns whether nothing grew."""
    allocator.keep_memory()
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}; {config.world}, vector of "
          f"{config.num_envs}, a single world looking ahead, one without", flush=True)
    soak, begun, ages = Soak(config), time.perf_counter(), []
    sizes: list[float] = []
    while time.perf_counter() - begun < 60 * config.minutes:
        soak.run(60 * config.every)
        gc.collect()
        ages.append(ratio(config, soak))
        sizes.append(resident_mb())
        print(f"{(time.perf_counter() - begun) / 60:6.1f} min  {soak.steps:8d} steps  {sizes[-1]:7.1f} MB  old/young "
              f"{ages[-1]:.3f}  {len(gc.get_objects())} objects  {threading.active_count()} threads", flush=True)
    grown, slow = sizes[-1] - sizes[0], float(np.median(ages[-3:]))
    good = grown <= config.growth_mb and slow <= config.slower
    print(f"memory {grown:+.1f} MB since the first report, median of the last three old/young {slow:.3f}: "
          f"{'holds' if good else 'FAILS'}")
    return good


@command("soak")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    try:
        sys.exit(0 if run(cast(SoakConfig, settings(cfg))) else 1)
    except (WorldError, ValueError) as error:
        print(f"soak: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
