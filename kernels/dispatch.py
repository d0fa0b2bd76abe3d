"""Which implementation of a kernel runs: decided here alone, and said why.

Three exist of each: `reference`, the definition, slow and obviously right; `torch`, composed of torch's own operators,
the fast one on a CPU; `triton`, ours, for GPUs. The environment variable KERNELS=reference, torch or triton overrides
the choice. With TRITON_INTERPRET=1 (set before anything is imported) triton kernels run on a CPU, slowly: for tests.
"""

import functools
import importlib.util
import os
from dataclasses import dataclass

import torch

BACKENDS = ("reference", "torch", "triton")


@dataclass(frozen=True)
class Decision:
    """What runs, and why."""

    backend: str
    """one of BACKENDS"""
    reason: str


def decide(device: torch.device | str, unfit: str = "") -> Decision:
    """Choose the implementation for tensors on `device`.

    Args:
        device: where the tensors are.
        unfit: why the triton kernel cannot take these tensors (a head width it has no tile for, say); empty if it can.

    Raises:
        ValueError: if KERNELS names no implementation, or asks for triton where it cannot run.
    """
    wish = os.environ.get("KERNELS", "auto") or "auto"
    if wish not in ("auto", *BACKENDS):
        raise ValueError(f"KERNELS must be reference, torch, triton or auto, got {wish!r}")
    if wish in ("reference", "torch"):
        return Decision(wish, f"KERNELS={wish}")
    obstacle = unfit or _obstacle(torch.device(device).type)
    if wish == "triton":
        if obstacle:
            raise ValueError(f"KERNELS=triton cannot be obeyed: {obstacle}; unset KERNELS")
        return Decision("triton", "KERNELS=triton")
    if obstacle:
        return Decision("torch", obstacle)
    return Decision("triton", "triton kernels fit these tensors")


def interpreting() -> bool:
    """Whether triton kernels run in triton's interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _obstacle(device: str) -> str:
    """Why no triton kernel runs on such a device; empty if one does."""
    if device != "cuda" and not interpreting():
        return f"triton kernels need a CUDA device, these tensors are on {device}"
    return "" if _installed() else "triton is not installed"


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None
