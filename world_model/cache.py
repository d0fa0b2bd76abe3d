"""The committed past of rollouts: a bounded ring of keys and values for every layer that looks back.

Keys are stored after QK-norm, rotated by row and column but not in time; distances in time are applied when they are
read (`kernels.window_attention`), so an episode has no longest length and dropping frames needs no re-indexing.
"""

import copy

from torch import Tensor

from kernels import RingCache

from .model_config import WorldModelConfig


class FrameCache:
    """The committed past of a batch of rollouts: sink frames that stay, then a ring of the most recent ones."""

    def __init__(self, config: WorldModelConfig, like: Tensor, batch: int = 1):
        """Allocate an empty one, of the dtype and on the device of `like`."""
        capacity = config.sinks + max(config.window - 1, 0)
        self.rings = [
            RingCache(batch, capacity, config.tokens, config.heads, config.dim // config.heads, sinks=config.sinks,
                      dtype=like.dtype, device=like.device)
            for window in config.windows if window > 1
        ]

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes; it never changes."""
        return sum(ring.nbytes for ring in self.rings)

    def append(self, fresh: list[tuple[Tensor, Tensor]]) -> None:
        """Store the next committed frame.

        Args:
            fresh: (k, v) of every layer that looks back, each [B, N, H, D/H].
        """
        for ring, (k, v) in zip(self.rings, fresh, strict=True):
            ring.append(k, v)

    def clone(self) -> "FrameCache":
        """An independent copy."""
        other = copy.copy(self)
        other.rings = [ring.clone() for ring in self.rings]
        return other
