"""Between pictures and frames as the network knows them: pixels themselves, or the tokens of an AR-VAE in 8 bits."""

import torch
from torch import Tensor

from .ar_vae import ArVae, on_sphere
from .patches import FrameScaler

Decoding = tuple[Tensor, ...]
"""what a decoder remembers of B rollouts, [B, ...] each, always of one size; never written to, only replaced"""


class PictureCodec:
    """The network knows pictures as they are shown.

    Args:
        shape: of a picture, (H, W, 3).
    """

    def __init__(self, shape: tuple[int, int, int]):
        self.shape = shape

    def begin(self, batch: int) -> Decoding:
        """What is remembered before the first frame."""
        return ()

    def read(self, pictures: Tensor) -> Tensor:
        """Pictures uint8 [B, n, H, W, 3] as frames uint8 [B, n, ...], each read on its own."""
        return pictures

    def show(self, frames: Tensor, before: Decoding) -> tuple[Tensor, Decoding]:
        """The next frames uint8 [B, n, ...] as pictures uint8 [B, n, H, W, 3], and what is remembered after them."""
        return frames, before


class VaeCodec(PictureCodec):
    """The network knows pictures as tokens of an AR-VAE, a frame uint8 [R, S, C], R rows of S tokens.

    Args:
        vae: frozen, on the world's device.
    """

    def __init__(self, vae: ArVae):
        super().__init__((vae.config.height, vae.config.width, 3))
        self.vae = vae

    def begin(self, batch: int) -> Decoding:
        """See `PictureCodec`."""
        return tuple(x for past in self.vae.decoder.beginning(batch) for x in past)

    def read(self, pictures: Tensor) -> Tensor:
        """See `PictureCodec`."""
        return to_codes(self.vae.encode(pictures)).unflatten(-2, self.vae.config.layout)

    def show(self, frames: Tensor, before: Decoding) -> tuple[Tensor, Decoding]:
        """See `PictureCodec`."""
        cache = [(before[i], before[i + 1], before[i + 2]) for i in range(0, len(before), 3)]
        drawn, after = self.vae.decode(from_codes(frames.flatten(-3, -2)), cache)
        return self.vae.shown(drawn.float()), tuple(x for past in after for x in past)


class TokenScaler(FrameScaler):
    """Tokens in 8 bits, [..., R, S, C], <-> model units; what is stored is always on the sphere of mean square 1."""

    def decode(self, x: Tensor) -> Tensor:
        """The nearest tokens that there are."""
        units = x.to(self.mean.dtype) * self.scale + self.mean
        return to_codes(on_sphere(_spread(units)))


def to_codes(tokens: Tensor) -> Tensor:
    """Tokens [..., C] on the sphere of mean square 1 in 8 bits each number."""
    reach = tokens.shape[-1] ** 0.5
    return ((tokens.float() / reach + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_codes(codes: Tensor) -> Tensor:
    """Inverse of `to_codes`, on the sphere, float32."""
    return on_sphere(_spread(codes.float() / 255))


def _spread(units: Tensor) -> Tensor:
    """Numbers in [0, 1] -> in [-sqrt(C), sqrt(C)]."""
    return (2 * units - 1) * units.shape[-1] ** 0.5
