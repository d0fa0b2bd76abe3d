"""What a layer remembers of the committed past by other rules than a window's: tokens in bounded, named places.

First come sinks, then a middle that each policy fills in its own way, then the last frames. Keys are stored after
QK-norm and un-rotated in time; how far a token lies from the next frame is decided when it is read, and is never more
than in training (block-relativistic rotation, Infinity-RoPE), so there is no longest episode. Plain torch: the window
that worlds are trained with has the fast paths (`kernels.RingCache`).
"""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import apply_rope

Tables = tuple[Tensor, Tensor]


class Memory:
    """The committed past of B rollouts in one layer; a policy is a subclass that says what becomes of leaving frames.

    It stands where a `RingCache` may: `append`, `clone`, `take`, `put`, `keep_last`, `reset`, `count`, `tensors`.
    """

    frames_between = 0
    """how many frames the middle stands for on the time axis"""

    def __init__(self, batch: int, sinks: int, middle: int, recent: int, P: int, heads: int, width: int,
                 like: Tensor, horizon: int):
        """Allocate an empty one.

        Args:
            batch: rollouts B.
            sinks: first frames, which stay.
            middle: tokens between them and the last frames.
            recent: last frames, at least 1.
            P: tokens per frame.
            like: dtype and device of what is stored.
            horizon: frames that a token may lie from the next frame, at most.

        Raises:
            ValueError: if there is no room for a last frame.
        """
        if recent < 1:
            raise ValueError(f"a memory of {sinks} sinks and {middle} tokens between has no room for the last frame: "
                             "use a world with a longer window, or memory=window")
        self.sinks, self.middle, self.recent, self.P, self.horizon = sinks, middle, recent, P, horizon
        places = sinks * P + middle + recent * P
        self.k, self.v = (torch.zeros(batch, places, heads, width, dtype=like.dtype, device=like.device) for _ in "kv")
        self.count = torch.zeros(batch, dtype=torch.int32, device=like.device)
        """frames committed since the start, or that would be where `keep_last` has dropped some"""
        self.filled = torch.zeros(batch, dtype=torch.int64, device=like.device)
        """tokens in the middle"""

    @property
    def batch(self) -> int:
        """Rollouts B."""
        return len(self.count)

    @property
    def capacity(self) -> int:
        """Frames that are kept as they were."""
        return self.sinks + self.recent

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes; it never changes."""
        return sum(x.nbytes for x in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Everything it remembers, by name; what is always the same is under names that begin with `_`."""
        return {name: x for name, x in self.__dict__.items() if isinstance(x, Tensor) and name[0] != "_"}

    def sound(self) -> bool:
        """Whether what is used as a place can be one; asked of memory that was read from a file."""
        return not bool(((self.filled < 0) | (self.filled > self.middle)).any())

    def append(self, k: Tensor, v: Tensor, q: Tensor) -> None:
        """Commit n frames of every rollout, keys, values and queries [B, n*P, H, D] each, in order."""
        self.note(q)
        for b in range(self.batch):
            for frame in range(k.shape[1] // self.P):
                part = slice(frame * self.P, (frame + 1) * self.P)
                self._commit(b, k[b, part], v[b, part])

    def note(self, q: Tensor) -> None:
        """The queries [B, n*P, H, D] of frames that are about to be committed; most policies have no use for them."""

    def leave(self, b: int, k: Tensor, v: Tensor) -> None:
        """A frame [P, H, D] of rollout b leaves the last ones: keep of it what the policy keeps."""

    def distances(self, b: int) -> Tensor:
        """How many frames before the next one each token of the middle lies, int64 [middle]; 0 where there is none."""
        return torch.zeros(self.middle, dtype=torch.int64)

    def bias(self) -> Tensor | None:
        """What is added to the scores of all tokens [places], if anything."""
        return None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tables: Tables, causal: bool = True) -> Tensor:
        """`kernels.window_attention` of frames in flight, [B, F*P, H, D] each, un-rotated in time."""
        frames = q.shape[1] // self.P
        flight = torch.arange(frames, device=q.device).repeat_interleave(self.P)
        away = torch.stack([self._away(b) for b in range(self.batch)]).to(q.device)
        cos, sin = tables
        work = torch.promote_types(q.dtype, torch.float32)
        past = apply_rope(self.k.to(work), cos[away][:, :, None], -sin[away][:, :, None])
        query, fresh = (apply_rope(x.to(work), cos[flight][:, None], sin[flight][:, None]) for x in (q, k))
        keys = torch.cat([past, fresh], 1).transpose(1, 2)
        values = torch.cat([self.v.to(work), v.to(work)], 1).transpose(1, 2)
        own = flight[None, :] <= flight[:, None] if causal else torch.ones(len(flight), len(flight), dtype=torch.bool)
        sees = torch.cat([(away > 0)[:, None].expand(-1, len(flight), -1),
                          own.to(q.device).expand(self.batch, -1, -1)], 2)
        scores = torch.zeros(sees.shape, dtype=work, device=q.device).masked_fill_(~sees, -torch.inf)
        if (more := self.bias()) is not None:
            scores[:, :, : len(more)] += more.to(scores)
        out = F.scaled_dot_product_attention(query.transpose(1, 2), keys, values, attn_mask=scores[:, None])
        return out.transpose(1, 2).to(q.dtype)

    def keep_last(self, frames: int) -> None:
        """Forget all but the sinks and the last `frames` frames of every rollout."""
        for b, age in enumerate(self.count.tolist()):
            held = min(age - self.sinks, self.recent)
            if held > frames or self.filled[b]:
                start, kept = self._start_of_recent, min(frames, held)
                for x in (self.k, self.v):
                    last = x[b, start + (held - kept) * self.P : start + held * self.P].clone()
                    x[b, start : start + kept * self.P] = last
                self.count[b], self.filled[b] = self.sinks + kept, 0

    def reset(self) -> None:
        """Forget everything."""
        self.count.zero_()
        self.filled.zero_()

    def clone(self) -> Self:
        """An independent copy."""
        return self._like(lambda x: x.clone())

    def take(self, rows: list[int]) -> Self:
        """An independent copy of some rollouts."""
        return self._like(lambda x: x[rows])

    def put(self, rows: list[int], other: Self) -> None:
        """Rollouts `rows` become those of `other`, which holds as many, or one for all."""
        for name, x in self.tensors().items():
            x[rows] = getattr(other, name)

    @property
    def _start_of_recent(self) -> int:
        return self.sinks * self.P + self.middle

    def _commit(self, b: int, k: Tensor, v: Tensor) -> None:
        age, start = int(self.count[b]), self._start_of_recent
        if age < self.sinks:
            place = age * self.P
        else:
            place = start + min(age - self.sinks, self.recent - 1) * self.P
            if age - self.sinks >= self.recent:
                oldest = slice(start, start + self.P)
                self.leave(b, self.k[b, oldest].clone(), self.v[b, oldest].clone())
                for x in (self.k, self.v):
                    x[b, start : -self.P] = x[b, start + self.P :].clone()
        self.k[b, place : place + self.P], self.v[b, place : place + self.P] = k, v
        self.count[b] += 1

    def _away(self, b: int) -> Tensor:
        """Distance of every token from the next frame, int64 [places]; 0 where there is none."""
        age, middle = int(self.count[b]), self.distances(b)
        held = max(min(age - self.sinks, self.recent), 0)
        recent = (held - torch.arange(self.recent)).clamp(min=0)
        between = self.frames_between if self.filled[b] else 0
        sinks = held + between + min(age, self.sinks) - torch.arange(self.sinks)
        sinks = torch.where(torch.arange(self.sinks) < age, sinks, 0)
        whole = torch.cat([sinks.repeat_interleave(self.P), middle.cpu(), recent.repeat_interleave(self.P)])
        return whole.clamp(max=self.horizon)

    def _like(self, change: Callable[[Tensor], Tensor]) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__ | {name: change(x) for name, x in self.tensors().items()})
        return other
