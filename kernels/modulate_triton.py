"""Triton kernels of `modulate`: one pass over the tokens, sums over a frame without atomics.

Forward and dx: a program holds a few whole rows. Sums over a frame's tokens: a program per frame and column block walks
down the frame, so the same numbers are added in the same order every time. All arithmetic is in float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import TRITON_TYPES, Shipped, Tile, launchable, with_device
from .modulate import WIDEST
from .operands import result_dtype, rows_of

DOWN = Tile(rows=16, cols=64, warps=4, stages=1)
"""tokens and channels of a step down a frame"""


def across(width: int) -> Tile:
    """Rows that a program holds whole, `width` channels each: 2048 numbers in 4 warps, or one row in more warps."""
    cols = max(16, triton.next_power_of_2(width))
    return Tile(rows=max(1, 2048 // cols), cols=cols, warps=min(16, max(4, cols // 512)), stages=1)


@triton.jit
def row_places(first, rows, N, P, ROWS: tl.constexpr):
    """Rows of tile `first`: number, batch, token and frame of each, in 64 bits, and whether there is such a row."""
    row = first * ROWS + tl.arange(0, ROWS)
    token = row % N
    return row.to(tl.int64), (row // N).to(tl.int64), token.to(tl.int64), (token // P).to(tl.int64), row < rows


@triton.jit
def normed_rows(x, here, C, eps):
    """Rows of mean 0 and variance 1, their means and one over their deviations."""
    mean = tl.sum(x, 1) / C
    centred = tl.where(here, x - mean[:, None], 0.0)
    reciprocal = tl.rsqrt(tl.sum(centred * centred, 1) / C + eps)
    return centred * reciprocal[:, None], mean, reciprocal


@triton.jit
def modulate_kernel(x, shift, scale, out, rows, N, P, C, xb, xn, hb, hf, cb, cf, eps,
                    ROWS: tl.constexpr, COLS: tl.constexpr):
    """Whole rows of [B, N, C], normalised, scaled and shifted."""
    row, batch, token, frame, real = row_places(tl.program_id(0), rows, N, P, ROWS)
    col = tl.arange(0, COLS)[None, :]
    here = real[:, None] & (col < C)
    value = tl.load(x + (batch * xb + token * xn)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    by = tl.load(scale + (batch * cb + frame * cf)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    add = tl.load(shift + (batch * hb + frame * hf)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    normed, _mean, _reciprocal = normed_rows(value, here, C, eps)
    tl.store(out + (row * C)[:, None] + col, normed * (1 + by) + add, mask=here)


@triton.jit
def modulate_dx_kernel(grad, x, scale, dx, means, reciprocals, rows, N, P, C, gb, gn, xb, xn, cb, cf, eps,
                       ROWS: tl.constexpr, COLS: tl.constexpr):
    """Gradient by x, whole rows; also every row's mean and one over its deviation, for the sums."""
    row, batch, token, frame, real = row_places(tl.program_id(0), rows, N, P, ROWS)
    col = tl.arange(0, COLS)[None, :]
    here = real[:, None] & (col < C)
    value = tl.load(x + (batch * xb + token * xn)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    by = tl.load(scale + (batch * cb + frame * cf)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    by_out = tl.load(grad + (batch * gb + token * gn)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    normed, mean, reciprocal = normed_rows(value, here, C, eps)
    by_normed = by_out * (1 + by)
    level = tl.sum(by_normed, 1) / C
    along = tl.sum(by_normed * normed, 1) / C
    by_x = reciprocal[:, None] * (by_normed - level[:, None] - normed * along[:, None])
    tl.store(dx + (row * C)[:, None] + col, by_x, mask=here)
    tl.store(means + row, mean, mask=real)
    tl.store(reciprocals + row, reciprocal, mask=real)


@triton.jit
def modulate_sums_kernel(grad, x, means, reciprocals, dshift, dscale, T, P, C, gb, gn, xb, xn,
                         ROWS: tl.constexpr, COLS: tl.constexpr):
    """Gradients by shift and scale: a frame and some columns, summed down its tokens."""
    place = tl.program_id(0).to(tl.int64)  # of the frame in the batch
    col = tl.program_id(1) * COLS + tl.arange(0, COLS)
    shifts = tl.zeros([ROWS, COLS], tl.float32)
    scales = tl.zeros([ROWS, COLS], tl.float32)
    for start in range(0, P, ROWS):
        inside = start + tl.arange(0, ROWS)
        here = (inside < P)[:, None] & (col < C)[None, :]
        token = place % T * P + inside
        row = place * P + inside
        mean = tl.load(means + row, mask=inside < P, other=0.0)
        reciprocal = tl.load(reciprocals + row, mask=inside < P, other=0.0)
        value = tl.load(x + (place // T * xb + token * xn)[:, None] + col[None, :], mask=here, other=0.0)
        by_out = tl.load(grad + (place // T * gb + token * gn)[:, None] + col[None, :], mask=here, other=0.0)
        by_out = by_out.to(tl.float32)
        shifts += by_out
        scales += by_out * (value.to(tl.float32) - mean[:, None]) * reciprocal[:, None]
    tl.store(dshift + place * C + col, tl.sum(shifts, 0), mask=col < C)
    tl.store(dscale + place * C + col, tl.sum(scales, 0), mask=col < C)


@triton.jit
def gated_kernel(x, y, gate, out, rows, N, P, C, xb, xn, yb, yn, tb, tf, ROWS: tl.constexpr, COLS: tl.constexpr):
    """A tile of rows and columns of x + gate * y."""
    row, batch, token, frame, real = row_places(tl.program_id(0), rows, N, P, ROWS)
    col = (tl.program_id(1) * COLS + tl.arange(0, COLS))[None, :]
    here = real[:, None] & (col < C)
    value = tl.load(x + (batch * xb + token * xn)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    branch = tl.load(y + (batch * yb + token * yn)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    by = tl.load(gate + (batch * tb + frame * tf)[:, None] + col, mask=here, other=0.0).to(tl.float32)
    tl.store(out + (row * C)[:, None] + col, value + by * branch, mask=here)


@triton.jit
def gated_backward_kernel(grad, y, gate, dy, dgate, T, P, C, gb, gn, yb, yn, tb, tf,
                          ROWS: tl.constexpr, COLS: tl.constexpr):
    """Gradients by y and, summed down a frame's tokens, by gate: a frame and some columns."""
    place = tl.program_id(0).to(tl.int64)  # of the frame in the batch
    col = tl.program_id(1) * COLS + tl.arange(0, COLS)
    by = tl.load(gate + place // T * tb + place % T * tf + col, mask=col < C, other=0.0).to(tl.float32)
    gates = tl.zeros([ROWS, COLS], tl.float32)
    for start in range(0, P, ROWS):
        inside = start + tl.arange(0, ROWS)
        here = (inside < P)[:, None] & (col < C)[None, :]
        token = place % T * P + inside
        branch = tl.load(y + (place // T * yb + token * yn)[:, None] + col[None, :], mask=here, other=0.0)
        by_out = tl.load(grad + (place // T * gb + token * gn)[:, None] + col[None, :], mask=here, other=0.0)
        by_out = by_out.to(tl.float32)
        tl.store(dy + ((place * P + inside) * C)[:, None] + col[None, :], by_out * by[None, :], mask=here)
        gates += by_out * branch.to(tl.float32)
    tl.store(dgate + place * C + col, tl.sum(gates, 0), mask=col < C)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, P: int, eps: float) -> Tensor:
    """As `kernels.adaln_modulate`."""
    dtype = result_dtype(x, shift, scale)
    x, shift, scale, out = launchable(rows_of(x), rows_of(shift), rows_of(scale), _empty(x, dtype))
    B, N, C = x.shape
    tile = across(C)
    _on_grid(x, modulate_kernel, (triton.cdiv(B * N, tile.rows), 1), tile, x, shift, scale, out, B * N, N, P, C,
             *x.stride()[:2], *shift.stride()[:2], *scale.stride()[:2], eps)
    return out.to(dtype)


def modulate_backward(grad: Tensor, x: Tensor, scale: Tensor, P: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by x, shift and scale, the last two in float32."""
    dtype = x.dtype
    grad, x, scale, dx = launchable(rows_of(grad), rows_of(x), rows_of(scale), _empty(x, dtype))
    B, N, C = x.shape
    means, reciprocals = (torch.empty(B * N, dtype=torch.float32, device=x.device) for _ in range(2))
    dshift, dscale = (_empty(scale, torch.float32) for _ in range(2))
    tile = across(C)
    _on_grid(x, modulate_dx_kernel, (triton.cdiv(B * N, tile.rows), 1), tile, grad, x, scale, dx, means, reciprocals,
             B * N, N, P, C, *grad.stride()[:2], *x.stride()[:2], *scale.stride()[:2], eps)
    _on_grid(x, modulate_sums_kernel, (B * N // P, triton.cdiv(C, DOWN.cols)), DOWN, grad, x, means, reciprocals,
             dshift, dscale, N // P, P, C, *grad.stride()[:2], *x.stride()[:2])
    return dx.to(dtype), dshift, dscale


def gated(x: Tensor, y: Tensor, gate: Tensor, P: int) -> Tensor:
    """As `kernels.gated_residual`."""
    dtype = result_dtype(x, y, gate)
    x, y, gate, out = launchable(rows_of(x), rows_of(y), rows_of(gate), _empty(x, dtype))
    B, N, C = x.shape
    grid = (triton.cdiv(B * N, DOWN.rows), triton.cdiv(C, DOWN.cols))
    _on_grid(x, gated_kernel, grid, DOWN, x, y, gate, out, B * N, N, P, C, *x.stride()[:2], *y.stride()[:2],
             *gate.stride()[:2])
    return out.to(dtype)


def gated_backward(grad: Tensor, y: Tensor, gate: Tensor, P: int) -> tuple[Tensor, Tensor]:
    """Gradients by y and gate, the last in float32."""
    dtype = y.dtype
    grad, y, gate, dy = launchable(rows_of(grad), rows_of(y), rows_of(gate), _empty(y, dtype))
    dgate = _empty(gate, torch.float32)
    B, N, C = y.shape
    _on_grid(y, gated_backward_kernel, (B * N // P, triton.cdiv(C, DOWN.cols)), DOWN, grad, y, gate, dy, dgate,
             N // P, P, C, *grad.stride()[:2], *y.stride()[:2], *gate.stride()[:2])
    return dy.to(dtype), dgate


def shipped() -> list[Shipped]:
    """What the launchers above choose: narrow, usual and widest rows; frames and columns, which are cut alike."""
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    rows = [_shipped(kernel, width, dtype, across(width)) for kernel in (modulate_kernel, modulate_dx_kernel)
            for width, dtype in ((256, f32), (1024, bf16), (WIDEST, f16))]
    return rows + [_shipped(kernel, 1024, dtype, DOWN) for dtype in (f32, bf16)
                   for kernel in (modulate_sums_kernel, gated_kernel, gated_backward_kernel)]


_SUMS = ("means", "reciprocals", "dshift", "dscale", "dgate")
_TOKENS = ("x", "y", "grad", "shift", "scale", "gate", "out", "dx", "dy")
_WIDTHS = ("C", "xb", "xn", "yb", "yn", "gb", "gn", "hb", "hf", "cb", "cf", "tb", "tf")


def _shipped(kernel: triton.JITFunction, width: int, dtype: torch.dtype, tile: Tile) -> Shipped:
    types = dict.fromkeys(_SUMS, "*fp32") | dict.fromkeys(_TOKENS, TRITON_TYPES[dtype]) | {"eps": "fp32"}
    return Shipped(f"{kernel.__name__} {width} {TRITON_TYPES[dtype][1:]}", kernel, types,
                   {"ROWS": tile.rows, "COLS": tile.cols}, tile.warps, tile.stages, divisible=_WIDTHS)


def _empty(x: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(x.shape, dtype=dtype, device=x.device)


def _on_grid(x: Tensor, kernel: triton.JITFunction, grid: tuple[int, int], tile: Tile, *arguments) -> None:
    if x.numel():
        with_device(x, lambda: kernel[grid](*arguments, ROWS=tile.rows, COLS=tile.cols, num_warps=tile.warps,
                                            num_stages=tile.stages))
