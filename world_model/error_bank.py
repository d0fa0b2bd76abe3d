"""Errors that a world has made, given back to it so that it learns to undo them.

Error recycling of Stable Video Infinity (arXiv:2510.09212): what a pass drew wrongly is kept by the noise level it
was drawn at, and added to later frames, to the past they are drawn from, the clean part of the noisy frame and its
noise, while the target stays the true frame. No rollout is needed, and nothing changes when the world is served.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(kw_only=True)
class ErrorBankConfig:
    """How many errors are kept and how often they come back."""

    size: int = 0
    """errors kept per bin of noise levels; 0: no bank"""
    bins: int = 8
    """equal parts of the noise times in [0, 1]"""
    past: float = 0.5
    """share of frames of a past that get an error, of any bin"""
    frame: float = 0.5
    """share of frames about to be made noisy that get an error of their own bin"""
    noise: float = 0.0
    """share of frames whose noise gets one, of their own bin, as the noise a wrong estimate implies"""
    clean: float = 0.1
    """share of steps in which nothing is disturbed"""
    spread: float = 0.3
    """errors are scaled by 1 - spread to 1 + spread"""
    stored: int = 8
    """errors kept of each step"""

    def __post_init__(self) -> None:
        if self.size < 0 or self.bins < 1 or self.stored < 1:
            raise ValueError(f"need size >= 0, bins >= 1 and stored >= 1, "
                             f"got {self.size}, {self.bins} and {self.stored}")
        for name in ("past", "frame", "noise", "clean", "spread"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")


Noted = tuple[int, int, Tensor]
"""an error, float16 [H, W, 3] on the CPU, after its bin and the place it takes there if the bin is full"""


class ErrorBank(nn.Module):
    """Errors [bins, size, H, W, 3] in model units, float16; empty places hold none."""

    errors: Tensor
    kept: Tensor

    def __init__(self, config: ErrorBankConfig, height: int, width: int):
        super().__init__()
        self.config = config
        self._noted: list[Noted] = []
        self.register_buffer("errors", torch.zeros(config.bins, config.size, height, width, 3, dtype=torch.float16))
        self.register_buffer("kept", torch.zeros(config.bins, dtype=torch.int64))  # ever; those beyond size replaced

    @torch.no_grad()
    def note(self, errors: Tensor, times: Tensor, generator: torch.Generator) -> None:
        """Choose some errors of a part of a step, to be kept when all processes know them; see `noted`.

        Args:
            errors: [B, T, H, W, 3] estimate minus truth.
            times: [B, T] noise times they were drawn at; those at 0 are left out.
            generator: decides which, and what they replace.
        """
        chosen = (times > 0).flatten().nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), generator=generator)[: self.config.stored].to(chosen.device)]
        bins = self._bins(times.flatten()[chosen]).tolist()
        places = torch.randint(self.config.size, (len(bins),), generator=generator).tolist()
        self._noted += zip(bins, places, errors.flatten(0, 1)[chosen].to("cpu", torch.float16), strict=True)

    def noted(self) -> list[Noted]:
        """What was chosen since this was last asked."""
        noted, self._noted = self._noted, []
        return noted

    def keep(self, noted: list[Noted]) -> None:
        """Keep errors in the bins of their levels; where a bin is full one of its errors goes."""
        for bin, place, error in noted:
            count = int(self.kept[bin])
            self.errors[bin, count if count < self.config.size else place] = error.to(self.errors.device)
            self.kept[bin] += 1

    def disturb_past(self, past: Tensor, generator: torch.Generator) -> Tensor:
        """Add errors of any bin to some frames of a past [B, T, H, W, 3]."""
        bins = torch.randint(self.config.bins, past.shape[:2], generator=generator).to(past.device)
        return past + self._some(self.config.past, bins, generator)

    def disturb_frames(self, frames: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
        """Add errors of their own levels to some frames [B, T, H, W, 3] that are about to be made noisy."""
        return frames + self._some(self.config.frame, self._bins(times), generator)

    def disturb_noise(self, noise: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
        """Replace some noise [B, T, H, W, 3] by what a wrong estimate implies: e' = e - (1 - t) / t * error."""
        implied = ((1 - times) / times.clamp(min=0.1))[..., None, None, None]
        return noise - implied * self._some(self.config.noise, self._bins(times), generator)

    def _bins(self, times: Tensor) -> Tensor:
        return (times * self.config.bins).long().clamp(0, self.config.bins - 1)

    def _some(self, share: float, bins: Tensor, generator: torch.Generator) -> Tensor:
        """Errors of the given bins [B, T] for a share of frames, nothing for the others: [B, T, H, W, 3]."""
        draw = torch.rand(3, *bins.shape, generator=generator).to(bins.device)
        available = self.kept.clamp(max=self.config.size)[bins]
        place = (draw[0] * available).long().clamp(max=max(self.config.size - 1, 0))
        scale = (1 + self.config.spread * (2 * draw[1] - 1)) * ((draw[2] < share) & (available > 0))
        return self.errors[bins, place].float() * scale[..., None, None, None]
