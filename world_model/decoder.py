"""Tokens and the frames before -> the clean picture, by convolutions at half resolution.

A token places a paddle well and a one-pixel ball badly: it would have to learn each of a patch's places apart. Pixel
by pixel, small things move by rules that are the same everywhere; convolutions learn them once. Tokens say what needs
sight of the whole picture and of the past, on a canvas that the convolutions read beside the pictures.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .competition import Competition

DILATIONS = (1, 2, 4, 1)
"""of the residual convolutions; with the first and the last one they look 20 pixels far"""

COMPETE_AFTER = (1, 2)
"""of the residual convolutions, counted from 0; what is won still has to be drawn"""


class Convolution(nn.Module):
    """3x3 convolution that keeps its size; its weight is a matrix, so that Muon takes it as one."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1):
        super().__init__()
        self.inputs, self.dilation = inputs, dilation
        self.weight = nn.Parameter(torch.empty(outputs, 9 * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W], channels last in memory."""
        kernel = self.weight.view(-1, 3, 3, self.inputs).permute(0, 3, 1, 2)
        return F.conv2d(x, kernel, self.bias, padding=self.dilation, dilation=self.dilation)


class TokenDecoder(nn.Module):
    """The frame before, or the noisy one the less noise there is, plus a correction: tokens of an AR-VAE."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.draw = nn.Linear(dim, channels)
        for weight in self.draw.parameters():
            nn.init.zeros_(weight)

    def forward(self, tokens: Tensor, seen: list[Tensor], mean: Tensor, condition: Tensor, levels: Tensor) -> Tensor:
        """See `PixelDecoder.forward`; frames are [B, T, R, S, C], tokens in R rows of S."""
        noise = levels.to(tokens.dtype)[..., None, None, None]
        before = seen[1] if len(seen) > 1 else torch.zeros_like(seen[0])
        return self.draw(tokens).view_as(seen[0]) + torch.lerp(seen[0].to(noise), before.to(noise), noise)


class PixelDecoder(nn.Module):
    """The frame before plus a correction from tokens, the noisy frame, the frames before and the mean picture."""

    def __init__(self, grid: tuple[int, int], patch: list[int], dim: int, history: int, canvas: int, channels: int,
                 condition_dim: int, kinds: int = 0):
        super().__init__()
        self.grid, self.cell = grid, (patch[0] // 2, patch[1] // 2)
        self.canvas = nn.Linear(dim, self.cell[0] * self.cell[1] * canvas)
        self.read = Convolution(12 * (2 + history) + canvas, channels)
        self.middle = nn.ModuleList(Convolution(channels, channels, dilation) for dilation in DILATIONS)
        self.compete = nn.ModuleDict({str(i): Competition(channels, kinds) for i in COMPETE_AFTER} if kinds else {})
        self.draw = Convolution(channels, 12)
        self.modulation = nn.Linear(condition_dim, 2 * channels * len(DILATIONS))
        for weight in [*self.draw.parameters(), *self.modulation.parameters()]:
            nn.init.zeros_(weight)

    def forward(self, tokens: Tensor, seen: list[Tensor], mean: Tensor, condition: Tensor, levels: Tensor) -> Tensor:
        """Draw B*T frames, each on its own.

        Args:
            tokens: [B, T, N, D].
            seen: the noisy frame and the `history` frames before it, each [B, T, H, W, 3].
            mean: [H, W, 3] the data set's mean picture, which shows what never moves; or [B, T, H, W, 3] each frame's.
            condition: [B, T, C] embedding of level and actions.
            levels: [B, T] in [0, 1].

        Returns:
            [B, T, H, W, 3].
        """
        dtype = tokens.dtype
        pictures = torch.cat([*(x.to(dtype) for x in seen), mean.to(dtype).expand(*seen[0].shape)], -1)
        x = torch.cat([_fold(pictures.flatten(0, 1)), self._spread(tokens).flatten(0, 1)], -1).permute(0, 3, 1, 2)
        told = self.modulation(condition).flatten(0, 1)[:, None, None].chunk(2 * len(self.middle), -1)
        x = self.read(x)
        for i, layer in enumerate(self.middle):
            x = x + layer(F.relu(_normalise(x, 1 + told[2 * i], told[2 * i + 1])))
            if str(i) in self.compete:
                x = self.compete[str(i)](x, levels.flatten())
        x = self.draw(F.relu(_normalise(x)))
        correction = _unfold(x.permute(0, 2, 3, 1)).reshape(seen[0].shape)
        return correction + seen[1] if len(seen) > 1 else correction

    def _spread(self, tokens: Tensor) -> Tensor:
        """What tokens say at each place of the half-size picture: [B, T, N, D] -> [B, T, H/2, W/2, canvas]."""
        batch, frames = tokens.shape[:2]
        (rows, cols), (height, width) = self.grid, self.cell
        said = self.canvas(tokens).reshape(batch, frames, rows, cols, height, width, -1)
        return said.permute(0, 1, 2, 4, 3, 5, 6).reshape(batch, frames, rows * height, cols * width, -1)


def _normalise(x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """LayerNorm over the channels of [B, C, H, W] without weights, then scale and shift [B, 1, 1, C].

    In float32: twice as fast as bfloat16 on a CPU.
    """
    y = F.layer_norm(x.permute(0, 2, 3, 1).float(), x.shape[1:2], eps=1e-5)
    if scale is not None and shift is not None:
        y = y * scale.float() + shift.float()
    return y.permute(0, 3, 1, 2).to(x.dtype)


def _fold(x: Tensor) -> Tensor:
    """Squares of four pixels become channels: [B, H, W, C] -> [B, H/2, W/2, 4C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)


def _unfold(x: Tensor) -> Tensor:
    """Inverse of `_fold`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)
