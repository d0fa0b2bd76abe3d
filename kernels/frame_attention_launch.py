"""Tiles and launches of the triton kernels of `frame_attention`, and the list of all that may be launched."""

from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

from .frame_attention_triton import dkdv_kernel, dq_kernel, forward_kernel
from .launch import LOG2E, TRITON_TYPES, Shipped, Tile, launchable, precision_of, with_device

_SMALL = Tile(32, 32, 4, 2)  # frames of up to 32 tokens
_FULL = {  # (kernel, head width): rows of this program, columns walked over, warps, stages; on sm_80 and on sm_90
    ("forward", 64): (Tile(64, 64, 4, 3), Tile(64, 64, 4, 3)),
    ("forward", 128): (Tile(64, 32, 4, 3), Tile(64, 64, 4, 3)),
    ("dq", 64): (Tile(64, 32, 4, 3), Tile(64, 64, 4, 3)), ("dq", 128): (Tile(64, 32, 4, 3), Tile(64, 64, 8, 2)),
    ("dkdv", 64): (Tile(64, 32, 8, 2), Tile(64, 64, 8, 2)), ("dkdv", 128): (Tile(64, 32, 8, 2), Tile(64, 32, 8, 2)),
}  # fmt: skip
_EXACT = {  # the same in float32, wherever it runs; larger tiles do not stay in registers
    ("forward", 64): Tile(32, 32, 8, 1), ("forward", 128): Tile(32, 16, 8, 1),
    ("dq", 64): Tile(32, 32, 8, 1), ("dq", 128): Tile(32, 16, 8, 1),
    ("dkdv", 64): Tile(32, 32, 8, 1), ("dkdv", 128): Tile(32, 16, 4, 1),
}  # fmt: skip

_KERNELS = {"forward": forward_kernel, "dq": dq_kernel, "dkdv": dkdv_kernel}


def tile_for(kernel: str, width: int, dtype: torch.dtype, P: int, arch: int) -> Tile:
    """The tile of a launch on a CUDA architecture, 80 or 90; none of them spills registers."""
    kind = kernel, max(width, 64)
    if dtype == torch.float32:
        return _EXACT[kind]
    return _SMALL if P <= 32 else _FULL[kind][arch >= 90]


def _arch(x: Tensor) -> int:
    """80 for Ampere and what is like it, 90 for Hopper and later."""
    return 90 if x.is_cuda and torch.cuda.get_device_capability(x.device) >= (9, 0) else 80


def _constants(tile: Tile, width: int, dtype: torch.dtype, P: int, teacher: bool) -> dict[str, Any]:
    return {"D": width, "ROWS": tile.rows, "COLS": tile.cols, "TEACHER": teacher, "RAGGED": P % tile.cols != 0,
            "PRECISION": precision_of(dtype)}


def forward_triton(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, P: int, window: int, sinks: int,
                   teacher: bool, scale: float) -> tuple[Tensor, Tensor]:
    """Output [B, N, H, D] and natural log-sum-exp float32 [B, H, N]."""
    dtype, (q, k, v) = q.dtype, _aligned(q, k, v)
    batch, tokens, heads, width = q.shape
    tile, frames = tile_for("forward", width, q.dtype, P, _arch(q)), tokens // P
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
    tile = tile_for("dq", width, q.dtype, P, _arch(q))
    _launch("dq", tile, (tokens // P * triton.cdiv(P, tile.rows), batch * heads), q,
            (q, k, v, starts, grad, lse, delta, dq, *_strides(q, k, v, grad, dq), *settings),
            _constants(tile, width, q.dtype, P, teacher))
    tile = tile_for("dkdv", width, q.dtype, P, _arch(q))
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
    """Every kind of launch: 16 bits and float32, both widths, whole and ragged tiles, both masks, both tables."""
    cases = [(torch.bfloat16, width, P, teacher) for width in (64, 128) for P, teacher in ((64, False), (20, True))]
    cases += [(torch.float16, 64, 144, True), (torch.float32, 64, 20, True), (torch.float32, 128, 32, False)]
    return [_shipped(kernel, *case, arch) for case in cases for kernel in _KERNELS for arch in (80, 90)]


def _shipped(kernel: str, dtype: torch.dtype, width: int, P: int, teacher: bool, arch: int) -> Shipped:
    tile, exact = tile_for(kernel, width, dtype, P, arch), dtype == torch.float32
    names = {"forward": "q k v out", "dq": "q k v grad dq", "dkdv": "q k v grad dk dv"}[kernel].split()
    types = dict.fromkeys(names, TRITON_TYPES[dtype]) | {"log_scale": "fp32", "scale": "fp32"}
    types |= {"lse": "*fp32", "delta": "*fp32"}
    absent = {"starts": None, "ends": None} if teacher else {}
    types |= {} if teacher else {"starts": "*i32", "ends": "*i32"}
    arguments = _KERNELS[kernel].arg_names
    constants = _constants(tile, width, dtype, P, teacher) | absent
    strides = tuple(name for name in arguments if len(name) == 2 and name[1] in "bnh" and name not in types)
    return Shipped(
        f"{kernel} {str(dtype)[6:]} D={width} P={P}{' teacher' if teacher else ''} sm_{arch}", _KERNELS[kernel],
        {name: kind for name, kind in types.items() if name in arguments},
        {name: value for name, value in constants.items() if name in arguments}, tile.warps, tile.stages,
        matrix=not exact, pipelined=not exact, arches=(arch,), divisible=strides)
