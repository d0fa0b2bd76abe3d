"""Tensors with NaN on all sides: a kernel that reads or writes outside of them is found out."""

import torch
from torch import Tensor

GUARD = 512
"""elements before and after"""


def guarded(x: Tensor) -> tuple[Tensor, Tensor]:
    """A copy of contiguous floating `x` inside a larger buffer of NaN, and that buffer."""
    buffer = torch.full((x.numel() + 2 * GUARD,), float("nan"), dtype=x.dtype)
    inside = buffer[GUARD : GUARD + x.numel()].view(x.shape)
    inside.copy_(x)
    return inside, buffer


def unharmed(buffer: Tensor) -> bool:
    """Whether nothing was written to the guards."""
    return bool(buffer[:GUARD].isnan().all() and buffer[-GUARD:].isnan().all())


def relative_rms(got: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference over that of what is wanted, in float64.

    What is wanted counts as 0.1 at least, and as 1 where it is zero throughout: inputs are of that size.
    """
    got, wanted = got.detach().double(), wanted.detach().double()
    size = float(wanted.square().mean().sqrt())
    return float((got - wanted).square().mean().sqrt()) / (max(size, 0.1) if size > 1e-12 else 1.0)
