"""Rotary positions: the definition, and that only differences matter."""

import pytest
import torch
from torch import Tensor

from kernels import apply_rope, apply_rope_reference, axial_angles, rotation_tables


def test_rotation_depends_on_differences_only() -> None:
    q, k = torch.randn(2, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def product(shift: float) -> Tensor:
        places = torch.tensor([[0.0, 1, 2], [3, 0, 1], [5, 2, 2]])
        angles = axial_angles(places + shift, [2, 3, 3]).double()
        rotated = [apply_rope(x, *rotation_tables(angles)) for x in (q, k)]
        assert torch.allclose(rotated[0], apply_rope_reference(q, angles), atol=1e-12)
        return rotated[0] @ rotated[1].T

    assert torch.allclose(product(0.0), product(7.0), atol=1e-5)
    assert not torch.allclose(product(0.0), q @ k.T, atol=1e-3)


def test_positions_have_one_entry_per_axis() -> None:
    with pytest.raises(ValueError, match=r"positions must end in 3 axes, got \[4, 2\]"):
        axial_angles(torch.zeros(4, 2), [2, 3, 3])
