"""What an AR-VAE learns from a batch of clips: to draw them again from a few disturbed tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .ar_vae import ArVae, jitter
from .clips import ClipSource
from .error_bank import Noted
from .loader import Portion
from .losses import LossConfig, motion_weight, rarity_weight
from .metrics import LUMA, gaussian, similarity


@dataclass(kw_only=True)
class VaeLossConfig:
    """Weights of the parts of the loss; errors are in [0, 1] pixel units."""

    absolute: float = 1.0
    """of the mean error without sign"""
    square: float = 4.0
    """of the mean squared error"""
    similarity: float = 0.1
    """of 1 - SSIM (Wang et al. 2004), the perceptual term: it needs no network learned elsewhere"""
    motion: float = 4.0
    """extra weight of pixels that changed since the frame before"""
    rarity: float = 0.2
    """see `LossConfig.rarity`"""
    jitter: float = 0.15
    """standard deviation of the noise on tokens, whose numbers have mean square 1"""

    def __post_init__(self) -> None:
        wrong = {name: value for name, value in vars(self).items() if value < 0}
        if wrong:
            raise ValueError(f"weights must not be negative, got {wrong}")


class VaeObjective(nn.Module):
    """The loss of a training step, for `Trainer`; its only parameters are those of the AR-VAE."""

    places: Tensor
    moment_frames = 1

    def __init__(self, model: ArVae, source: ClipSource, config: VaeLossConfig, seed: int = 0):
        super().__init__()
        self.model, self.source, self.config, self.seed = model, source, config, seed
        self.weights = LossConfig(motion=config.motion, rarity=config.rarity)
        spread = source.spread.to(model.scaler.mean.device)
        self.register_buffer("places", rarity_weight(spread, self.weights), persistent=False)

    def forward(self, portion: Portion) -> tuple[Tensor, dict[str, Any]]:
        """The loss of a portion of a step, the same whenever it is asked for, and what to log."""
        seed = np.random.SeedSequence([self.seed, portion.step, portion.part]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seed[0]))
        frames = portion.clips.frames.to(self.places.device)
        tokens = jitter(self.model.encode(frames), self.config.jitter, generator)
        drawn, _ = self.model.decode(tokens)
        losses = self._losses(drawn.float(), frames)
        weighed = self.config.absolute, self.config.square, self.config.similarity
        loss = torch.stack([weight * part for weight, part in zip(weighed, losses.values(), strict=True)]).sum()
        return loss, {"loss": loss, "mode": "clip", **losses}

    def _losses(self, drawn: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """The parts: pictures [B, T, H, W, 3] in model units beside uint8 ones."""
        scaler = self.model.scaler
        moved = motion_weight(frames[:, 1:], frames[:, :-1], self.weights)
        weight = torch.cat([moved[:, :1], moved], 1) * self.places
        error = (drawn - scaler.encode(frames)) * scaler.scale
        kernel = gaussian(min(11, *(side - 1 + side % 2 for side in frames.shape[2:4])), 1.5).to(drawn)
        luma = torch.from_numpy(LUMA).to(drawn)
        ours = ((drawn * scaler.scale + scaler.mean) * 255 @ luma).flatten(0, 1)
        theirs = (frames.to(drawn.dtype) @ luma).flatten(0, 1)
        return {"absolute": (weight * error.abs()).mean(), "square": (weight * error.square()).mean(),
                "unlike": 1 - similarity(ours, theirs, kernel).mean()}

    def memory(self) -> dict[str, Tensor]:
        """Nothing is remembered between steps."""
        return {}

    def noted(self) -> list[Noted]:
        """Nothing is noted in a step."""
        return []

    def learned(self, noted: list[Noted]) -> None:
        """There is nothing to remember."""
