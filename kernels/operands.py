"""What fused elementwise operators ask of the tensors they are given."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from .dispatch import decide


def require_floating(**tensors: Tensor) -> None:
    """Check that all tensors are floating and on the device of the first.

    Raises:
        ValueError: if one is not; it is named.
    """
    device = next(iter(tensors.values())).device
    for name, x in tensors.items():
        if not x.is_floating_point():
            raise ValueError(f"{name} must be of a floating dtype, got {x.dtype}")
        if x.device != device:
            raise ValueError(f"{name} must be on {device} like the others, got {x.device}")


def result_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype that torch's arithmetic would promote tensors of these to."""
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def wide(dtype: torch.dtype) -> torch.dtype:
    """What to compute in: float32, or float64 where that was given."""
    return torch.promote_types(dtype, torch.float32)


def unfit_dtype(*tensors: Tensor) -> str:
    """Why a triton kernel cannot take tensors of these dtypes; empty if it can."""
    for x in tensors:
        if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            return f"no triton kernel computes in {x.dtype}"
    return ""


def rows_of(x: Tensor) -> Tensor:
    """The same values with adjacent elements in the last axis; other strides stay as they are."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def composed_eagerly(device: torch.device, unfit: str) -> bool:
    """Whether torch's own operators shall be called as they are, gradients included.

    On small worlds a custom operator costs a CPU more than what it computes: 25 microseconds each, 50 with gradients.
    A compiled graph keeps the operator, whose choice is made when it runs.
    """
    return not torch.compiler.is_compiling() and decide(device, unfit).backend == "torch"


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Operators below compute in the dtypes they are given."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
