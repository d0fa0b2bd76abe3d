"""Noise levels for training clips: FoPP (AR-Diffusion, arXiv:2503.07418) and the mixture it is trained in."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .plans import ad_levels
from .sampler import SamplerConfig, level_times, shift_time

MODES = ("teacher", "prefix", "ad", "fopp", "independent")


@dataclass(kw_only=True)
class LevelConfig:
    """Share of training steps given to each way of choosing levels."""

    teacher: float = 0.88
    """clean past, every frame noisy in one pass (skip-causal); what the live world does"""
    prefix: float = 0.03
    """clean prefix of random length, noisy rest"""
    ad: float = 0.03
    """a row of a served AD plan"""
    fopp: float = 0.03
    """FoPP over the whole clip"""
    independent: float = 0.03
    """every frame its own level"""
    pure: float = 0.3
    """share of teacher frames at pure noise, where the sampler starts"""
    shift: float = 3.0
    """timestep shift of all other levels"""
    resolution: int = 1000
    """integer levels of FoPP"""

    def __post_init__(self) -> None:
        weights = [getattr(self, mode) for mode in MODES]
        if min(weights) < 0 or sum(weights) <= 0:
            got = dict(zip(MODES, weights, strict=True))
            raise ValueError(f"level weights must not be negative and not all zero, got {got}")


def fopp_tables(frames: int, levels: int) -> tuple[Tensor, Tensor]:
    """Counts of non-decreasing level sequences; float64, exact up to 2**53 and relative 1e-16 beyond.

    Returns:
        tails [frames, levels]: sequences of frames f.. that start at level t, C((L-1-t)+(F-1-f), F-1-f);
        heads [frames, levels]: sequences of frames ..f that end at level t, C(t+f, f).
    """
    heads = torch.ones(frames, levels, dtype=torch.float64)
    for f in range(1, frames):
        heads[f] = heads[f - 1].cumsum(0)  # E[f, t] = E[f, t-1] + E[f-1, t]
    return heads.flip(0, 1), heads


def sample_fopp(batch: int, frames: int, levels: int, generator: torch.Generator | None = None) -> Tensor:
    """Non-decreasing level sequences by frame-oriented probability propagation.

    An anchor frame and its level are uniform; given the anchor every sequence through it is equally likely.

    Returns:
        int64 [batch, frames] in 0..levels-1, non-decreasing along the frames.
    """
    tails, heads = fopp_tables(frames, levels)
    result = torch.empty(batch, frames, dtype=torch.int64)
    anchor = torch.randint(frames, (batch,), generator=generator)
    start = torch.randint(levels, (batch,), generator=generator)
    result[torch.arange(batch), anchor] = start
    for f in range(1, frames):  # to the right: P(t_f = k | t_{f-1}) ~ tails[f, k], k >= t_{f-1}
        drawn = _draw_from(tails[f], result[:, f - 1], generator)
        result[:, f] = torch.where(f > anchor, drawn, result[:, f])
    flipped = heads.flip(1)  # to the left, the same walk on mirrored levels: k <= t_{f+1}
    for f in range(frames - 2, -1, -1):
        drawn = levels - 1 - _draw_from(flipped[f], levels - 1 - result[:, f + 1], generator)
        result[:, f] = torch.where(f < anchor, drawn, result[:, f])
    return result


def _draw_from(weights: Tensor, lowest: Tensor, generator: torch.Generator | None) -> Tensor:
    """One draw per row from `weights` [L] restricted to indices >= `lowest` [B] -> int64 [B].

    Works on sums from the top, so that light tails beside heavy heads lose no precision.
    """
    above = weights.flip(0).cumsum(0)  # above[j] = sum of the j+1 last weights
    lowest = lowest.clamp(0, len(weights) - 1)
    total = above[len(weights) - 1 - lowest]
    u = torch.rand(len(lowest), generator=generator, dtype=torch.float64)
    index = len(weights) - 1 - torch.searchsorted(above, u * total, right=True)
    return torch.maximum(index.clamp(0, len(weights) - 1), lowest)


class LevelSampler:
    """Draws a mode, then noise times [B, T] in [0, 1] for a batch of clips."""

    def __init__(self, config: LevelConfig, served: SamplerConfig):
        self.config = config
        self.served = served
        self.weights = torch.tensor([getattr(config, mode) for mode in MODES], dtype=torch.float64)

    def mode(self, generator: torch.Generator | None = None) -> str:
        """One of MODES, with the configured weights."""
        return MODES[int(torch.multinomial(self.weights, 1, generator=generator))]

    def times(self, mode: str, batch: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
        """float32 [batch, frames] noise times; 0 marks a clean frame, on which no loss is taken.

        Raises:
            ValueError: if `mode` is not one of MODES.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        return getattr(self, f"_{mode}")(batch, frames, generator).float()

    def _uniform(self, batch: int, frames: int, generator: torch.Generator | None) -> Tensor:
        return shift_time(torch.rand(batch, frames, generator=generator), self.config.shift)

    def _teacher(self, batch: int, frames: int, generator: torch.Generator | None) -> Tensor:
        pure = torch.rand(batch, frames, generator=generator) < self.config.pure
        return torch.where(pure, torch.ones(()), self._uniform(batch, frames, generator))

    def _independent(self, batch: int, frames: int, generator: torch.Generator | None) -> Tensor:
        return self._uniform(batch, frames, generator)

    def _fopp(self, batch: int, frames: int, generator: torch.Generator | None) -> Tensor:
        levels = sample_fopp(batch, frames, self.config.resolution, generator)
        return shift_time((levels + 1) / self.config.resolution, self.config.shift)

    def _prefix(self, batch: int, frames: int, generator: torch.Generator | None) -> Tensor:
        """A clean prefix of random length, then FoPP over the frames that remain."""
        times = torch.zeros(batch, frames)
        for row in range(batch):
            clean = int(torch.randint(1, frames, (), generator=generator)) if frames > 1 else 0
            times[row, clean:] = self._fopp(1, frames - clean, generator)[0]
        return times

    def _ad(self, batch: int, frames: int, generator: torch.Generator | None) -> Tensor:
        """A row of the AD matrix of the served sampler, at a random stagger, phase and clean prefix."""
        steps, grid = self.served.steps, level_times(self.served)
        times = torch.zeros(batch, frames)
        for row in range(batch):
            stagger = int(torch.randint(1, steps + 1, (), generator=generator))
            matrix = ad_levels(frames, steps, stagger)
            phase = int(torch.randint(len(matrix) - 1, (), generator=generator))
            times[row] = grid[torch.as_tensor(matrix[phase])]
        return times
