"""`window_attention` by torch's own operators, and its definition. Arguments are those of the operator."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from .frame_attention_torch import compute_dtype
from .ring import ring_positions
from .rope import apply_rope


def attend_reference(q: Tensor, k: Tensor, v: Tensor, cache_k: Tensor, cache_v: Tensor, k_scale: Tensor | None,
                     v_scale: Tensor | None, count: Tensor, cos: Tensor | None, sin: Tensor | None, sinks: int,
                     causal: bool, scale: float) -> Tensor:
    """The definition, in float32 or float64: one query frame of one stream and head after the other."""
    capacity, tokens, heads = cache_k.shape[1:4]
    work = torch.float64 if q.dtype == torch.float64 else torch.float32
    out = torch.empty(q.shape, dtype=work, device=q.device)
    fresh_q, fresh_k, fresh_v = (x.to(work).unflatten(1, (-1, tokens)) for x in (q, k, v))
    past_k, past_v = _dequantised(cache_k, k_scale).to(work), _dequantised(cache_v, v_scale).to(work)
    positions = ring_positions(count, capacity, sinks).tolist()
    window, group = fresh_q.shape[1], q.shape[2] // heads
    for b, held in enumerate(positions):
        time = sum(at >= 0 for at in held)
        for w in range(window):
            seen = [(time + w - at, past_k[b, slot], past_v[b, slot]) for slot, at in enumerate(held) if at >= 0]
            seen += [(w - g, fresh_k[b, g], fresh_v[b, g]) for g in range(w + 1 if causal else window)]
            for h in range(q.shape[2]):
                query = fresh_q[b, w, :, h]
                scores = [_turned(query, distance, cos, sin) @ key[:, h // group].T for distance, key, _ in seen]
                weights = (torch.cat(scores, -1) * scale).softmax(-1)
                out[b, w * tokens : (w + 1) * tokens, h] = weights @ torch.cat([x[:, h // group] for *_, x in seen])
    return out.to(q.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, cache_k: Tensor, cache_v: Tensor, k_scale: Tensor | None,
           v_scale: Tensor | None, count: Tensor, cos: Tensor | None, sin: Tensor | None, sinks: int,
           causal: bool, scale: float) -> Tensor:
    """The fast path on a CPU: streams of one age together, keys in order of time, per query frame no mask.

    On a GPU, where nobody may wait for the counts, all slots are taken as they lie and empty ones masked out.
    """
    capacity, tokens = cache_k.shape[1:3]
    tables = None if cos is None or sin is None else (cos, sin)
    if not _on_host(count):
        return _masked(q, k, v, cache_k, cache_v, k_scale, v_scale, count, tables, sinks, causal, scale)

    def of(rows: list[int] | None, runs: list[slice]) -> Tensor:
        mine = (q, k, v) if rows is None else (q[rows], k[rows], v[rows])  # None: all, as indexing takes time too
        keys = _joined(cache_k, k_scale, mine[1], rows, runs)
        query = mine[0].reshape(keys.shape[0], -1, tokens, *q.shape[2:])
        if tables is not None:
            end = keys.shape[1]
            query, keys = _rotated(query, keys, tables, slice(end - query.shape[1], end), slice(end))
        values = _joined(cache_v, v_scale, mine[2], rows, runs)  # not sooner: memory of the rotation is free again
        return framewise(query, keys, values, None, causal, scale).to(q.dtype)

    alike: dict[tuple[int, int], list[int]] = {}
    for b, age in enumerate(count.tolist()):
        wrapped = tables is not None and age > capacity  # without tables any order will do
        oldest = sinks + (age - sinks) % max(capacity - sinks, 1) if wrapped else sinks
        alike.setdefault((min(age, capacity), oldest), []).append(b)
    if len(alike) == 1:
        return of(None, _in_time_order(*alike.popitem()[0], sinks))
    out = torch.empty(q.shape, dtype=q.dtype)
    for (filled, oldest), rows in alike.items():
        out[rows] = of(rows, _in_time_order(filled, oldest, sinks))
    return out


def _on_host(count: Tensor) -> bool:
    """Whether counts can be read without waiting."""
    return count.device.type == "cpu"


def _in_time_order(filled: int, oldest: int, sinks: int) -> list[slice]:
    """Runs of slots, oldest frame first: sinks, then the ring from its oldest slot around."""
    if oldest == sinks:
        return [slice(filled)]
    return [slice(sinks), slice(oldest, filled), slice(sinks, oldest)]


def _joined(cached: Tensor, scale: Tensor | None, fresh: Tensor, rows: list[int] | None,
            runs: list[slice]) -> Tensor:
    """Frames cached by `rows` in runs of slots, then those in flight: [B, W*P, Hkv, D] -> [B, C' + W, P, Hkv, D]."""
    held = [x[:, run] if rows is None else x[rows, run] for x in (cached, scale) if x is not None for run in runs]
    if scale is not None:
        held = [_dequantised(*pair) for pair in zip(held[: len(runs)], held[len(runs) :], strict=True)]
    whole = torch.cat([*held, fresh.reshape(fresh.shape[0], -1, *cached.shape[2:])], 1)
    work = compute_dtype(fresh)
    return whole if whole.dtype == work else whole.to(work)


def _masked(q: Tensor, k: Tensor, v: Tensor, cache_k: Tensor, cache_v: Tensor, k_scale: Tensor | None,
            v_scale: Tensor | None, count: Tensor, tables: tuple[Tensor, Tensor] | None, sinks: int, causal: bool,
            scale: float) -> Tensor:
    """All streams at once without reading counts."""
    capacity, tokens = cache_k.shape[1:3]
    positions = ring_positions(count, capacity, sinks)
    seen = positions >= 0
    hidden = ~seen[..., None, None, None]  # what a mask hides must still be finite
    keys, values = (_joined(_dequantised(x, s).masked_fill(hidden, 0), None, fresh, None, [slice(None)])
                    for x, s, fresh in ((cache_k, k_scale, k), (cache_v, v_scale, v)))
    query = q.unflatten(1, (-1, tokens))
    if tables is not None:
        flight = seen.sum(1, keepdim=True) + torch.arange(query.shape[1], device=q.device)
        query, keys = _rotated(query, keys, tables, flight, torch.cat([positions.clamp(min=0), flight], 1))
    return framewise(query, keys, values, seen, causal, scale).to(q.dtype)


def _dequantised(x: Tensor, scale: Tensor | None) -> Tensor:
    """What was stored: x [..., D], scale [...] for int8, then float32."""
    return x if scale is None else x * scale[..., None]


def _rotated(query: Tensor, keys: Tensor, tables: tuple[Tensor, Tensor], flight: slice | Tensor,
             places: slice | Tensor) -> tuple[Tensor, Tensor]:
    """Both sides turned to their places in time, which is the query turned by distances.

    query is [B, W, P, Hq, D] at times `flight`, keys [B, C' + W, P, Hkv, D] at `places`: rows of the tables.
    """
    now, then = ([x[at][..., None, None, :] for x in tables] for at in (flight, places))
    return apply_rope(query, *now), _turned_keys(keys, *then)


def _turned_keys(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`apply_rope`, with one temporary instead of three where dtypes allow: fresh memory costs more than the sums."""
    if x.dtype != cos.dtype:
        return apply_rope(x, cos, sin)
    return x.roll(x.shape[-1] // 2, -1).mul_(sin).addcmul_(x, cos)


def framewise(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, causal: bool, scale: float) -> Tensor:
    """Frames in flight over growing key sets: unmasked calls are faster on a CPU than one masked call.

    query [B, W, P, Hq, D], keys and values [B, C' + W, P, Hkv, D], seen bool [B, C'] or None: all -> [B, W*P, Hq, D].
    """
    window, past = query.shape[1], keys.shape[1] - query.shape[1]
    if not causal:
        return _sdpa(query.flatten(1, 2), keys, values, seen, scale)
    frames = [_sdpa(query[:, w], keys[:, : past + w + 1], values[:, : past + w + 1], seen, scale)
              for w in range(window)]
    return frames[0] if window == 1 else torch.cat(frames, 1)


def _sdpa(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, scale: float) -> Tensor:
    """Attention of query [B, N, Hq, D] to keys and values [B, F, P, Hkv, D] -> [B, N, Hq, D]."""
    count, heads = query.shape[1:3]
    kv_heads = keys.shape[3]
    key, value = (x.flatten(1, 2).transpose(1, 2) for x in (keys, values))  # [B, Hkv, F*P, D]
    if heads == kv_heads:
        rows = query.transpose(1, 2)
    else:  # queries that share a head are more rows of it
        rows = query.unflatten(2, (kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    kind = query.device.type  # entering a context takes 10 us: only where it changes anything
    with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
        out = F.scaled_dot_product_attention(rows.to(key.dtype), key, value, attn_mask=_mask(seen, keys), scale=scale)
    if heads == kv_heads:
        return out.transpose(1, 2).contiguous()
    return out.unflatten(2, (-1, count)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def _mask(seen: Tensor | None, keys: Tensor) -> Tensor | None:
    """Which keys any query may see, bool [B, 1, 1, F*P]; frames in flight, at the end of `keys`, always."""
    if seen is None:
        return None
    frames, tokens = keys.shape[1:3]
    return F.pad(seen, (0, frames - seen.shape[1]), value=True).repeat_interleave(tokens, 1)[:, None, None]


def _turned(x: Tensor, distance: int, cos: Tensor | None, sin: Tensor | None) -> Tensor:
    """Rows x [P, D] turned by a distance in time, which may be negative."""
    if cos is None or sin is None:
        return x
    c, s = cos[abs(distance)], sin[abs(distance)] * (1 if distance >= 0 else -1)
    return x * c.to(x.dtype) + x.roll(x.shape[-1] // 2, -1) * s.to(x.dtype)
