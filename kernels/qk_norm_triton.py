"""Triton kernels of `qk_norm`: a program takes a few tokens and a few heads of each, and reads its tables once.

Heads are read as two halves, the two coordinates of every rotation plane, so nothing has to be swapped.
All arithmetic is in float32; gradients of the weights are summed per program, then by torch: the same at every run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import TRITON_TYPES, Shipped, Tile, launchable, with_device
from .operands import rows_of

GROUP = 4
"""heads of one program"""


def token_tile(width: int) -> Tile:
    """Tokens of one program whose heads are `width` wide: 2048 numbers."""
    return Tile(rows=2048 // width, cols=width // 2, warps=4, stages=1)


@triton.jit
def two_halves(row_pointers, half, here, HALF: tl.constexpr):
    """First and second half of the vectors that start at `row_pointers` [ROWS], in float32: [ROWS, HALF] each."""
    first = tl.load(row_pointers[:, None] + half, mask=here, other=0.0).to(tl.float32)
    second = tl.load(row_pointers[:, None] + HALF + half, mask=here, other=0.0).to(tl.float32)
    return first, second


@triton.jit
def store_halves(row_pointers, half, first, second, here, HALF: tl.constexpr):
    """The reverse of `two_halves`."""
    tl.store(row_pointers[:, None] + half, first, mask=here)
    tl.store(row_pointers[:, None] + HALF + half, second, mask=here)


@triton.jit
def one_over_rms(first, second, eps, HALF: tl.constexpr):
    """[ROWS, 1]."""
    squares = tl.sum(first * first + second * second, 1)
    return tl.rsqrt(squares / (2 * HALF) + eps)[:, None]


@triton.jit
def normed_rotated(first, second, gain1, gain2, cos1, cos2, sin1, sin2, eps, HALF: tl.constexpr):
    """Halves of queries or keys as attention takes them. Gains [1, HALF], tables [ROWS, HALF]."""
    reciprocal = one_over_rms(first, second, eps, HALF)
    first = first * reciprocal * gain1
    second = second * reciprocal * gain2
    return first * cos1 + second * sin1, second * cos2 + first * sin2


@triton.jit
def normed_rotated_backward(by1, by2, first, second, gain1, gain2, cos1, cos2, sin1, sin2, eps, HALF: tl.constexpr):
    """Gradients by the halves before the norm, and by the gains per row."""
    scaled1 = by1 * cos1 + by2 * sin2
    scaled2 = by2 * cos2 + by1 * sin1
    reciprocal = one_over_rms(first, second, eps, HALF)
    first = first * reciprocal
    second = second * reciprocal
    along = tl.sum(scaled1 * gain1 * first + scaled2 * gain2 * second, 1)[:, None] / (2 * HALF)
    dx1 = reciprocal * (scaled1 * gain1 - first * along)
    dx2 = reciprocal * (scaled2 * gain2 - second * along)
    return dx1, dx2, scaled1 * first, scaled2 * second


@triton.jit
def forward_kernel(qkv, gq, gk, cos, sin, q, k, v, rows, N, R, Hq, Hkv, xb, xn, eps,
                   ROWS: tl.constexpr, HALF: tl.constexpr, GROUP: tl.constexpr):
    """ROWS tokens, GROUP heads: queries and keys normed and rotated, values copied."""
    D: tl.constexpr = 2 * HALF
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    half = tl.arange(0, HALF)[None, :]
    here = (row < rows)[:, None] & (half < HALF)
    token = row % N
    source = qkv + (row // N).to(tl.int64) * xb + token.to(tl.int64) * xn
    cos1, cos2 = two_halves(cos + token % R * D, half, here, HALF)
    sin1, sin2 = two_halves(sin + token % R * D, half, here, HALF)
    row = row.to(tl.int64)
    start = tl.program_id(1) * GROUP
    stop = start + GROUP
    gain1, gain2 = tl.load(gq + half).to(tl.float32), tl.load(gq + HALF + half).to(tl.float32)
    for head in range(start, min(stop, Hq)):
        first, second = two_halves(source + head * D, half, here, HALF)
        first, second = normed_rotated(first, second, gain1, gain2, cos1, cos2, sin1, sin2, eps, HALF)
        store_halves(q + (row * Hq + head) * D, half, first, second, here, HALF)
    gain1, gain2 = tl.load(gk + half).to(tl.float32), tl.load(gk + HALF + half).to(tl.float32)
    for head in range(max(start, Hq), min(stop, Hq + Hkv)):
        first, second = two_halves(source + head * D, half, here, HALF)
        first, second = normed_rotated(first, second, gain1, gain2, cos1, cos2, sin1, sin2, eps, HALF)
        store_halves(k + (row * Hkv + head - Hq) * D, half, first, second, here, HALF)
    for head in range(max(start, Hq + Hkv), min(stop, Hq + 2 * Hkv)):
        first, second = two_halves(source + head * D, half, here, HALF)
        store_halves(v + (row * Hkv + head - Hq - Hkv) * D, half, first, second, here, HALF)


@triton.jit
def backward_kernel(dq, dk, dv, qkv, gq, gk, cos, sin, dqkv, dgains, rows, N, R, Hq, Hkv,
                    qb, qn, qh, kb, kn, kh, vb, vn, vh, xb, xn, eps,
                    ROWS: tl.constexpr, HALF: tl.constexpr, GROUP: tl.constexpr):
    """ROWS tokens, GROUP heads: gradients by the projection; by the gains, [programs, 2, D] for torch to sum."""
    D: tl.constexpr = 2 * HALF
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    half = tl.arange(0, HALF)[None, :]
    here = (row < rows)[:, None] & (half < HALF)
    batch, token = (row // N).to(tl.int64), (row % N).to(tl.int64)
    source = qkv + batch * xb + token * xn
    cos1, cos2 = two_halves(cos + token % R * D, half, here, HALF)
    sin1, sin2 = two_halves(sin + token % R * D, half, here, HALF)
    target = dqkv + row.to(tl.int64) * ((Hq + 2 * Hkv) * D)
    start = tl.program_id(1) * GROUP
    stop = start + GROUP
    sums = dgains + (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * (2 * D) + half
    none = tl.zeros([ROWS, HALF], tl.float32)

    gain1, gain2 = tl.load(gq + half).to(tl.float32), tl.load(gq + HALF + half).to(tl.float32)
    sum1, sum2 = none, none
    for head in range(start, min(stop, Hq)):
        by1, by2 = two_halves(dq + batch * qb + token * qn + head * qh, half, here, HALF)
        first, second = two_halves(source + head * D, half, here, HALF)
        by1, by2, gained1, gained2 = normed_rotated_backward(by1, by2, first, second, gain1, gain2, cos1, cos2, sin1,
                                                             sin2, eps, HALF)
        sum1 += gained1
        sum2 += gained2
        store_halves(target + head * D, half, by1, by2, here, HALF)
    tl.store(sums, tl.sum(sum1, 0)[None, :])
    tl.store(sums + HALF, tl.sum(sum2, 0)[None, :])

    gain1, gain2 = tl.load(gk + half).to(tl.float32), tl.load(gk + HALF + half).to(tl.float32)
    sum1, sum2 = none, none
    for head in range(max(start, Hq), min(stop, Hq + Hkv)):
        by1, by2 = two_halves(dk + batch * kb + token * kn + (head - Hq) * kh, half, here, HALF)
        first, second = two_halves(source + head * D, half, here, HALF)
        by1, by2, gained1, gained2 = normed_rotated_backward(by1, by2, first, second, gain1, gain2, cos1, cos2, sin1,
                                                             sin2, eps, HALF)
        sum1 += gained1
        sum2 += gained2
        store_halves(target + head * D, half, by1, by2, here, HALF)
    tl.store(sums + D, tl.sum(sum1, 0)[None, :])
    tl.store(sums + D + HALF, tl.sum(sum2, 0)[None, :])

    for head in range(max(start, Hq + Hkv), min(stop, Hq + 2 * Hkv)):
        by1, by2 = two_halves(dv + batch * vb + token * vn + (head - Hq - Hkv) * vh, half, here, HALF)
        store_halves(target + head * D, half, by1, by2, here, HALF)


def qk_norm_rope(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int,
                 eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """As `kernels.qk_norm_rope`."""
    dtype, (B, N, _), D = qkv.dtype, qkv.shape, gq.numel()
    outs = [torch.empty(B, N, count, D, dtype=dtype, device=qkv.device) for count in (heads, kv_heads, kv_heads)]
    q, k, v = launchable(*outs)
    qkv, *weights = launchable(rows_of(qkv), *(x.contiguous() for x in (gq, gk, cos, sin)))
    tile = token_tile(D)
    grid = (triton.cdiv(B * N, tile.rows), triton.cdiv(heads + 2 * kv_heads, GROUP))
    if B * N:
        with_device(qkv, lambda: forward_kernel[grid](
            qkv, *weights, q, k, v, B * N, N, len(cos), heads, kv_heads, *qkv.stride()[:2], eps,
            ROWS=tile.rows, HALF=tile.cols, GROUP=GROUP, num_warps=tile.warps, num_stages=tile.stages))
    return q.to(dtype), k.to(dtype), v.to(dtype)


def qk_norm_rope_backward(dq: Tensor, dk: Tensor, dv: Tensor, qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor,
                          sin: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by qkv, gq and gk, the last two in float32."""
    dtype, (B, N, _), D = qkv.dtype, qkv.shape, gq.numel()
    heads, kv_heads = dq.shape[2], dk.shape[2]
    dqkv = torch.empty(qkv.shape, dtype=dtype, device=qkv.device)
    dq, dk, dv, qkv, dqkv = launchable(*(rows_of(x) for x in (dq, dk, dv, qkv)), dqkv)
    weights = launchable(*(x.contiguous() for x in (gq, gk, cos, sin)))
    tile = token_tile(D)
    grid = (triton.cdiv(B * N, tile.rows), triton.cdiv(heads + 2 * kv_heads, GROUP))
    dgains = torch.empty(grid[0] * grid[1], 2, D, dtype=torch.float32, device=qkv.device)
    if B * N:
        with_device(qkv, lambda: backward_kernel[grid](
            dq, dk, dv, qkv, *weights, dqkv, dgains, B * N, N, len(cos), heads, kv_heads,
            *dq.stride()[:3], *dk.stride()[:3], *dv.stride()[:3], *qkv.stride()[:2], eps,
            ROWS=tile.rows, HALF=tile.cols, GROUP=GROUP, num_warps=tile.warps, num_stages=tile.stages))
    dgq, dgk = dgains.sum(0)
    return dqkv.to(dtype), dgq.clone(), dgk.clone()


def shipped() -> list[Shipped]:
    """What the launchers above choose; weights and tables in float32, as models keep them."""
    cases = []
    for width, dtype in ((32, torch.float32), (64, torch.bfloat16), (256, torch.float16)):
        tile = token_tile(width)
        given = TRITON_TYPES[dtype]
        types = dict.fromkeys(("gq", "gk", "cos", "sin", "dgains"), "*fp32") | {"eps": "fp32"}
        types |= dict.fromkeys(("qkv", "q", "k", "v", "dq", "dk", "dv", "dqkv"), given)
        constants = {"ROWS": tile.rows, "HALF": tile.cols, "GROUP": GROUP}
        strides = ("qb", "qn", "qh", "kb", "kn", "kh", "vb", "vn", "vh", "xb", "xn")
        for name, kernel in (("forward", forward_kernel), ("backward", backward_kernel)):
            cases.append(Shipped(f"qk_norm_rope {name} {width} {given[1:]}", kernel, types, constants, tile.warps,
                                 tile.stages, divisible=strides))
    return cases
