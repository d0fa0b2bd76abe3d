"""The AR-VAE tokenizer of AR-Diffusion (arXiv:2503.07418, section 3.1): frames <-> a few continuous tokens.

The encoder sees each frame alone: patches and learned queries in one transformer, of which only the queries are kept,
each as a point on a sphere. A query begins with the mean of the patches in its part of the picture, and the decoder's
canvas with the tokens around each place: what is left to attention is what lies elsewhere. The decoder is causal in
time: what it draws of frame i depends on the tokens of the last `window` frames up to i, through a cache of constant
size, so decoding streams at constant cost.

Its posterior has a fixed width and no Kullback-Leibler term, as in the released training scripts, whose weight of it
is 0: tokens are disturbed by `jitter` in training, which makes neighbours on the sphere mean the same.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .decoder import Convolution
from .patches import FrameScaler
from .vae_config import VaeConfig
from .vae_layers import Past, SpatialBlock, TemporalAttention

Cache = list[Past]
"""what the decoder remembers of the frames before, layer after layer, fine and coarse in turn"""


class ArVae(nn.Module):
    """Time-agnostic encoder and temporally causal decoder."""

    def __init__(self, config: VaeConfig):
        super().__init__()
        self.config = config
        self.scaler = FrameScaler(config.height, config.width, 0.25)
        self.encoder, self.decoder = FrameEncoder(config), StreamDecoder(config)

    def encode(self, frames: Tensor) -> Tensor:
        """Tokens of frames, each on its own.

        Args:
            frames: uint8 [..., H, W, 3].

        Returns:
            [..., N, C] on the sphere of mean square 1.
        """
        x = self.scaler.encode(frames)
        return self.encoder(x.flatten(0, -4)).unflatten(0, x.shape[:-3])

    def decode(self, tokens: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Pictures of the next T frames.

        Args:
            tokens: [B, T, N, C].
            cache: of the frames before; None at the beginning. A clip at once or frame by frame comes to the same.

        Returns:
            [B, T, H, W, 3] in model units, see `FrameScaler`, and the cache of the frames to come.
        """
        return self.decoder(tokens, cache)

    def shown(self, pictures: Tensor) -> Tensor:
        """Pictures in model units as uint8."""
        return self.scaler.decode(pictures)


class FrameEncoder(nn.Module):
    """[F, H, W, 3] in model units -> [F, N, C] on the sphere."""

    def __init__(self, config: VaeConfig):
        super().__init__()
        self.patch, self.grid, self.layout = config.patch, config.grid, config.layout
        self.read = nn.Linear(config.patch[0] * config.patch[1] * 3, config.dim)
        self.place = nn.Parameter(torch.randn(config.patches, config.dim) * 0.02)
        self.queries = nn.Parameter(torch.randn(config.tokens, config.dim) * 0.02)
        self.blocks = nn.ModuleList(
            SpatialBlock(config.dim, config.heads, config.mlp_ratio) for _ in range(config.encoder_layers))
        self.norm, self.tell = nn.LayerNorm(config.dim), nn.Linear(config.dim, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Encode frames, none of which sees another."""
        (rows, cols), (height, width) = self.grid, self.patch
        x = x.to(self.read.weight.dtype)
        cells = x.unflatten(1, (rows, height)).unflatten(3, (cols, width)).permute(0, 1, 3, 2, 4, 5)
        patches = self.read(cells.flatten(3).flatten(1, 2)) + self.place
        under = F.adaptive_avg_pool2d(patches.mT.unflatten(2, (rows, cols)), self.layout).flatten(2).mT
        tokens = torch.cat([patches, self.queries + under], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return on_sphere(self.tell(self.norm(tokens[:, rows * cols :])))


class StreamDecoder(nn.Module):
    """[B, T, N, C] tokens -> [B, T, H, W, 3] in model units, causal over frames."""

    def __init__(self, config: VaeConfig):
        super().__init__()
        self.patches, self.grid, self.layout = config.patches, config.grid, config.layout
        self.cell = config.patch[0] // 2, config.patch[1] // 2
        self.read = nn.Linear(config.channels, config.dim)
        self.place = nn.Parameter(torch.randn(config.tokens, config.dim) * 0.02)
        self.canvas = nn.Parameter(torch.randn(config.patches, config.dim) * 0.02)
        self.fine = nn.ModuleList(TemporalAttention(config.dim, config.heads, config.window, coarse=False)
                                  for _ in range(config.decoder_layers))
        self.coarse = nn.ModuleList(TemporalAttention(config.dim, config.heads, config.window, coarse=True)
                                    for _ in range(config.decoder_layers))
        self.blocks = nn.ModuleList(
            SpatialBlock(config.dim, config.heads, config.mlp_ratio) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.spread = nn.Linear(config.dim, self.cell[0] * self.cell[1] * config.canvas)
        self.smooth = Convolution(config.canvas, config.canvas)
        self.draw = Convolution(config.canvas, 12)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """See `ArVae.decode`."""
        batch, frames = tokens.shape[:2]
        told = self.read(tokens.to(self.read.weight.dtype)) + self.place
        around = F.interpolate(told.flatten(0, 1).mT.unflatten(2, self.layout), self.grid, mode="bilinear")
        x = torch.cat([self.canvas + around.flatten(2).mT.unflatten(0, (batch, frames)), told], 2)
        left, kept = iter(cache or ()), Cache()
        for fine, coarse, block in zip(self.fine, self.coarse, self.blocks, strict=True):
            patches = x[:, :, : self.patches]
            looked, past = fine(patches, patches, next(left, None))
            kept.append(past)
            x = torch.cat([patches + looked, x[:, :, self.patches :]], 2)
            looked, past = coarse(x, x[:, :, self.patches :], next(left, None))
            kept.append(past)
            x = block((x + looked).flatten(0, 1)).unflatten(0, (batch, frames))
        return self._picture(x[:, :, : self.patches].flatten(0, 1)).unflatten(0, (batch, frames)), kept

    def beginning(self, batch: int) -> Cache:
        """The cache of B rollouts before their first frame."""
        layers = [(layer, places) for pair in zip(self.fine, self.coarse, strict=True)
                  for layer, places in zip(pair, (self.patches, len(self.place)), strict=True)]
        return [cast(TemporalAttention, layer).beginning(batch, places) for layer, places in layers]

    def _picture(self, x: Tensor) -> Tensor:
        """Patches [F, P, D] -> [F, H, W, 3]."""
        (rows, cols), (height, width) = self.grid, self.cell
        x = self.spread(self.norm(x)).unflatten(1, (rows, cols)).unflatten(-1, (height, width, -1))
        x = x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3).contiguous(memory_format=torch.channels_last)
        x = self.draw(F.relu(x + self.smooth(F.relu(x))))
        return F.pixel_shuffle(x, 2).permute(0, 2, 3, 1)


def on_sphere(tokens: Tensor) -> Tensor:
    """Tokens [..., C] scaled to mean square 1."""
    return F.normalize(tokens.float(), dim=-1).to(tokens.dtype) * tokens.shape[-1] ** 0.5


def jitter(tokens: Tensor, amount: float, generator: torch.Generator | None = None) -> Tensor:
    """Tokens moved on their sphere by Gaussian noise of this standard deviation, per number."""
    noise = torch.randn(tokens.shape, generator=generator, dtype=torch.float32).to(tokens)
    return on_sphere(tokens + amount * noise)
