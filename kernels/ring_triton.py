"""Frames written into a ring cache by one kernel: slots computed where they are used, int8 quantised on the way."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dispatch import interpreting
from .launch import TRITON_TYPES, Shipped, launchable, with_device

ELEMENTS = 4096
"""of k and of v that a program writes, at most"""
WARPS = 4


@triton.jit
def _store(x_ptr, out_ptr, scale_ptr, source, target, valid, width, dims, INT8: tl.constexpr):
    """Rows x[source + dims] to row numbers `target`, rounded to what is stored there."""
    inside = valid[:, None] & (dims < width)[None, :]
    x = tl.load(x_ptr + source[:, None] + dims[None, :], mask=inside, other=0.0).to(tl.float32)
    to = out_ptr + target[:, None] * width + dims[None, :]
    if INT8:
        most = tl.max(tl.abs(x), 1)
        factor = tl.where(most > 0, tl.div_rn(tl.full(most.shape, 127.0, tl.float32), tl.where(most > 0, most, 1.0)), 0)
        tl.store(to, tl.floor(x * factor[:, None] + 0.5).to(tl.int8), mask=inside)
        tl.store(scale_ptr + target, tl.div_rn(most, tl.full(most.shape, 127.0, tl.float32)), mask=valid)
    else:
        tl.store(to, x.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def write_frames(k_ptr, v_ptr, ck_ptr, cv_ptr, ks_ptr, vs_ptr, count_ptr, k_b, k_n, k_h, v_b, v_n, v_h,
                 frames, tokens, heads, width, capacity, sinks,
                 ROWS: tl.constexpr, D: tl.constexpr, INT8: tl.constexpr):
    """Program (row tile, stream): rows are the (frame, token, head) of a stream, in that order."""
    stream = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    dims = tl.arange(0, D)
    head, token = row % heads, row // heads
    fresh = token // tokens
    count = tl.load(count_ptr + stream)
    frame = count + fresh
    ring = tl.maximum(capacity - sinks, 1)
    slot = tl.where(frame < sinks, frame, sinks + (frame - sinks) % ring)
    outlives = (frame < sinks) | (frame + ring >= count + frames)
    valid = (fresh < frames) & (slot < capacity) & outlives
    target = ((stream * capacity + slot) * tokens + token % tokens) * heads + head
    _store(k_ptr + stream * k_b, ck_ptr, ks_ptr, token * k_n + head * k_h, target, valid, width, dims, INT8)
    _store(v_ptr + stream * v_b, cv_ptr, vs_ptr, token * v_n + head * v_h, target, valid, width, dims, INT8)


def write(k: Tensor, v: Tensor, cache_k: Tensor, cache_v: Tensor, k_scale: Tensor | None, v_scale: Tensor | None,
          count: Tensor, sinks: int) -> None:
    """Store n frames; `count` is read, not advanced. Tensors as in `kernels.ring.ring_append`."""
    batch, capacity, tokens, heads, width = cache_k.shape
    if not capacity:
        return
    k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in launchable(k, v))
    memory_k, memory_v = launchable(cache_k, cache_v)
    D = triton.next_power_of_2(width)
    ROWS = max(1, ELEMENTS // D)
    grid = (triton.cdiv(k.shape[1] * heads, ROWS), batch)
    with_device(k, lambda: write_frames[grid](
        k, v, memory_k, memory_v, k_scale, v_scale, count, *k.stride()[:3], *v.stride()[:3], k.shape[1] // tokens,
        tokens, heads, width, capacity, sinks, ROWS=ROWS, D=D, INT8=k_scale is not None, num_warps=WARPS))
    if interpreting() and memory_k is not cache_k:
        cache_k.copy_(memory_k)
        cache_v.copy_(memory_v)


def shipped() -> list[Shipped]:
    """What `write` launches, for the widths that matter."""
    return [_shipped(torch.float16, torch.float16, 64), _shipped(torch.bfloat16, torch.int8, 128)]


def _shipped(given: torch.dtype, kept: torch.dtype, width: int) -> Shipped:
    int8 = kept == torch.int8
    fresh, stored = TRITON_TYPES[given], TRITON_TYPES[kept]
    types = {"k_ptr": fresh, "v_ptr": fresh, "ck_ptr": stored, "cv_ptr": stored, "count_ptr": "*i32"}
    constants = {"ROWS": ELEMENTS // width, "D": width, "INT8": int8}
    scales = {"ks_ptr": "*fp32", "vs_ptr": "*fp32"}
    return Shipped(
        f"ring-{stored[1:]}-{fresh[1:]}-{width}", write_frames, types | scales if int8 else types,
        constants if int8 else constants | dict.fromkeys(scales), WARPS, 1,
        divisible=("k_b", "k_n", "k_h", "v_b", "v_n", "v_h", "width"))
