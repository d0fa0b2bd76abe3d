"""How fast learned worlds step: `python -m benchmarks.step`, `... parts=[batches] batches=[1,8,64] device=cuda`.

Parts: batches (many rollouts as one batch), plans, guessing (who calls, and what is drawn before they do), age (the
hundredth step against the ten-thousandth). Everything a caller waits for is measured: drawing, decoding to uint8,
observations, rewards, ends.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import hydra
import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from envs import WorldEnv, WorldVectorEnv
from recorders import Command, processor, settings
from world_model import PlanWarning, WorldError, allocator

from .callers import Timing, guessed, held_keys, random_actions, time_steps

PARTS = ("batches", "plans", "guessing", "age")


@dataclass(kw_only=True)
class StepConfig(Command):
    """What is measured."""

    world: str = "Pong-v0"
    """a shipped world, or the folder of a trained one"""
    parts: list[str] = field(default_factory=lambda: list(PARTS))
    batches: list[int] = field(default_factory=lambda: [1, 4, 16, 64, 256])
    steps: int = 200
    """measured steps of single worlds; fewer for batches"""
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
        if self.steps < 1 or self.old < 1 or not self.batches or min(self.batches) < 1:
            raise ValueError("steps, old and batches must be at least 1")


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
    flops = 0
    for _ in range(steps):
        with FlopCounterMode(display=False) as counter:
            terminated = env.step(0)[2]
        flops += counter.get_total_flops()
        if terminated:
            env.reset()
    return flops / steps / 1e9


def batches(config: StepConfig) -> None:
    """Rollouts stepped as one batch, one measured right after the other."""
    first = 0.0
    for count in config.batches:
        envs = make(config, count, engine={"graphs": config.graphs})
        steps = max(10, config.steps // count)
        time_steps(envs, random_actions(6), 3)
        timing = time_steps(envs, random_actions(6), steps)
        rate = 1000 * count / timing.p50
        first = first or rate / count
        print(f"batch {count:4d}: {timing.percentiles()}  {rate:8.1f} env-steps/s, {rate / first:5.2f} of one alone",
              flush=True)


def plans(config: StepConfig) -> None:
    """One rollout by each plan; scripts by the frame."""
    steps = cast(WorldEnv, make(config)).world.sampler.steps
    for stagger in range(steps, 0, -1):
        env = make(config, engine={"plan": "ad", "stagger": stagger})
        time_steps(env, random_actions(6), 10)
        timing = time_steps(env, random_actions(6), config.steps)
        print(f"live, stagger {stagger} of {steps}:      {timing.percentiles()}", flush=True)
    for plan in ("autoregressive", "ad", "rolling", "keyframes"):
        env = cast(WorldEnv, make(config, engine={"plan": plan}))
        actions = list(islice(held_keys(env.world.num_actions), config.steps))
        before = time.perf_counter()
        seen = env.rollout(actions)[0]
        print(f"script, {plan:15s}: {1000 * (time.perf_counter() - before) / len(seen):7.1f} ms a frame", flush=True)


def guessing(config: StepConfig) -> None:
    """A person at the world's own speed and an agent that thinks for a while, with every kind of guess."""
    env = cast(WorldEnv, make(config))
    actions = env.world.num_actions
    alone = time_steps(env, random_actions(actions), 20).p50 / 1000
    callers = {
        "keys held for 8 steps": (held_keys, max(0.0, 1 / env.world.fps - alone)),
        "random, thinks one step long": (random_actions, alone),
    }
    for name, (does, think) in callers.items():
        print(f"{name}; {1000 * think:.0f} ms between steps")
        for lookahead in ("off", "repeat", "branch"):
            env = cast(WorldEnv, make(config, engine={"lookahead": lookahead}))
            timing = time_steps(env, does(actions), config.steps, think)
            said = "" if lookahead == "off" else guessed(env.stats())
            print(f"  {lookahead:7s} {timing.percentiles()}  {said}", flush=True)
            env.close()


def age(config: StepConfig) -> None:
    """An old rollout and a young one, stepped in turn so that both see the same machine."""
    old, young = cast(WorldEnv, make(config)), cast(WorldEnv, make(config))
    actions = random_actions(old.world.num_actions)
    time_steps(old, actions, config.old)
    time_steps(young, actions, 100)
    state = old.snapshot()
    times = [(time_steps(young, actions, 1).ms, time_steps(old, actions, 1).ms) for _ in range(config.steps)]
    one, other = (Timing(np.concatenate(x)) for x in zip(*times, strict=True))
    print(f"step {100:6d}:   {one.percentiles()}\nstep {config.old:6d}: {other.percentiles()}  "
          f"{other.p50 / one.p50:.3f} of the young one; state {state.nbytes / 1e6:.2f} MB, frame {state.frames[0]}")


_MEASURES: dict[str, Callable[[StepConfig], None]] = dict(zip(PARTS, (batches, plans, guessing, age), strict=True))


@hydra.main(version_base="1.3", config_path=None, config_name="step")
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
