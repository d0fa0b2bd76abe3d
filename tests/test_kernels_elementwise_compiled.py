"""The fused elementwise kernels as binaries for GPUs that need not be there."""

import pytest

pytest.importorskip("triton")


from compiling import SHARED_LIMIT, build, build_for_amd

from kernels import modulate_triton, qk_norm_triton
from kernels.launch import Shipped

CASES = [*modulate_triton.shipped(), *qk_norm_triton.shipped()]


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_spills(case: Shipped, arch: int) -> None:
    binary = build(case, arch)
    assert (binary.stack, binary.local) == (0, 0), f"{binary.registers} registers"
    assert binary.shared <= SHARED_LIMIT[arch]


def test_amd_too() -> None:
    assert "s_endpgm" in build_for_amd(qk_norm_triton.shipped()[0])
