"""What rings hold, laid out once for all the attention of one step: in the order of time, turned to it, with room.

Every pass of a step sees the same committed frames. `window_attention` puts them in order, turns their keys and joins
them with those in flight each time; here that is done once, and a pass writes only its own keys and values beside them.
On a CPU alone: a GPU's kernel reads rings as they lie.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .frame_attention_torch import compute_dtype
from .ring import RingCache
from .rope import apply_rope
from .window_attention_torch import framewise


class PastFrames:
    """The committed frames of B streams in one layer, before those in flight, which are at times 0, 1, ..."""

    def __init__(self, ring: RingCache, rope_t: tuple[Tensor, Tensor], room: int = 1):
        """Copy what a ring holds; what is appended to it later is not seen.

        Args:
            ring: on a CPU, of a floating dtype; streams may have any ages.
            rope_t: as for `window_attention`, of at least C + 1 and `room` rows.
            room: most frames in flight.

        Raises:
            ValueError: if the ring is of int8 or not on a CPU.
        """
        if ring.k.device.type != "cpu" or ring.k_scale is not None:
            raise ValueError(f"need a floating ring on a CPU, got {ring.k.dtype} on {ring.k.device}; "
                             f"use window_attention")
        self.tables, self.capacity, self.P = rope_t, ring.capacity, ring.P
        cos, sin = (table[1 : ring.capacity + 1].flip(0)[:, None, None] for table in rope_t)
        slots, self.filled = _in_time_order(ring), ring.count.clamp(max=ring.capacity).tolist()
        work = compute_dtype(ring.k)
        shape = (ring.batch, ring.capacity + room, ring.P, ring.kv_heads, ring.width)
        self.keys, self.values = torch.empty(shape, dtype=work), torch.empty(shape, dtype=work)
        for b in range(ring.batch):  # one stream fits into a core's cache
            past = self.keys[b, : ring.capacity], self.values[b, : ring.capacity]
            past[0].copy_(apply_rope(ring.k[b].index_select(0, slots[b]), cos, -sin))
            past[1].copy_(ring.v[b].index_select(0, slots[b]))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
        """`window_attention` of F frames in flight, [B, F*P, H, D] each, un-rotated in time."""
        frames = q.shape[1] // self.P
        last = self.capacity + frames
        query, key = (x.unflatten(1, (-1, self.P)) for x in (q, k))
        if frames > 1:
            cos, sin = (table[:frames, None, None] for table in self.tables)
            query, key = apply_rope(query, cos, sin), apply_rope(key, cos, sin)
        self.keys[:, self.capacity : last] = key
        self.values[:, self.capacity : last] = v.unflatten(1, (-1, self.P))

        def of(filled: int, rows: slice | list[int]) -> Tensor:
            seen = slice(self.capacity - filled, last)
            keys, values = ((x if rows == slice(None) else x[rows])[:, seen] for x in (self.keys, self.values))
            return framewise(query[rows], keys, values, None, causal, q.shape[-1] ** -0.5).to(q.dtype)

        if len(set(self.filled)) == 1:
            return of(self.filled[0], slice(None))
        out = torch.empty(q.shape, dtype=q.dtype)
        for filled in set(self.filled):
            rows = [b for b, count in enumerate(self.filled) if count == filled]
            out[rows] = of(filled, rows)
        return out


def _in_time_order(ring: RingCache) -> Tensor:
    """Slots of every stream, oldest frame first, the newest at the end: int64 [B, C]; any slot where there is none."""
    count, turn = ring.count.long()[:, None], max(ring.capacity - ring.sinks, 1)
    place = torch.arange(ring.capacity) - ring.capacity + count.clamp(max=ring.capacity)
    oldest = torch.where(count > ring.capacity, count - ring.sinks, 0)
    slot = ring.sinks + (place - ring.sinks + oldest) % turn
    return torch.where(place < ring.sinks, place.clamp(min=0), slot).clamp(max=max(ring.capacity - 1, 0))


def attend_alone(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of frames each to itself alone, on a CPU: [B, F, P, H, D] each -> the same shape."""
    work = compute_dtype(q)
    query, key, value = (x.to(work).flatten(0, 1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).to(q.dtype).reshape(q.shape)
