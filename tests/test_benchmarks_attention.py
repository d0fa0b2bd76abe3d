"""benchmarks.attention: what it counts, that every way computes the same, and its report."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.attention import AttentionConfig, error, run
from benchmarks.attention_cases import Case, cpu_cases, gpu_cases
from benchmarks.contenders import CONTENDERS, Absent, Inputs
from benchmarks.surroundings import rows as surroundings

CASES = [
    Case(name="clip", kind="train", batch=1, frames=4, P=3, heads=2, width=8, window=2, sinks=1),
    Case(name="copies", kind="teacher", batch=1, frames=3, P=3, heads=2, width=8, window=2),
    Case(name="flight", kind="window", batch=2, frames=2, P=3, heads=2, width=8, cached=4, rope=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_way_computes_the_same_but_the_one_that_sees_all(case: Case) -> None:
    given = Inputs.of(case, torch.device("cpu"), torch.float32)
    for name, build in CONTENDERS.items():
        try:
            found = error(given, build(given)())
        except Absent:
            assert name.startswith(("flex", "varlen", "re-rope"))
            continue
        assert (found < 1e-5) == (name != "sdpa, all"), name


def test_costs_are_those_of_visible_pairs() -> None:
    clip = CASES[0]
    assert clip.flops() == 4 * 8 * 2 * 9 * 9  # frames see 1, 2, 3 and 3 frames
    assert clip.nbytes(4) == 4 * 4 * (4 * 3 * 2 * 8)
    assert CASES[2].flops() == 4 * 8 * 2 * 2 * 9 * (5 + 6)
    assert Case(name="", kind="window", batch=1, frames=1, P=2, heads=1, width=4, cached=3, int8=True).nbytes(2) == (
        4 * 8 * 2 + 2 * 3 * 8)
    for case in gpu_cases() + cpu_cases():
        assert case.flops() > 0


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("benchmarks.attention.cpu_cases", lambda: CASES)
    run(AttentionConfig(device="cpu", seconds=0.01, only="cl", out=str(tmp_path)))
    report = json.loads((tmp_path / "attention.json").read_text())
    assert [row["case"]["name"] for row in report["rows"]] == ["clip"]
    assert report["rows"][0]["ours"]["p50_ms"] > 0 and "absent" in report["rows"][0]["flex"]
    assert (tmp_path / "attention.png").stat().st_size > 1000
    assert "ours: torch (triton kernels need a CUDA device" in capsys.readouterr().out


def test_every_row_around_attention_runs() -> None:
    names = []
    for row in surroundings(torch.device("cpu"), torch.float32):
        names.append(row.name[:2])
        for way in row.ways.values():
            way()
        assert row.nbytes > 0 and "ours" in row.ways
    assert names == ["E1", "E2", "E2", "I8", "M1"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="torch finds no CUDA device; use device=cpu"):
        AttentionConfig(device="cuda")
