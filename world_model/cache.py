"""Keys and values of committed frames, bounded: sink frames that stay, then a ring of the most recent ones.

Keys are stored after QK-norm and before rotation; positions are assigned when the cache is read, so an episode
has no longest length and dropping frames needs no re-indexing.
"""

import copy

import torch
from torch import Tensor

from kernels import apply_rope

from .model import CachedKeys, WorldModel


class FrameCache:
    """The committed past of a batch of rollouts that advance together."""

    def __init__(self, model: WorldModel, batch: int = 1):
        config, like = model.config, model.tokenizer.place
        self.model = model
        self.sinks = config.sinks
        self.recent = max(config.window - 1, 0)
        self.count = 0
        """frames committed since the start of the episode"""
        self.layers = [i for i, window in enumerate(config.windows) if window > 1]
        shape = (len(self.layers), 2, batch, self.capacity, config.tokens, config.heads, config.dim // config.heads)
        self.memory = torch.zeros(shape, dtype=like.dtype, device=like.device)

    @property
    def capacity(self) -> int:
        """Frames held at most."""
        return self.sinks + self.recent

    @property
    def time(self) -> int:
        """Position of the next frame on the time axis of `read`."""
        return min(self.count, self.capacity)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes; it never changes."""
        return self.memory.numel() * self.memory.element_size()

    def slot(self, frame: int) -> int:
        """Where a frame is stored: sinks keep theirs, later frames take turns."""
        return frame if frame < self.sinks else self.sinks + (frame - self.sinks) % max(self.recent, 1)

    def append(self, fresh: list[tuple[Tensor, Tensor]]) -> None:
        """Store the next committed frame.

        Args:
            fresh: per layer of the model, un-rotated (k, v), each [B, 1, N, H, D/H].
        """
        if self.capacity:
            slot = self.slot(self.count)
            if slot < self.capacity:
                for i, layer in enumerate(self.layers):
                    self.memory[i, 0, :, slot] = fresh[layer][0][:, 0]
                    self.memory[i, 1, :, slot] = fresh[layer][1][:, 0]
        self.count += 1

    def positions(self) -> list[int]:
        """Time position of every filled slot, in slot order; true distances inside the window, sinks behind it."""
        filled = self.time
        positions = list(range(min(self.sinks, filled)))
        for slot in range(self.sinks, filled):
            newest = self.count - 1
            age = (newest - self.sinks - (slot - self.sinks)) % self.recent
            positions.append(self.time - 1 - age)
        return positions

    def read(self) -> list[CachedKeys]:
        """Rotated keys and values for every layer of the model; layers without a window get none."""
        cos, sin = self.model.rotation(torch.tensor(self.positions(), dtype=torch.int64, device=self.memory.device))
        cos, sin = cos.to(self.memory.dtype), sin.to(self.memory.dtype)
        held = self.memory[:, :, :, : self.time]
        nothing = held[0, 0, :, :0].flatten(1, 2) if self.layers else None
        rotated = apply_rope(held[:, 0], cos, sin).flatten(2, 3)
        views = {layer: CachedKeys(rotated[i], held[i, 1].flatten(1, 2)) for i, layer in enumerate(self.layers)}
        if nothing is None:
            config = self.model.config
            nothing = self.memory.new_zeros(self.memory.shape[2], 0, config.heads, config.dim // config.heads)
        return [views.get(layer, CachedKeys(nothing, nothing)) for layer in range(self.model.config.layers)]

    def clone(self) -> "FrameCache":
        """An independent copy."""
        other = copy.copy(self)
        other.memory = self.memory.clone()
        return other
