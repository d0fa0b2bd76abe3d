"""`frame_attention` by torch's own attention on a CPU: each frame's window gathered, one frame at a time.

Sinks and episode starts, which make windows unequal, need one call under a dense mask; so do small frames, for which
gathering costs more than it saves (`one_call_is_faster`).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _Part(NamedTuple):
    """Query frames that gather their keys alike."""

    rows: slice
    """of query frames"""
    kind: str
    """all keys under a mask, own frame, window, or noisy: the window of clean frames before, and own frame"""
    bias: Tensor | None
    """-inf where nothing may be seen: [B or 1, 1, N, N] for all, else [frames, 1, 1, keys]"""


def compute_dtype(x: Tensor) -> torch.dtype:
    """What torch's attention is fastest in: on a CPU without AMX its bfloat16 kernel is slower than float32.

    (40 frames of 20 queries and 360 keys, forward and backward: 68 against 48 ms on an AMD EPYC.)
    """
    if x.device.type != "cpu" or x.dtype not in (torch.bfloat16, torch.float16):
        return x.dtype
    return x.dtype if torch.cpu._is_amx_tile_supported() else torch.float32


def one_call_is_faster(frames: int, P: int, window: int) -> bool:
    """Whether one call under a dense mask beats gathered windows.

    Measured by benchmarks.attention before this rule, forward and backward, two cores: 71 against 104 ms for a window
    of 18 frames of 20 tokens, 66 against 48 ms for one of 8 frames of 64 tokens.
    """
    return window > 1 and P < 32 and frames <= 4 * window


def forward_torch(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, P: int, window: int,
                  teacher: bool, scale: float) -> tuple[Tensor, Tensor]:
    """Output [B, N, H, D] and log-sum-exp [B, H, N].

    Args:
        mask: bool [B or 1, F, F] of frames, for one call; None to gather windows.
        window: frames; for the other arguments see `frame_attention`.
    """
    shape, dtype = q.shape, q.dtype
    q, k, v = _frames(q, k, v, P)
    outs, sums = [], []
    for part in _parts(q, mask, window, teacher):
        keys, values = (_gather(x, part, window) for x in (k, v))
        out, lse = _attend(_rows(q, part), keys, values, attn_mask=part.bias, scale=scale)
        outs.append(out.transpose(1, 2).reshape(shape[0], -1, *shape[2:]))
        sums.append(lse.reshape(shape[0], -1, *lse.shape[1:]).transpose(1, 2).flatten(2))
    return (outs[0] if len(outs) == 1 else torch.cat(outs, 1)).to(dtype), torch.cat(sums, 2)


def backward_torch(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, mask: Tensor | None,
                   P: int, window: int, teacher: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, shaped like them. Arguments as `forward_torch`, and what it returned."""
    dtype, q_shape, k_shape, group = q.dtype, q.shape, k.shape, q.shape[2] // k.shape[2]
    q, k, v = _frames(q, k, v, P)
    grad, out = (x.to(q.dtype).reshape(q.shape) for x in (grad, out))
    sums = lse.unflatten(2, (-1, P)).permute(0, 2, 3, 1)[..., None]  # [B, F, P, H, 1], laid out like q
    dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for part in _parts(q, mask, window, teacher):
        keys, values = (_gather(x, part, window) for x in (k, v))
        dquery, dkeys, dvalues = _attend_backward(
            _rows(grad, part), _rows(q, part), keys, values, _rows(out, part),
            _rows(sums, part)[..., 0].contiguous(), 0.0, False, attn_mask=part.bias, scale=scale)
        dq[:, part.rows] = dquery.transpose(1, 2).reshape(dq[:, part.rows].shape)
        for whole, piece in ((dk, dkeys), (dv, dvalues)):
            _scatter(whole, piece.transpose(1, 2), part, window)
    dk, dv = (x.unflatten(3, (-1, group)).sum(4).reshape(k_shape).to(dtype) for x in (dk, dv))
    return dq.reshape(q_shape).to(dtype), dk, dv


def _frames(q: Tensor, k: Tensor, v: Tensor, P: int) -> tuple[Tensor, ...]:
    """[B, F, P, H, D] each, with a head of keys for every head of queries, in the fastest dtype."""
    dtype, group = compute_dtype(q), q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(group, 2) if group > 1 else x for x in (k, v))
    return tuple(x.to(dtype).unflatten(1, (-1, P)) for x in (q, k, v))


def _parts(q: Tensor, mask: Tensor | None, window: int, teacher: bool) -> list[_Part]:
    batch, frames, P = q.shape[:3]
    if mask is not None:
        dense = mask.repeat_interleave(P, 1).repeat_interleave(P, 2)[:, None]
        return [_Part(slice(0, frames), "all", _bias(dense, q.dtype))]
    if window == 1:
        return [_Part(slice(0, frames), "own", None)]
    clean = frames // 2 if teacher else frames
    f, slot = torch.arange(clean)[:, None], torch.arange(window)[None, :]
    begun = (f - window + 1 + slot >= 0).repeat_interleave(P, 1)  # [T, window*P]: slots at or after the start
    parts = [_Part(slice(0, clean), "window", _bias(begun.repeat(batch, 1)[:, None, None], q.dtype))]
    if teacher:
        seen = torch.cat([begun[:, P:], begun.new_ones(clean, P)], 1).repeat(batch, 1)[:, None, None]
        parts.append(_Part(slice(clean, frames), "noisy", _bias(seen, q.dtype)))
    return parts


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, float("-inf"))


def _rows(x: Tensor, part: _Part) -> Tensor:
    """Query rows of a part as torch's attention wants them: [B, F, P, H, D] -> [B, H, N, D] or [B*F, H, P, D]."""
    x = x[:, part.rows]
    return (x.flatten(1, 2) if part.kind == "all" else x.flatten(0, 1)).transpose(1, 2)


def _gather(x: Tensor, part: _Part, window: int) -> Tensor:
    """The keys of every query frame of a part: [B, F, P, H, D] -> [B, H, N, D] or [B*F, H, L, D]."""
    if part.kind in ("all", "own"):
        return _rows(x, part)
    clean = part.rows.stop - part.rows.start
    padded = F.pad(x[:, :clean], (0, 0, 0, 0, 0, 0, window - 1, 0))
    frames = [padded[:, j : j + clean] for j in range(window)]
    if part.kind == "noisy":
        frames = [*frames[1:], x[:, part.rows]]
    return torch.cat(frames, 2).flatten(0, 1).transpose(1, 2)


def _scatter(into: Tensor, pieces: Tensor, part: _Part, window: int) -> None:
    """Add gradients [.., L, H, D] of gathered keys to those of the frames [B, F, P, H, D] they were gathered from."""
    P, clean = into.shape[2], part.rows.stop - part.rows.start
    if part.kind in ("all", "own"):
        into += pieces.reshape(into.shape)
        return
    frames = pieces.reshape(into.shape[0], clean, window, P, *into.shape[3:]).unbind(2)
    if part.kind == "noisy":
        into[:, part.rows] += frames[-1]
        frames = frames[:-1]
    for age, piece in zip(range(window - 1, -1, -1), frames if part.kind == "window" else (None, *frames), strict=True):
        if piece is not None and age < clean:
            into[:, : clean - age] += piece[:, age:]
