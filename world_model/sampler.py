"""Few-step sampling on the rectified-flow path, and the one executor that runs any plan."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .plans import LevelPlan

Denoise = Callable[[Tensor, Tensor, int], Tensor]
"""(live frames [B, F, ...], their times [F], index of the first) -> clean estimates like the live frames"""


@dataclass(kw_only=True)
class SamplerConfig:
    """How one frame is drawn from noise."""

    steps: int = 3
    """denoising passes per frame"""
    shift: float = 3.0
    """timestep shift: above 1 puts more of the steps at high noise"""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps must be from 1 to 1000, got {self.steps}")
        if not 0.01 <= self.shift <= 100:
            raise ValueError(f"shift must be from 0.01 to 100, got {self.shift}")


def shift_time(u: Tensor, shift: float) -> Tensor:
    """Map uniform time to shifted time, both in [0, 1] and fixed at the ends (Esser et al. 2024, eq. 23)."""
    return shift * u / (1 + (shift - 1) * u)


def level_times(config: SamplerConfig) -> Tensor:
    """Noise time of every integer level: float32 [steps + 1], 0 at level 0 and 1 at level `steps`."""
    return shift_time(torch.linspace(0, 1, config.steps + 1), config.shift)


def step_down(x: Tensor, clean: Tensor, time: Tensor, lower: Tensor) -> Tensor:
    """Move from noise `time` to `lower` along the path that the clean estimate implies (DDIM, eta = 0).

    x_t = (1 - t) x_0 + t e, so e = (x_t - (1 - t) x_0) / t and the next point is (1 - t') x_0 + t' e.
    """
    return (lower / time) * x + (1 - lower - (1 - time) * lower / time) * clean


def run_plan(
    plan: LevelPlan,
    times: Tensor,
    noise: Tensor,
    denoise: Denoise,
    finished: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Draw frames from noise as a plan says. The network is asked only about the frames a pass updates.

    Args:
        plan: levels of `plan.frames` frames over `plan.passes` passes.
        times: [steps + 1] noise time of each level.
        noise: [B, frames, ...] the frames' starting points.
        denoise: the network; sees the live frames only (earlier ones are committed, later ones not begun).
        finished: called once per frame, in order, with the clean frame [B, ...] and its index; what it returns
            takes the frame's place (a commit: quantised, written to a cache).

    Returns:
        [B, frames, ...] clean frames.
    """
    frames = list(noise.unbind(1))
    ones = (1,) * (noise.dim() - 2)
    for row in range(plan.passes):
        first, last = plan.live(row)
        levels = torch.as_tensor(plan.levels[row, first:last])
        lower = torch.as_tensor(plan.levels[row + 1, first:last])
        clean = denoise(torch.stack(frames[first:last], 1), times[levels], first)
        for i in range(first, last):
            if plan.update[row, i]:
                time, below = (times[level[i - first]].view(ones) for level in (levels, lower))
                frames[i] = step_down(frames[i], clean[:, i - first], time, below).to(noise.dtype)
                if plan.levels[row + 1, i] == 0 and finished is not None:
                    frames[i] = finished(frames[i], i)
    return torch.stack(frames, 1)
