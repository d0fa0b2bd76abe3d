"""Sizes of an AR-VAE, and which of them are possible."""

import math
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class VaeConfig:
    """Sizes of a tokenizer that turns every frame into a few continuous tokens."""

    height: int = 96
    """picture rows, pixels"""
    width: int = 128
    """picture columns, pixels"""
    patch: list[int] = field(default_factory=lambda: [8, 8])
    """rows and columns of a patch, pixels; even numbers that divide height and width"""
    tokens: int = 32
    """continuous tokens per frame"""
    channels: int = 8
    """numbers per token; each token is a point on a sphere, so one of them is not free"""
    dim: int = 160
    """width of patches and tokens inside"""
    heads: int = 5
    encoder_layers: int = 4
    decoder_layers: int = 4
    mlp_ratio: int = 4
    window: int = 8
    """frames whose tokens the decoder sees, the frame itself included"""
    canvas: int = 24
    """channels of the convolutions that draw"""

    def __post_init__(self) -> None:
        self.patch = list(self.patch)
        bounds = {"height": 2048, "width": 2048, "tokens": 1024, "channels": 64, "dim": 4096, "heads": 64,
                  "encoder_layers": 64, "decoder_layers": 64, "mlp_ratio": 16, "window": 256, "canvas": 512}
        for name, high in bounds.items():
            value = getattr(self, name)
            least = 2 if name == "channels" else 1
            if not isinstance(value, int) or not least <= value <= high:
                raise ValueError(f"{name} must be an integer from {least} to {high}, got {value!r}")
        if (len(self.patch) != 2 or min(self.patch) < 2 or any(p % 2 for p in self.patch)
                or self.height % self.patch[0] or self.width % self.patch[1]):
            raise ValueError(f"patch must be two even numbers that divide the picture {self.height}x{self.width}, "
                             f"got {self.patch}")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads, got dim {self.dim}, heads {self.heads}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.height // self.patch[0], self.width // self.patch[1]

    @property
    def layout(self) -> tuple[int, int]:
        """Rows and columns in which tokens stand for parts of the picture, as square as their number allows."""
        pairs = [(n, self.tokens // n) for n in range(1, self.tokens + 1) if self.tokens % n == 0]
        return min(pairs, key=lambda pair: abs(math.log(pair[0] * self.width / (pair[1] * self.height))))

    @property
    def patches(self) -> int:
        """Patches per frame."""
        return self.grid[0] * self.grid[1]
