"""Kernels of the ring cache and of attention to it, compiled for GPUs that are not there."""

import re
from dataclasses import replace

import pytest

pytest.importorskip("triton")

from compiling import SHARED_LIMIT, build, build_for_amd

from kernels import ring_triton, window_attention_triton
from kernels.launch import Shipped

CASES = ring_triton.shipped() + window_attention_triton.shipped()
pytestmark = pytest.mark.slow


def test_names_are_unique_and_few() -> None:
    assert len({case.name for case in CASES}) == len(CASES) <= 14


@pytest.mark.parametrize("arch", sorted(SHARED_LIMIT))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_spills_and_the_units_meant_for_it_work(case: Shipped, arch: int) -> None:
    if arch not in case.arches:
        pytest.skip(f"not chosen on sm_{arch}")
    binary = build(case, arch)
    assert binary.stack == 0 and binary.local == 0, f"{binary.registers} registers, {binary.stack} bytes of stack"
    assert binary.shared <= SHARED_LIMIT[arch]
    assert binary.uses_tensor_cores or not case.matrix
    assert binary.copies_asynchronously or not case.pipelined


def test_one_is_built_for_amd() -> None:
    case = next(case for case in CASES if case.name == "window-bf16-i8-64-64-rope")
    assembly = build_for_amd(replace(case, name="amd"))
    assert "v_mfma" in assembly and re.findall(r"\.vgpr_spill_count:\s*(\d+)", assembly) == ["0"]
