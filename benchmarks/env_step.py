"""Step time of learned worlds on this machine: `python -m benchmarks.env_step`, `... worlds=[Pong-v0] steps=300`.

Prints p50 and p99 of `env.step`, steps per second, and the multiply-adds the network makes per step (counted by torch's
own counter, two operations each).
"""

import os
import time
from dataclasses import dataclass, field
from typing import cast

import hydra
import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from envs import WorldEnv, shipped_worlds
from recorders import Command, processor, settings


@dataclass(kw_only=True)
class BenchmarkConfig(Command):
    """Which worlds to step, and how often."""

    worlds: list[str] = field(default_factory=shipped_worlds)
    """shipped worlds, or folders of trained ones"""
    steps: int = 300
    """measured steps per world"""
    warmup: int = 30
    """steps before measuring; the context is full by then"""
    passes: int | None = None
    """network calls per frame; the world's own number when not given"""
    device: str = "cpu"
    """cpu or cuda"""
    seed: int = 0
    """of the world and of the random actions"""


ConfigStore.instance().store(name="env_step", node=BenchmarkConfig)


def step_times_ms(env: WorldEnv, steps: int, seed: int) -> NDArray[np.float64]:
    """Milliseconds of each of `steps` steps under random actions; begins with a reset, resets when a game ends."""
    env.action_space.seed(seed)
    env.reset(seed=seed)
    times = np.zeros(steps)
    for index in range(steps):
        action = env.action_space.sample()
        before = time.perf_counter()
        terminated = env.step(action)[2]
        times[index] = 1000 * (time.perf_counter() - before)
        if terminated:
            env.reset()
    return times


def gflop_per_step(env: WorldEnv, steps: int = 4) -> float:
    """10^9 floating-point operations per step, averaged over `steps` steps; a reset is not counted."""
    env.reset(seed=0)
    flops = 0
    for _ in range(steps):
        with FlopCounterMode(display=False) as counter:
            terminated = env.step(0)[2]
        flops += counter.get_total_flops()
        if terminated:
            env.reset()
    return flops / steps / 1e9


def report(config: BenchmarkConfig) -> None:
    """Print one line per world."""
    print(f"{processor()}, {os.cpu_count()} cores, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}, {config.device}")  # fmt: skip
    for world in config.worlds:
        env = WorldEnv(world, device=config.device, passes=config.passes)
        step_times_ms(env, config.warmup, config.seed)
        times = step_times_ms(env, config.steps, config.seed)
        kept = " with the tokens of the first" if env.world.sampler.reuse else ""
        print(
            f"{env.name}: p50 {np.percentile(times, 50):.1f} ms, p99 {np.percentile(times, 99):.1f} ms, "
            f"{1000 / times.mean():.1f} steps/s, {env.passes} passes{kept}, {gflop_per_step(env):.2f} GFLOP per step, "
            f"frames {'x'.join(map(str, env.world.observation_shape))}"
        )
    if not config.worlds:
        print("no world ships with this checkout: name folders of trained ones, worlds=[runs/pong]")


@hydra.main(version_base="1.3", config_path=None, config_name="env_step")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    report(cast(BenchmarkConfig, settings(cfg)))


if __name__ == "__main__":
    main()
