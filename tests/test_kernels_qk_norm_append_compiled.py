"""The kernel that norms, rotates and appends, as binaries for GPUs that need not be there."""

import pytest

pytest.importorskip("triton")

from dataclasses import replace

from compiling import SHARED_LIMIT, build, build_for_amd

from kernels.launch import Shipped
from kernels.qk_norm_append_triton import shipped


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("case", shipped(), ids=lambda case: case.name)
def test_nothing_spills(case: Shipped, arch: int) -> None:
    binary = build(case, arch)
    assert (binary.stack, binary.local) == (0, 0), f"{binary.registers} registers"
    assert binary.shared <= SHARED_LIMIT[arch]


def test_sizes_of_one_become_constants() -> None:
    """As a launch makes them: one token, one head, one slot, a sink."""
    ones = dict.fromkeys(("rows", "N", "P", "R", "Hq", "Hkv", "capacity", "sinks"), 1)
    for case in shipped()[1:3]:
        assert build(replace(case, constants=case.constants | ones), 90).stack == 0


def test_amd_too() -> None:
    assert "s_endpgm" in build_for_amd(shipped()[2])
