"""The decoder as a served world runs it on a CPU: `PixelDecoder` with frozen weights, one picture at a time.

The same sums in another order. What does not change between the passes of a step is computed once: a convolution is
linear, so the part of the first one that reads tokens, past and mean is added to the part that reads the noisy frame.
Squares of four pixels are read by a 6x6 kernel of stride 2 instead of being folded first. Between convolutions values
are float32, which a CPU handles faster than bfloat16; with one picture at a time they fit into a core's cache, scale
and shift are those of the LayerNorm itself, and no picture depends on how many others are drawn.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .competition import Competition
from .decoder import Convolution, PixelDecoder


class ServedDecoder:
    """Weights of a `PixelDecoder` in eval mode, arranged; it does not follow later changes of them."""

    def __init__(self, decoder: PixelDecoder, means: Tensor, history: int):
        """Args: means [K, H, W, 3] in model units, of each condition; history: frames before that the decoder reads."""
        self.dtype = decoder.read.weight.dtype
        self.wide = torch.promote_types(self.dtype, torch.float32)
        self.grid, self.cell, self.channels = decoder.grid, decoder.cell, decoder.read.weight.shape[0]
        self.told = 2 * self.channels * len(decoder.middle)
        self.ones = torch.ones(self.channels, dtype=self.wide)
        self.zeros = torch.zeros(self.channels, dtype=self.wide)
        kernel = decoder.read.weight.unflatten(1, (3, 3, -1))
        seen = 3 * (2 + history)
        squares = kernel[..., : 4 * seen].unflatten(3, (2, 2, seen)).permute(0, 1, 3, 2, 4, 5).reshape(-1, 6, 6, seen)
        noisy, past, still = (part.contiguous().permute(0, 3, 1, 2) for part in squares.split([3, 3 * history, 3], -1))
        self.noisy, self.past = noisy, past
        self.said = kernel[..., 4 * seen :].contiguous().permute(0, 3, 1, 2)
        self.still = [F.conv2d(mean.to(self.wide).permute(2, 0, 1)[None], still.to(self.wide),
                               decoder.read.bias.to(self.wide), stride=2, padding=2) for mean in means]
        layers = [cast(Convolution, layer) for layer in decoder.middle]
        self.middle = [(_kernel(layer.weight), layer.bias, layer.dilation) for layer in layers]
        self.compete = {int(i): ServedCompetition(cast(Competition, layer)) for i, layer in decoder.compete.items()}
        # four pixels of three colours become three colours of four pixels, which torch's pixel_shuffle puts in place
        self.draw_kernel = _kernel(decoder.draw.weight.unflatten(0, (4, 3)).transpose(0, 1).flatten(0, 1))
        self.draw_bias = decoder.draw.bias.unflatten(0, (4, 3)).t().flatten()

    def unchanging(self, said: Tensor, past: Tensor, condition: int = 0) -> Tensor:
        """What the first convolution makes of all but the noisy frame, at L levels.

        Args:
            said: [L, N, ...] what `canvas` makes of the frame's tokens, modulated as the levels ask.
            past: [history, H, W, 3] the frames before, newest first.
            condition: number of the frame's.

        Returns:
            [L, channels, H/2, W/2], wide.
        """
        (rows, cols), (height, width) = self.grid, self.cell
        said = said.view(-1, rows, cols, height, width, self.said.shape[1]).transpose(2, 3)
        said = said.reshape(len(said), rows * height, cols * width, -1).permute(0, 3, 1, 2)
        x = self.still[condition]
        if len(past):
            pictures = past.to(self.dtype).permute(1, 2, 0, 3).flatten(2)[None].permute(0, 3, 1, 2)
            x = x + F.conv2d(pictures, self.past, stride=2, padding=2)
        return x + F.conv2d(said, self.said, padding=1)

    def correction(self, noisy: Tensor, unchanging: Tensor, told: Tensor, sharpness: Tensor) -> Tensor:
        """What is added to the frame before.

        Args:
            noisy: [H, W, 3] in the decoder's dtype.
            unchanging: [channels, H/2, W/2] of `unchanging`.
            told: [2 * convolutions, channels] scales (1 and what is learned) and shifts in turn, wide.
            sharpness: of the competition at the frame's level, one number, wide.

        Returns:
            [H, W, 3].
        """
        x = unchanging[None] + F.conv2d(noisy.permute(2, 0, 1)[None], self.noisy, stride=2, padding=2)
        for i, (kernel, bias, dilation) in enumerate(self.middle):
            y = self._ready(x, told[2 * i], told[2 * i + 1]).to(self.dtype)
            x += F.conv2d(y.permute(0, 3, 1, 2), kernel, bias, padding=dilation, dilation=dilation)
            if i in self.compete:
                x = self.compete[i](x, self._ready(x, self.ones, self.zeros), sharpness)
        y = self._ready(x, self.ones, self.zeros).to(self.dtype).permute(0, 3, 1, 2)
        drawn = F.conv2d(y, self.draw_kernel, self.draw_bias, padding=1)
        return F.pixel_shuffle(drawn, 2)[0].permute(1, 2, 0)

    def _ready(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """LayerNorm over channels and relu: [1, C, H, W] -> [1, H, W, C]."""
        return F.layer_norm(x.permute(0, 2, 3, 1), (self.channels,), scale, shift, 1e-5).relu_()


class ServedCompetition:
    """`Competition` in eval mode on one picture, kinds first: places then lie side by side in memory.

    A place's share and its claim beside the best are the same number but for a factor per kind, so one product tells
    both.
    """

    def __init__(self, layer: Competition):
        wide = torch.promote_types(layer.claim.weight.dtype, torch.float32)
        self.claim, self.claim_bias = layer.claim.weight.to(wide), layer.claim.bias.to(wide)[:, None]
        self.tell_share, self.tell_beside = layer.tell.weight.to(wide).t().chunk(2)
        self.tell_bias = layer.tell.bias.to(wide)
        self.announce = layer.announce.weight.to(wide)

    def __call__(self, x: Tensor, seen: Tensor, sharpness: Tensor) -> Tensor:
        """See `Competition`: x [1, C, H, W], channels last in memory; seen [1, H, W, C] is x normed, after relu."""
        places = seen.flatten(0, 2)
        claims = torch.addmm(self.claim_bias * sharpness, self.claim * sharpness, places.t())
        beside_best = claims.sub_(claims.amax(1, keepdim=True)).exp_()
        total = beside_best.sum(1, keepdim=True)
        won = _over_rows(beside_best, places, seen.shape[1]) / total
        telling = self.tell_share / total + self.tell_beside
        told = torch.addmm(x.permute(0, 2, 3, 1).flatten(0, 2), beside_best.t(), telling)
        told += torch.addmv(self.tell_bias, self.announce, won.flatten())
        return told.view(seen.shape).permute(0, 3, 1, 2)


def _over_rows(shares: Tensor, places: Tensor, rows: int) -> Tensor:
    """[K, N] @ [N, C], so many equal parts of N each by itself: how one long sum is cut depends on threads."""
    parts = torch.bmm(shares.unflatten(1, (rows, -1)).transpose(0, 1), places.unflatten(0, (rows, -1)))
    return parts.sum(0)


def _kernel(weight: Tensor) -> Tensor:
    """Weight of a `Convolution` as torch wants it, channels last in memory: [out, 9 * in] -> [out, in, 3, 3]."""
    return weight.unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2)
