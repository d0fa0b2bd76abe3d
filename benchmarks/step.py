"""How fast learned worlds step: `python -m benchmarks.step`, `... parts=[batches] batches=[1,8,64] device=cuda`.

Parts: batches (many rollouts as one batch), plans (of batches, and of scripts), guessing (who calls, and what is drawn
before they do), age (the hundredth step against the ten-thousandth). Everything a caller waits for is measured:
drawing, decoding to uint8, observations, rewards, ends. All of it takes an hour on two slow cores; `parts`, `batches`
and `steps` make it shorter.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from envs import WorldEnv, WorldVectorEnv
from recorders import Command, command, processor, settings
from world_model import EngineStats, PlanWarning, WorldError, WorldState, allocator

from .callers import Caller, Timing, guessed, held_keys, random_actions, side_by_side, time_steps

PARTS = ("batches", "plans", "guessing", "age")


@dataclass(kw_only=True)
class StepConfig(Command):
    """What is measured."""

    world: str = "Pong-v0"
    """a shipped world, or the folder of a trained one"""
    parts: list[str] = field(default_factory=lambda: list(PARTS))
    batches: list[int] = field(default_factory=lambda: [1, 4, 16, 64, 256])
    steps: int = 200
    """measured steps of single worlds; of B worlds as one batch steps / B, but at least `least`"""
    least: int = 20
    """measured steps at least"""
    old: int = 10_000
    """age, in steps, that is compared with 100"""
    passes: int | None = None
    """network calls per frame; the world's own number when not given"""
    device: str = "cpu"
    """cpu or cuda"""
    dtype: str = "auto"
    """auto, bf16 or fp32"""
    graphs: bool = True
    """on cuda: whether batches are stepped as CUDA graphs"""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown:
            raise ValueError(f"unknown parts {unknown}: expected some of {list(PARTS)}")
        if min(self.steps, self.least, self.old, *self.batches) < 1 or not self.batches:
            raise ValueError("steps, least, old and batches must be at least 1, and there must be batches")

    def samples(self, count: int) -> int:
        """Measured steps of so many worlds as one batch."""
        return max(self.least, self.steps // count)


ConfigStore.instance().store(name="step", node=StepConfig)


def make(config: StepConfig, count: int | None = None, **more: Any) -> WorldEnv | WorldVectorEnv:
    """A single environment, or a vector of `count`, reset."""
    how = {"device": config.device, "dtype": config.dtype, "passes": config.passes, **more}
    env = WorldEnv(config.world, **how) if count is None else WorldVectorEnv(config.world, count, **how)
    env.reset(seed=0)
    return env


def heading(config: StepConfig) -> str:
    """What the figures belong to."""
    env = make(config)
    assert isinstance(env, WorldEnv)
    model, sampler = env.world.model.config, env.world.sampler
    kept = ", tokens of the first kept" if sampler.reuse else ""
    return (f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
            f"{config.device}, {str(env.world.dtype).removeprefix('torch.')}\n{env.name}: frames "
            f"{model.height}x{model.width}, {model.tokens} tokens each, window {model.window}, {sampler.steps} passes"
            f"{kept}, {gflop_per_step(env):.2f} GFLOP per step; decoding included")


def gflop_per_step(env: WorldEnv, steps: int = 4) -> float:
    """10^9 floating-point operations per step, as torch counts them, by the plain path; a reset is not counted."""
    env.reset(seed=0)
    flops, actions = 0, random_actions(env.world.actions)
    for _ in range(steps):
        with FlopCounterMode(display=False) as counter:
            terminated = env.step(next(actions))[2]
        flops += counter.get_total_flops()
        if terminated:
            env.reset()
    return flops / steps / 1e9


def measured(config: StepConfig, count: int, does: Caller = random_actions, think: float = 0.0,
             **engine: Any) -> tuple[Timing, EngineStats]:
    """Steps of a vector of `count` worlds, each called for itself, after three that are not counted."""
    envs = cast(WorldVectorEnv, make(config, count, engine={"graphs": config.graphs, **engine}))
    actions = side_by_side(does, envs.world.actions, count)
    time_steps(envs, actions, 3)
    timing = time_steps(envs, actions, config.samples(count), think)
    stats = envs.stats()
    envs.close()
    return timing, stats


def batches(config: StepConfig) -> None:
    """Rollouts stepped as one batch, one measured right after the other."""
    first = 0.0
    for count in config.batches:
        timing = measured(config, count)[0]
        first = first or timing.rate(count) / count
        print(f"batch {count:4d}: {timing.percentiles()}  {timing.rate(count):8.1f} env-steps/s, "
              f"{timing.rate(count) / first:5.2f} of one alone", flush=True)


def plans(config: StepConfig) -> None:
    """Rollouts by every live plan; one script by each plan, by the frame."""
    env = cast(WorldEnv, make(config))
    steps, actions = env.world.sampler.steps, list(islice(held_keys(env.world.actions), config.steps))
    for count in config.batches:
        for stagger in range(steps, 0, -1):
            timing = measured(config, count, plan="ad", stagger=stagger)[0]
            print(f"batch {count:4d}, live, stagger {stagger} of {steps}: {timing.percentiles()}  "
                  f"{timing.rate(count):8.1f} env-steps/s", flush=True)
    for plan in ("autoregressive", "ad", "rolling", "keyframes"):
        env = cast(WorldEnv, make(config, engine={"plan": plan}))
        before = time.perf_counter()
        seen = env.rollout(actions)[0]
        print(f"script, {plan:15s}: {1000 * (time.perf_counter() - before) / len(seen):7.1f} ms a frame", flush=True)


def guessing(config: StepConfig) -> None:
    """People at the world's own speed and agents that think for one step's time, with every kind of guess.

    A guess answers a step of a batch if it is right for all of it; every action is drawn for one rollout alone,
    where there are so many that they can be counted.
    """
    world = cast(WorldEnv, make(config)).world
    fps, kinds = world.fps, ["off", "repeat"] if world.actions.continuous else ["off", "repeat", "branch"]
    for count in config.batches:
        alone = measured(config, count)[0].p50 / 1000
        for name, does, think in (("keys held for 8 steps", held_keys, max(0.0, 1 / fps - alone)),
                                  ("random, thinks one step long", random_actions, alone)):
            print(f"batch {count:4d}, {name}; {1000 * think:.0f} ms between steps")
            for lookahead in kinds[: 3 if count == 1 else 2]:
                timing, stats = measured(config, count, does, think, lookahead=lookahead)
                said = "" if lookahead == "off" else guessed(stats)
                print(f"  {lookahead:7s} {timing.percentiles()}  {said}", flush=True)


def age(config: StepConfig) -> None:
    """An old rollout and a young one, stepped in turn so that both see the same machine. Games end, age does not."""
    old, young = cast(WorldEnv, make(config)), cast(WorldEnv, make(config))
    actions = random_actions(old.world.actions)
    aged, fresh = aged_state(old, actions, config.old), aged_state(young, actions, 100)
    times = [(time_steps(young, actions, 1, begin=lambda: young.restore(fresh)).ms,
              time_steps(old, actions, 1, begin=lambda: old.restore(aged)).ms) for _ in range(config.steps)]
    one, other = (Timing(np.concatenate(x)) for x in zip(*times, strict=True))
    print(f"step {100:6d}:   {one.percentiles()}\nstep {config.old:6d}: {other.percentiles()}  "
          f"{other.p50 / one.p50:.3f} of the young one; state {aged.nbytes / 1e6:.2f} MB, frame {aged.frames[0]}")


def aged_state(env: WorldEnv, actions: Iterator[Any], steps: int) -> WorldState:
    """Leave an environment after so many steps from its reset, and return the state; games that end go on."""
    state = env.snapshot()
    for _ in range(steps):
        env.world.step(state, next(actions))
    env.restore(state)
    return state


_MEASURES: dict[str, Callable[[StepConfig], None]] = dict(zip(PARTS, (batches, plans, guessing, age), strict=True))


@command("step")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    allocator.keep_memory()
    warnings.simplefilter("ignore", PlanWarning)
    try:
        config = cast(StepConfig, settings(cfg))
        print(heading(config), flush=True)
        for part in config.parts:
            print(f"-- {part}")
            _MEASURES[part](config)
    except (WorldError, ValueError) as error:
        print(f"step: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
