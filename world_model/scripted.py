"""Frames of a whole script of actions: plans that begin frames before the ones they follow are done."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kernels import RingCache

from .keyframes import by_keyframes
from .passes import Passes, with_noise
from .plan_config import PlanConfig
from .plans import ad_levels, live_levels
from .sampler import flow_path, run_levels
from .state import WorldState

if TYPE_CHECKING:
    from .rollout import Drawn, World


def roll_out(world: "World", state: WorldState, actions: Tensor, plan: PlanConfig) -> Iterator["Drawn"]:
    """See `World.rollout`; actions [B, n, ...], as told. The plan is checked when this is called, not later."""
    if plan.kind == "keyframes" and not all(isinstance(ring, RingCache) for ring in state.cache.rings):
        raise ValueError(f"the plan keyframes reads a window, and this world remembers by {world.memory}: use the plan "
                         "autoregressive, or memory=window")
    plan.check_script(world.sampler.steps)
    state.flight = None
    return by_keyframes(world, state, actions, plan) if plan.kind == "keyframes" else _staggered(
        world, state, actions, plan)


def begun(world: "World", state: WorldState, frames: int, stagger: int, passes: Passes) -> Tensor:
    """The next frames as they are in flight when the first of them has `stagger` passes left: [B, frames, H, W, 3]."""
    steps = world.sampler.steps
    levels = ad_levels(frames, steps, stagger)[: steps - stagger + 1]
    return run_levels(levels, flow_path(world.sampler), with_noise(world, state, None, frames), passes)


@torch.inference_mode()
def _staggered(world: "World", state: WorldState, actions: Tensor, plan: PlanConfig) -> Iterator["Drawn"]:
    """T + (n - 1) s passes for n frames, as many again to commit them; at most ceil(T / s) frames in flight."""
    steps = world.sampler.steps
    stagger = plan.passes_behind(steps)
    levels = live_levels(steps, stagger)
    depth, flight = levels.shape[1], None
    for i in range(actions.shape[1]):
        ahead = actions[:, i : i + depth]
        passes = Passes(world, state, ahead, causal=plan.kind != "rolling")
        if flight is None and depth > 1:
            flight = begun(world, state, min(depth - 1, ahead.shape[1]), stagger, passes)
        x = with_noise(world, state, flight, ahead.shape[1])
        drawn, flight = world.draw_next(state, x, levels[:, : ahead.shape[1]], passes)
        if depth == 1:
            flight = None
        yield drawn
