"""Frames <-> tokens, in pixel space: normalised pictures cut into patches, one token each.

A token reads its patch in the frame itself and in the frames just before it (a causal temporal kernel), so
that speed is visible to the first layer. Large patches are affordable because the network predicts the clean
picture, which lies near a low-dimensional surface, and never the noise.

A small thing can be at any of ph*pw places of a patch, and plain linear maps learn each of them apart. Besides
them, tokens are therefore read from row and column sums and drawn as sums of (rows x columns x colour) products:
ph + pw places instead of ph*pw.
"""

import torch
from torch import Tensor, nn


class FrameScaler(nn.Module):
    """uint8 pictures <-> model units: the data set's mean picture is subtracted, then `scale` divides."""

    mean: Tensor

    def __init__(self, height: int, width: int, scale: float):
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.zeros(height, width, 3))  # in [0, 1]

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [..., H, W, 3] -> float [..., H, W, 3] with roughly unit spread around moving things."""
        return (frames.to(self.mean.dtype) / 255 - self.mean) / self.scale

    def decode(self, x: Tensor) -> Tensor:
        """Inverse of `encode`, rounded and clamped to uint8."""
        pixels = (x.to(self.mean.dtype) * self.scale + self.mean) * 255
        return pixels.round().clamp(0, 255).to(torch.uint8)

    def quantise(self, x: Tensor) -> Tensor:
        """The value `x` has after a round trip through uint8, in model units."""
        return self.encode(self.decode(x))


class PatchTokenizer(nn.Module):
    """[B, T, H, W, 3] in model units <-> [B, T, N, D] tokens, N = (H/ph)*(W/pw)."""

    def __init__(self, height: int, width: int, patch: list[int], dim: int, history: int, products: int):
        super().__init__()
        self.products = products
        self.patch = patch
        self.rows, self.cols = height // patch[0], width // patch[1]
        self.history = history
        self.patch_dim = patch[0] * patch[1] * 3
        self.project = nn.Linear(self.patch_dim * (1 + history), dim)
        self.sums = nn.Linear((patch[0] + patch[1]) * 3 * (1 + history), dim, bias=False)
        self.place = nn.Parameter(torch.randn(self.rows * self.cols, dim) * 0.02)
        self.hidden = nn.Linear(dim, 2 * dim)
        self.pixels = nn.Linear(2 * dim, self.patch_dim)
        self.factors = nn.Linear(2 * dim, products * (patch[0] + patch[1] + 3))
        for layer in (self.sums, self.pixels):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.pixels.bias)
        with torch.no_grad():  # colours start at zero: at first nothing is drawn
            self.factors.weight.unflatten(0, (products, -1))[:, -3:] = 0
            self.factors.bias.unflatten(0, (products, -1))[:, -3:] = 0

    def patchify(self, x: Tensor) -> Tensor:
        """[B, T, H, W, 3] -> [B, T, N, ph*pw*3]."""
        batch, frames = x.shape[:2]
        ph, pw = self.patch
        x = x.reshape(batch, frames, self.rows, ph, self.cols, pw, 3).permute(0, 1, 2, 4, 3, 5, 6)
        return x.reshape(batch, frames, self.rows * self.cols, self.patch_dim)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Inverse of `patchify`."""
        batch, frames = patches.shape[:2]
        ph, pw = self.patch
        x = patches.reshape(batch, frames, self.rows, self.cols, ph, pw, 3).permute(0, 1, 2, 4, 3, 5, 6)
        return x.reshape(batch, frames, self.rows * ph, self.cols * pw, 3)

    def embed(self, seen: list[Tensor]) -> Tensor:
        """Tokens of frames.

        Args:
            seen: 1 + `history` pictures for every frame, each [B, T, H, W, 3]: the frame itself, the frame one
                earlier, two earlier, ... (zeros where there is none).

        Returns:
            [B, T, N, D].
        """
        read = torch.cat([self.patchify(x) for x in seen], -1)
        cells = read.unflatten(-1, (1 + self.history, *self.patch, 3))
        sums = torch.cat([cells.sum(-2).flatten(-3), cells.sum(-3).flatten(-3)], -1) / 2
        return self.project(read) + self.sums(sums) + self.place.to(read.dtype)

    def read(self, tokens: Tensor) -> Tensor:
        """Draw: [B, T, N, D] -> [B, T, H, W, 3] in model units."""
        hidden = nn.functional.gelu(self.hidden(tokens), approximate="tanh")
        factors = self.factors(hidden).unflatten(-1, (self.products, -1))
        rows, columns, colours = factors.split([*self.patch, 3], -1)
        places = (rows[..., None] * columns[..., None, :]).flatten(-2)  # [B, T, N, products, ph*pw]
        return self.unpatchify(self.pixels(hidden) + (places.transpose(-1, -2) @ colours).flatten(-2))
