"""Few-step sampling on the rectified-flow path, and the one executor that runs any plan."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
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
    shift: float = 1.0
    """timestep shift: above 1 puts more of the steps at high noise"""
    reuse: bool = False
    """whether the passes after the first keep its tokens, so that the transformer looks once and the decoder draws
    `steps` times (deep features change least from pass to pass: DeepCache, arXiv:2312.00858)"""

    guidance: float = 1.0
    """how far past the estimate that is told no action the one that is told it is moved: 1 is the estimate itself, more
    obeys more and costs twice the passes (arXiv:2207.12598); only for worlds trained with `action_dropout`"""
    still: int = 0
    """change, of 255 in any colour, up to which a pixel is shown as it was in one of the last frames (as many as the
    decoder sees), the nearest; 0: every change is shown. What should not move then cannot wear away, nor can it fade so
    slowly; see `replenish`"""

    def __post_init__(self) -> None:
        if not 0 <= self.guidance <= 20:
            raise ValueError(f"guidance must be from 0 to 20, got {self.guidance}")
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps must be from 1 to 1000, got {self.steps}")
        if not 0.01 <= self.shift <= 100:
            raise ValueError(f"shift must be from 0.01 to 100, got {self.shift}")
        if not isinstance(self.still, int) or not 0 <= self.still < 255:
            raise ValueError(f"still must be an integer from 0 to 254, got {self.still!r}")
        if not isinstance(self.reuse, bool):
            raise ValueError(f"reuse must be true or false, got {self.reuse!r}")


def shift_time(u: Tensor, shift: float) -> Tensor:
    """Map uniform time to shifted time, both in [0, 1] and fixed at the ends (Esser et al. 2024, eq. 23)."""
    return shift * u / (1 + (shift - 1) * u)


def level_times(config: SamplerConfig) -> Tensor:
    """Noise time of every integer level: float32 [steps + 1], 0 at level 0 and 1 at level `steps`."""
    return shift_time(torch.linspace(0, 1, config.steps + 1, dtype=torch.float32, device="cpu"), config.shift)


@dataclass
class NoisePath:
    """x = alpha * clean + sigma * noise, at every integer level."""

    times: Tensor
    """[steps + 1] what the network is told, 0 at level 0"""
    alphas: Tensor
    """[steps + 1], 1 at level 0"""
    sigmas: Tensor
    """[steps + 1], 0 at level 0"""


def flow_path(config: SamplerConfig) -> NoisePath:
    """The rectified-flow path x_t = (1 - t) x_0 + t e at the sampler's levels."""
    times = level_times(config)
    return NoisePath(times, 1 - times, times)


def run_plan(
    plan: LevelPlan,
    path: NoisePath,
    noise: Tensor,
    denoise: Denoise,
    finished: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Draw frames from noise as a plan says: `run_levels` from the plan's first row to its last.

    Args:
        plan: levels of `plan.frames` frames over `plan.passes` passes.
        path: alpha, sigma and time of each level.
        noise: [B, frames, ...] the frames' starting points.
        denoise, finished: as in `run_levels`.

    Returns:
        [B, frames, ...] clean frames.
    """
    return run_levels(plan.levels, path, noise, denoise, finished)


def run_levels(
    levels: np.ndarray,
    path: NoisePath,
    x: Tensor,
    denoise: Denoise,
    finished: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Move frames from the levels of the first row to those of the last, deterministically (DDIM, eta = 0).

    A pass asks the network only about the frames from the first to the last one it updates, then moves each of
    them along the path its clean estimate implies: e = (x - alpha x_0) / sigma, x' = alpha' x_0 + sigma' e.

    Args:
        levels: int [passes + 1, frames], no column ever rises.
        path: alpha, sigma and time of each level.
        x: [B, frames, ...] the frames at the levels of the first row.
        denoise: the network; earlier frames are committed, later ones not begun.
        finished: called once per frame that becomes clean, in order, with the frame [B, ...] and its index; what it
            returns takes the frame's place (a commit: quantised, written to a cache).

    Returns:
        [B, frames, ...] at the levels of the last row.
    """
    frames = list(x.unbind(1))
    for now, then in pairwise(levels):
        moved = np.flatnonzero(then < now).tolist()
        first, last = moved[0], moved[-1] + 1
        times = path.times[torch.from_numpy(now[first:last])]
        clean = denoise(side_by_side(frames[first:last]), times, first)
        for i in moved:
            alpha, sigma = float(path.alphas[now[i]]), float(path.sigmas[now[i]])
            below_alpha, below_sigma = float(path.alphas[then[i]]), float(path.sigmas[then[i]])
            keep = below_sigma / sigma
            frames[i] = torch.add(keep * frames[i], clean[:, i - first], alpha=below_alpha - keep * alpha)
            if then[i] == 0 and finished is not None:
                frames[i] = finished(frames[i], i)
    return side_by_side(frames)


def side_by_side(frames: list[Tensor]) -> Tensor:
    """Frames [B, ...] as [B, frames, ...]; one alone is not copied."""
    return frames[0][:, None] if len(frames) == 1 else torch.stack(frames, 1)
