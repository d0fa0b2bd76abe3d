"""Every shipped configuration of frame_attention as a binary for GPUs that are not here."""

import pytest

pytest.importorskip("triton")

from compiling import SHARED_LIMIT, build, build_for_amd

from kernels.frame_attention_launch import shipped
from kernels.launch import Shipped


@pytest.mark.parametrize("case", shipped(), ids=lambda case: case.name)
def test_a_launch_stays_in_registers_and_uses_the_chip(case: Shipped) -> None:
    (arch,) = case.arches
    binary = build(case, arch)
    assert (binary.stack, binary.local) == (0, 0), f"{binary.registers} registers"
    assert binary.shared <= SHARED_LIMIT[arch]
    assert binary.uses_tensor_cores or not case.matrix
    assert binary.copies_asynchronously or not case.pipelined


def test_amd_too() -> None:
    assert "v_mfma" in build_for_amd(shipped()[0])
