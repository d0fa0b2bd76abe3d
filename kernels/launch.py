"""How triton kernels are launched: tile sizes, and what every launch needs. Imported only where triton is."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .dispatch import interpreting

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # triton 3.10 changes its default; results shall not

LOG2E = 1.4426950408889634

TRITON_TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int8: "*i8",
                torch.int32: "*i32", torch.int64: "*i64"}


@dataclass(frozen=True)
class Tile:
    """Rows of queries, rows of keys, warps and pipeline stages of one launch."""

    rows: int
    cols: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Shipped:
    """One configuration that may run on a GPU: what a test compiles without one."""

    name: str
    kernel: Any
    """the @triton.jit function"""
    types: dict[str, str]
    """type of every argument that is not an int or a constexpr: pointers "*bf16", "fp32" """
    constants: dict[str, Any]
    """value of every constexpr, None for pointers that are absent"""
    warps: int
    stages: int
    matrix: bool = False
    """whether tensor cores must be in use"""
    pipelined: bool = False
    """whether loads of the main loop must be asynchronous copies"""
    arches: tuple[int, ...] = (80, 90)
    """CUDA architectures it is chosen on"""
    divisible: tuple[str, ...] = ()
    """int arguments that are multiples of 16 whenever tiles are full: strides"""


def launchable(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors as a launch may read them: the interpreter computes nonsense on bfloat16, so there they are float32."""
    if not interpreting():
        return tensors
    return tuple(x.float() if x.dtype == torch.bfloat16 else x for x in tensors)


def precision_of(dtype: torch.dtype) -> str:
    """How products are taken: float32 exactly, unless torch is told that TensorFloat-32 will do."""
    exact = dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"
    return "ieee" if exact else "tf32"


def with_device(x: Tensor, launch: Callable[[], None]) -> None:
    """Launch on the device that holds `x`, whichever is current."""
    if x.is_cuda:
        with torch.cuda.device(x.device):
            launch()
    else:
        launch()
