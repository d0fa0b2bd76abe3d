"""The committed past of rollouts: rings of keys and values, and what else is read of it, last pictures and actions.

Keys are stored after QK-norm, rotated by row and column but not in time; distances in time are applied when they are
read (`kernels.window_attention`), so an episode has no longest length and dropping frames needs no re-indexing.
"""

import os
import threading
import weakref

import torch
from torch import Tensor

from kernels import RingCache

from .actions import Actions
from .codec import Decoding, PictureCodec
from .memory import Memory
from .memory_policies import POLICIES
from .model_config import WorldModelConfig

_sharing = threading.RLock()


def _renew_lock() -> None:
    global _sharing
    _sharing = threading.RLock()


if hasattr(os, "register_at_fork"):  # a forked child must not wait for a thread it does not have
    os.register_at_fork(after_in_child=_renew_lock)


class FrameCache:
    """The committed past of B rollouts. Forks share memory until one of them is written to."""

    def __init__(self, config: WorldModelConfig, like: Tensor, batch: int = 1, pictures: int = 1,
                 codec: PictureCodec | None = None, policy: str = "window"):
        """Allocate an empty one.

        Args:
            like: its dtype and device are those of keys and values.
            batch: rollouts B.
            pictures: last pictures kept as they were shown, at least 1.
            codec: the world's; frames are shown as they are when None.
            policy: what is remembered of frames long shown, one of `memory_policies.POLICIES`.

        Raises:
            ValueError: if the world's window is too short for the policy.
        """
        self.policy = policy
        self.rings = [POLICIES[policy](config, batch, like) for window in config.windows if window > 1]
        again = config.window - 1 if config.conditions else 0  # frames whose keys may have to be made again
        self.past = torch.zeros(batch, config.history + again, *config.frame_shape, dtype=torch.float32,
                                device=like.device)
        """[B, history + n, H, W, 3] the last committed frames in model units, oldest first; zeros before the start"""
        self.actions = config.actions.unknown(batch, max(config.action_memory + again, 1), device=like.device)
        """[B, M, ...] what was told of the actions that led to the last frames, M >= 1; unknown before the start"""
        self.history, self.memory = config.history, config.action_memory
        codec = codec or PictureCodec(config.frame_shape)
        self.pictures = torch.zeros(batch, pictures, *codec.shape, dtype=torch.uint8, device=like.device)
        """uint8 [B, K, H, W, 3] the last pictures, newest last"""
        self.decoding = codec.begin(batch)
        """what the codec remembers: replaced by whoever draws, never written to"""
        self._holders = weakref.WeakSet([self])

    @property
    def batch(self) -> int:
        """Rollouts B."""
        return len(self.pictures)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes; it never changes. Forks that share it count it each."""
        return sum(ring.nbytes for ring in self.rings) + sum(x.nbytes for x in (*self._tensors(), *self.decoding))

    @property
    def recent(self) -> Tensor:
        """[B, history, H, W, 3] those of `past` that the network reads directly."""
        return self.past[:, self.past.shape[1] - self.history :]

    @property
    def told(self) -> Tensor:
        """[B, action_memory, ...] those of `actions` that the network is told."""
        return self.actions[:, self.actions.shape[1] - self.memory :]

    @torch.inference_mode()
    def append(self, fresh: list[tuple[Tensor, ...]], x: Tensor, actions: Tensor, pictures: Tensor) -> None:
        """Store the next n committed frames.

        Args:
            fresh: what each layer that looks back appends, tensors [B, n*N, H, D/H].
            x: [B, n, H, W, 3] the frames in model units.
            actions: [B, n, ...] that led to them.
            pictures: uint8 [B, n, H, W, 3] the frames as they are shown.
        """
        self.own()
        for ring, held in zip(self.rings, fresh, strict=True):
            ring.append(*held)
        for memory, new in zip(self._tensors(), (x, actions, pictures), strict=True):
            moved_in, kept = new.shape[1], memory.shape[1]
            for i in range(kept - moved_in):  # one after the other: they overlap
                memory[:, i] = memory[:, i + moved_in]
            if kept:
                memory[:, -moved_in:] = new[:, -kept:]

    def fork(self) -> "FrameCache":
        """A copy that shares this one's memory until either is written to."""
        other = self._like(self.rings, self._tensors(), self.decoding)
        with _sharing:
            other._holders = self._holders
            other._holders.add(other)
        return other

    def own(self) -> None:
        """Stop sharing memory with forks; without any nothing is copied."""
        with _sharing:
            if len(self._holders) == 1:
                return
            with torch.inference_mode():  # holding the lock: whoever is left alone writes in place
                self.rings = [ring.clone() for ring in self.rings]
                self.past, self.actions, self.pictures = (x.clone() for x in self._tensors())
            self._holders.discard(self)
            self._holders = weakref.WeakSet([self])

    def keep_place(self) -> None:
        """Stop sharing memory, this cache keeping it and the forks getting a copy: for who knows where it lies."""
        with _sharing:
            others = [other for other in self._holders if other is not self]
            if not others:
                return
            with torch.inference_mode():
                rings, tensors = [ring.clone() for ring in self.rings], [x.clone() for x in self._tensors()]
            self._holders = weakref.WeakSet([self])
            theirs = weakref.WeakSet(others)
            for other in others:
                other.rings, other._holders = rings, theirs
                other.past, other.actions, other.pictures = tensors

    @torch.inference_mode()
    def take(self, rows: list[int]) -> "FrameCache":
        """An independent copy of some rollouts."""
        return self._like([ring.take(rows) for ring in self.rings], [x[rows] for x in self._tensors()],
                          tuple(x[rows] for x in self.decoding))

    @torch.inference_mode()
    def put(self, rows: list[int], other: "FrameCache") -> None:
        """Rollouts `rows` become those of `other`, of the same sizes: as many, or one for all."""
        self.own()
        for ring, its in zip(self.rings, other.rings, strict=True):
            ring.put(rows, its)  # type: ignore[arg-type]  # of one policy, see `check_alike`
        for memory, x in zip(self._tensors(), other._tensors(), strict=True):
            memory[rows] = x
        self.decoding = tuple(_replaced(mine, rows, x) for mine, x in zip(self.decoding, other.decoding, strict=True))

    @torch.inference_mode()
    def keep_last(self, frames: int) -> None:
        """Forget the keys and values of all but the sinks and the last `frames` frames (KV flush, Infinity-RoPE).

        What is read directly stays: the last pictures and actions.
        """
        self.own()
        for ring in self.rings:
            ring.keep_last(frames)

    @torch.inference_mode()
    def forget(self, codec: PictureCodec, actions: Actions) -> None:
        """Be as empty as before the start, but for the last pictures as they were shown."""
        self.own()
        for ring in self.rings:
            ring.reset()
        self.past.zero_()
        self.actions.copy_(actions.unknown(*self.actions.shape[:2]))
        self.decoding = codec.begin(self.batch)

    def replace_pictures(self, pictures: Tensor) -> None:
        """Keep these last pictures from now on, uint8 [B, K, H, W, 3], K >= 1."""
        self.own()
        self.pictures = pictures.contiguous()

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.past, self.actions, self.pictures

    def _like(self, rings: list[RingCache | Memory], tensors: "tuple[Tensor, ...] | list[Tensor]",
              decoding: Decoding) -> "FrameCache":
        other = object.__new__(FrameCache)
        other.rings, other.history, other.memory, other.decoding = rings, self.history, self.memory, decoding
        other.policy = self.policy
        other.past, other.actions, other.pictures = tensors
        other._holders = weakref.WeakSet([other])
        return other


def _replaced(x: Tensor, rows: list[int], new: Tensor) -> Tensor:
    """A copy of x [B, ...] with other rows."""
    x = x.clone()
    x[rows] = new
    return x
