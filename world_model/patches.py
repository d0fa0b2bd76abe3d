"""Frames -> tokens, in pixel space: normalised pictures cut into patches, one token each.

A token reads its patch in the frame itself and in the frames just before it (a causal temporal kernel), so
that speed is visible to the first layer. Large patches are affordable because the network predicts the clean
picture, which lies near a low-dimensional surface, and never the noise.

A small thing can be at any of ph*pw places of a patch, and a plain linear map learns each of them apart. Tokens
therefore also read row and column sums: ph + pw places instead of ph*pw.
"""

import torch
from torch import Tensor, nn


class FrameScaler(nn.Module):
    """uint8 pictures <-> model units: the data set's mean picture is subtracted, then `scale` divides."""

    mean: Tensor

    def __init__(self, height: int, width: int, scale: float, channels: int = 3):
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.zeros(height, width, channels))  # in [0, 1]

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [..., H, W, 3] -> float [..., H, W, 3] with roughly unit spread around moving things."""
        return (frames.to(self.mean.dtype) / 255 - self.mean) / self.scale

    def decode(self, x: Tensor) -> Tensor:
        """Inverse of `encode`, rounded and clamped to uint8."""
        pixels = (x.to(self.mean.dtype) * self.scale + self.mean) * 255
        return pixels.round().clamp(0, 255).to(torch.uint8)


class PatchTokenizer(nn.Module):
    """[B, T, H, W, 3] in model units -> [B, T, N, D] tokens, N = (H/ph)*(W/pw)."""

    def __init__(self, height: int, width: int, patch: list[int], dim: int, history: int, channels: int = 3):
        super().__init__()
        self.patch, self.channels = patch, channels
        self.rows, self.cols = height // patch[0], width // patch[1]
        self.history = history
        self.patch_dim = patch[0] * patch[1] * channels
        self.project = nn.Linear(self.patch_dim * (1 + history), dim)
        self.sums = nn.Linear((patch[0] + patch[1]) * channels * (1 + history), dim, bias=False)
        self.place = nn.Parameter(torch.randn(self.rows * self.cols, dim) * 0.02)
        nn.init.zeros_(self.sums.weight)

    def patchify(self, x: Tensor) -> Tensor:
        """[B, T, H, W, 3] -> [B, T, N, ph*pw*3]."""
        batch, frames = x.shape[:2]
        ph, pw = self.patch
        x = x.reshape(batch, frames, self.rows, ph, self.cols, pw, self.channels).permute(0, 1, 2, 4, 3, 5, 6)
        return x.reshape(batch, frames, self.rows * self.cols, self.patch_dim)

    def embed(self, seen: list[Tensor]) -> Tensor:
        """Tokens of frames.

        Args:
            seen: 1 + `history` pictures for every frame, each [B, T, H, W, 3]: the frame itself, the frame one
                earlier, two earlier, ... (zeros where there is none).

        Returns:
            [B, T, N, D].
        """
        read = torch.cat([self.patchify(x) for x in seen], -1)
        cells = read.unflatten(-1, (1 + self.history, *self.patch, self.channels))
        sums = torch.cat([cells.sum(-2).flatten(-3), cells.sum(-3).flatten(-3)], -1) / 2
        return self.project(read) + self.sums(sums) + self.place.to(read.dtype)
