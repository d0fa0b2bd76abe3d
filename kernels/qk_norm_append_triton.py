"""Triton kernel of `qk_norm_append`: programs as in `qk_norm_triton`, keys and values stored as in `ring_triton`.

A program takes a few tokens and a few heads of each, a head as two halves, and finds the slots of its tokens once.
Keys are rounded to the dtype of the projection before the cache's: bits do not depend on what is fused.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dispatch import interpreting
from .launch import TRITON_TYPES, Shipped, launchable, with_device
from .operands import rows_of
from .qk_norm_triton import GROUP, normed_rotated, store_halves, token_tile, two_halves


@triton.jit
def place_of(stream, token, count_ptr, N, P, capacity, sinks):
    """Row of (frame slot, token) in the cache where a stream's token belongs, and whether it outlives this call."""
    fresh = token // P
    count = tl.load(count_ptr + stream)
    frame = count + fresh
    ring = tl.maximum(capacity - sinks, 1)
    slot = tl.where(frame < sinks, frame, sinks + (frame - sinks) % ring)
    outlives = (frame < sinks) | (fresh + ring >= N // P)
    return (stream * capacity + slot) * P + token % P, (slot < capacity) & outlives


@triton.jit
def keep_halves(out, scale, target, half, first, second, keep, D: tl.constexpr, HALF: tl.constexpr, INT8: tl.constexpr):
    """Halves [ROWS, HALF] into rows `target` of the cache, rounded to what is stored there."""
    if INT8:
        most = tl.max(tl.maximum(tl.abs(first), tl.abs(second)), 1)
        top = tl.full(most.shape, 127.0, tl.float32)
        factor = tl.where(most > 0, tl.div_rn(top, tl.where(most > 0, most, 1.0)), 0)[:, None]
        tl.store((scale + target)[:, None], tl.div_rn(most, top)[:, None], mask=keep)
        first = tl.floor(first * factor + 0.5).to(tl.int8)
        second = tl.floor(second * factor + 0.5).to(tl.int8)
    store_halves(out + target * D, half, first, second, keep & (half < HALF), HALF)


@triton.jit
def append_kernel(qkv, gq, gk, cos, sin, q, ck, cv, ks, vs, count, rows, N, P, R, Hq, Hkv, capacity, sinks, xb, xn, eps,
                  ROWS: tl.constexpr, HALF: tl.constexpr, GROUP: tl.constexpr, INT8: tl.constexpr):
    """ROWS tokens, GROUP heads: queries and keys normed and rotated; keys and values into their slots."""
    D: tl.constexpr = 2 * HALF
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    half = tl.arange(0, HALF)[None, :]
    here = (row < rows)[:, None] & (half < HALF)
    token = row % N
    stream = tl.where(row < rows, row // N, 0).to(tl.int64)
    source = qkv + stream * xb + token.to(tl.int64) * xn
    cos1, cos2 = two_halves(cos + token % R * D, half, here, HALF)
    sin1, sin2 = two_halves(sin + token % R * D, half, here, HALF)
    start = tl.program_id(1) * GROUP
    stop = start + GROUP
    gain1, gain2 = tl.load(gq + half).to(tl.float32), tl.load(gq + HALF + half).to(tl.float32)
    for head in range(start, min(stop, Hq)):
        first, second = two_halves(source + head * D, half, here, HALF)
        first, second = normed_rotated(first, second, gain1, gain2, cos1, cos2, sin1, sin2, eps, HALF)
        store_halves(q + (row.to(tl.int64) * Hq + head) * D, half, first, second, here, HALF)

    place, outlives = place_of(stream, token, count, N, P, capacity, sinks)
    keep = (outlives & (row < rows))[:, None]
    here = keep & here
    gain1, gain2 = tl.load(gk + half).to(tl.float32), tl.load(gk + HALF + half).to(tl.float32)
    for head in range(max(start, Hq), min(stop, Hq + Hkv)):
        first, second = two_halves(source + head * D, half, here, HALF)
        first, second = normed_rotated(first, second, gain1, gain2, cos1, cos2, sin1, sin2, eps, HALF)
        first = first.to(qkv.dtype.element_ty).to(tl.float32)
        second = second.to(qkv.dtype.element_ty).to(tl.float32)
        keep_halves(ck, ks, place * Hkv + head - Hq, half, first, second, keep, D, HALF, INT8)
    for head in range(max(start, Hq + Hkv), min(stop, Hq + 2 * Hkv)):
        first, second = two_halves(source + head * D, half, here, HALF)
        keep_halves(cv, vs, place * Hkv + head - Hq - Hkv, half, first, second, keep, D, HALF, INT8)


def qk_norm_rope_append(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, cache_k: Tensor, cache_v: Tensor,
                        k_scale: Tensor | None, v_scale: Tensor | None, count: Tensor, heads: int, sinks: int,
                        eps: float) -> Tensor:
    """Queries; keys and values are stored. `count` is read, not advanced. As `kernels.qk_norm_append`."""
    dtype, (B, N, _), D = qkv.dtype, qkv.shape, gq.numel()
    _, capacity, P, kv_heads, _ = cache_k.shape
    q, memory_k, memory_v = launchable(
        torch.empty(B, N, heads, D, dtype=dtype, device=qkv.device), cache_k, cache_v)
    qkv, *weights = launchable(rows_of(qkv), *(x.contiguous() for x in (gq, gk, cos, sin)))
    tile = token_tile(D)
    grid = (triton.cdiv(B * N, tile.rows), triton.cdiv(heads + 2 * kv_heads, GROUP))
    with_device(qkv, lambda: append_kernel[grid](
        qkv, *weights, q, memory_k, memory_v, k_scale, v_scale, count, B * N, N, P, len(cos), heads, kv_heads, capacity,
        sinks, *qkv.stride()[:2], eps, ROWS=tile.rows, HALF=tile.cols, GROUP=GROUP, INT8=k_scale is not None,
        num_warps=tile.warps, num_stages=tile.stages))
    if interpreting() and memory_k is not cache_k:
        cache_k.copy_(memory_k)
        cache_v.copy_(memory_v)
    return q.to(dtype)


def shipped() -> list[Shipped]:
    """What the launcher chooses; weights and tables in float32, as models keep them."""
    return [_shipped(32, torch.float32, torch.float32), _shipped(64, torch.bfloat16, torch.bfloat16),
            _shipped(64, torch.bfloat16, torch.int8), _shipped(256, torch.float16, torch.int8)]


def _shipped(width: int, given: torch.dtype, kept: torch.dtype) -> Shipped:
    tile, fresh, stored = token_tile(width), TRITON_TYPES[given], TRITON_TYPES[kept]
    types = dict.fromkeys(("gq", "gk", "cos", "sin"), "*fp32") | {"eps": "fp32", "count": "*i32"}
    types |= dict.fromkeys(("qkv", "q"), fresh) | dict.fromkeys(("ck", "cv"), stored)
    int8 = kept == torch.int8
    constants = {"ROWS": tile.rows, "HALF": tile.cols, "GROUP": GROUP, "INT8": int8}
    scales = {"ks": "*fp32", "vs": "*fp32"}
    return Shipped(
        f"qk_norm_rope_append {width} {fresh[1:]} into {stored[1:]}", append_kernel, types | scales if int8 else types,
        constants if int8 else constants | dict.fromkeys(scales), tile.warps, tile.stages, divisible=("xb", "xn"))
