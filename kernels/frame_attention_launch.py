"""Tiles and launches of the triton kernels of `frame_attention`, and the list of all that may be launched."""

from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

from .frame_attention_triton import dkdv_kernel, dq_kernel, forward_kernel
from .launch import LOG2E, TRITON_TYPES, Shipped, Tile, launchable, with_device

_FULL = {
    # (kernel, head width, whether float32): rows of this program, columns walked over, warps, stages. Tiles of
    # float32 are small, or they would not stay in registers.
    ("forward", 64, False): Tile(64, 64, 4, 3), ("forward", 128, False): Tile(64, 64, 4, 3),
    ("dq", 64, False): Tile(64, 64, 4, 3), ("dq", 128, False): Tile(64, 64, 4, 3),
    ("dkdv", 64, False): Tile(64, 64, 4, 3), ("dkdv", 128, False): Tile(64, 64, 8, 2),
    ("forward", 64, True): Tile(32, 32, 4, 2), ("forward", 128, True): Tile(32, 32, 8, 2),
    ("dq", 64, True): Tile(32, 32, 4, 2), ("dq", 128, True): Tile(32, 32, 8, 2),
    ("dkdv", 64, True): Tile(32, 32, 4, 2), ("dkdv", 128, True): Tile(32, 32, 8, 2),
}  # fmt: skip

_KERNELS = {"forward": forward_kernel, "dq": dq_kernel, "dkdv": dkdv_kernel}


def tile_for(kernel: str, width: int, dtype: torch.dtype, P: int) -> Tile:
    """The tile of a launch: no taller than a frame needs."""
    full = _FULL[kernel, max(width, 64), dtype == torch.float32]
    most = max(16, triton.next_power_of_2(P))
    return Tile(min(full.rows, most), min(full.cols, most), full.warps, full.stages)


def _constants(tile: Tile, width: int, dtype: torch.dtype, P: int, teacher: bool) -> dict[str, Any]:
    tf32 = dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32
    return {"D": width, "ROWS": tile.rows, "COLS": tile.cols, "TEACHER": teacher, "RAGGED": P % tile.cols != 0,
            "PRECISION": "tf32" if tf32 else "ieee"}


def forward_triton(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, P: int, window: int, sinks: int,
                   teacher: bool, scale: float) -> tuple[Tensor, Tensor]:
    """Output [B, N, H, D] and natural log-sum-exp float32 [B, H, N]."""
    dtype, (q, k, v) = q.dtype, _aligned(q, k, v)
    batch, tokens, heads, width = q.shape
    tile, frames = tile_for("forward", width, q.dtype, P), tokens // P
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = q.new_empty(batch, heads, tokens, dtype=torch.float32)
    settings = _settings(k, frames, P, heads, window, sinks, teacher)
    _launch("forward", tile, (frames * triton.cdiv(P, tile.rows), batch * heads), q,
            (q, k, v, starts, out, lse, *_strides(q, k, v, out), *settings, scale * LOG2E),
            _constants(tile, width, q.dtype, P, teacher))
    return out.to(dtype), lse


def backward_triton(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, starts: Tensor | None,
                    P: int, window: int, sinks: int, teacher: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    dtype, (q, k, v, grad) = q.dtype, _aligned(q, k, v, grad)
    batch, tokens, heads, width = q.shape
    delta = (grad.float() * out.float()).sum(-1).transpose(1, 2).contiguous()  # [B, H, N]
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    settings = (*_settings(k, tokens // P, P, heads, window, sinks, teacher), scale * LOG2E, scale)
    tile = tile_for("dq", width, q.dtype, P)
    _launch("dq", tile, (tokens // P * triton.cdiv(P, tile.rows), batch * heads), q,
            (q, k, v, starts, grad, lse, delta, dq, *_strides(q, k, v, grad, dq), *settings),
            _constants(tile, width, q.dtype, P, teacher))
    tile = tile_for("dkdv", width, q.dtype, P)
    ends = None if starts is None else _ends(starts)
    _launch("dkdv", tile, (tokens // P * triton.cdiv(P, tile.rows), batch * k.shape[2]), q,
            (q, k, v, starts, ends, grad, lse, delta, dk, dv, *_strides(q, k, v, grad, dk), *settings),
            _constants(tile, width, q.dtype, P, teacher))
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)


def _aligned(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors whose heads are contiguous, in a dtype that may be launched."""
    return launchable(*(x if x.stride(-1) == 1 else x.contiguous() for x in tensors))


def _strides(*tensors: Tensor) -> Iterator[int]:
    for x in tensors:
        yield from x.stride()[:3]


def _settings(k: Tensor, frames: int, P: int, heads: int, window: int, sinks: int, teacher: bool) -> tuple[int, ...]:
    """frames, P, heads, group, window, sinks as the kernels take them."""
    return frames // 2 if teacher else frames, P, heads, heads // k.shape[2], window, sinks


def _ends(starts: Tensor) -> Tensor:
    """Where the episode of each frame ends: the number of frames whose episode begins no later, int32 like `starts`."""
    return (starts[:, None, :] <= starts[:, :, None]).sum(-1, dtype=torch.int32)


def _launch(name: str, tile: Tile, grid: tuple[int, int], like: Tensor, arguments: tuple[Any, ...],
            constants: dict[str, Any]) -> None:
    with_device(like, lambda: _KERNELS[name][grid](*arguments, **constants, num_warps=tile.warps,
                                                   num_stages=tile.stages))


def shipped() -> list[Shipped]:
    """Every kind of launch: both dtypes of 16 bits, float32, both widths, whole and ragged tiles, both masks."""
    cases = [(torch.bfloat16, width, P, teacher) for width in (64, 128) for P, teacher in ((64, False), (20, True))]
    cases += [(torch.float16, 64, 144, True), (torch.float32, 64, 20, True), (torch.float32, 128, 32, False)]
    return [_shipped(kernel, *case) for case in cases for kernel in _KERNELS]


def _shipped(kernel: str, dtype: torch.dtype, width: int, P: int, teacher: bool) -> Shipped:
    tile, exact = tile_for(kernel, width, dtype, P), dtype == torch.float32
    names = {"forward": "q k v out", "dq": "q k v grad dq", "dkdv": "q k v grad dk dv"}[kernel].split()
    types = dict.fromkeys(names, TRITON_TYPES[dtype]) | {"log_scale": "fp32", "scale": "fp32"}
    types |= {"lse": "*fp32", "delta": "*fp32"}
    absent = {"starts": None, "ends": None} if teacher else {}
    types |= {} if teacher else {"starts": "*i32", "ends": "*i32"}
    arguments = _KERNELS[kernel].arg_names
    constants = _constants(tile, width, dtype, P, teacher) | absent
    strides = tuple(name for name in arguments if len(name) == 2 and name[1] in "bnh" and name not in types)
    return Shipped(
        f"{kernel} {str(dtype)[6:]} D={width} P={P}{' teacher' if teacher else ''}", _KERNELS[kernel],
        {name: kind for name, kind in types.items() if name in arguments},
        {name: value for name, value in constants.items() if name in arguments}, tile.warps, tile.stages,
        matrix=not exact, pipelined=not exact, divisible=strides)
