"""Which implementation runs, and what it says about it."""

import pytest
import torch

from kernels import decide


def test_a_cpu_runs_torch_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERNELS", raising=False)
    decision = decide("cpu")
    assert decision.backend == "torch" and "need a CUDA device, these tensors are on cpu" in decision.reason


def test_a_gpu_runs_triton_unless_the_tensors_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.delenv("KERNELS", raising=False)
    assert decide(torch.device("cuda")).backend == "triton"
    assert decide("cuda", "heads are 24 wide") == decide("cuda", "heads are 24 wide")
    assert (decide("cuda", "heads are 24 wide").backend, decide("cuda", "heads are 24 wide").reason) == (
        "torch", "heads are 24 wide")


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", "reference")
    assert decide("cuda").backend == "reference"
    monkeypatch.setenv("KERNELS", "torch")
    assert decide("cuda").backend == "torch"
    monkeypatch.setenv("KERNELS", "triton")
    with pytest.raises(ValueError, match=r"KERNELS=triton cannot be obeyed: .*CUDA device.*unset KERNELS"):
        decide("cpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton")
    assert decide("cpu").backend == "triton"
    monkeypatch.setenv("KERNELS", "fast")
    with pytest.raises(ValueError, match="KERNELS must be reference, torch, triton or auto, got 'fast'"):
        decide("cpu")


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERNELS", raising=False)
    monkeypatch.setattr("kernels.dispatch._installed", lambda: False)
    assert decide("cuda").reason == "triton is not installed"
