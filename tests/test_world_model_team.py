"""Several processes that train one world: the same curve as one alone, whoever goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_world_model_train import ROOT, command, config, weights
from world_model.error_bank import ErrorBankConfig
from world_model.team import Team
from world_model.train import train
from world_model.train_config import TrainConfig

ALIKE = {"own_after": 0.0, "own_share": 0.6, "accumulate": 4, "precision": "fp32",
         "errors": ErrorBankConfig(size=4, bins=2, clean=0.0)}


def alone(data: Path, out: Path, steps: int, **changes: Any) -> TrainConfig:
    """A run whose every step is shared out in four parts, without a schedule that depends on its length."""
    settings = config(data, out, steps=steps, **(ALIKE | changes))
    settings.trainer.optimizer.decay = 0.0
    return settings


def together(data: Path, out: Path, steps: int, *more: str) -> None:
    """The same by two processes, two parts each."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "world_model.train",
         *command(data, out, f"trainer.steps={steps}", "trainer.own_after=0.0", "trainer.own_share=0.6",
                  "trainer.optimizer.decay=0.0", "trainer.accumulate=2", "trainer.errors.size=4",
                  "trainer.errors.bins=2", "trainer.errors.clean=0.0", *more)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def curve(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def assert_alike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert [line["step"] for line in one] == [line["step"] for line in other]
    for a, b in zip(one, other, strict=True):
        assert a["mode"] == b["mode"]
        for name in ("loss", "nearby", "grad_norm"):
            assert a[name] == pytest.approx(b[name], rel=2e-3, abs=1e-5), (name, a["step"])


@pytest.mark.slow
def test_one_process_then_two_then_one_give_the_curve_of_one(data: Path, tmp_path: Path) -> None:
    train(alone(data, tmp_path / "one", 12))
    train(alone(data, tmp_path / "many", 4))
    together(data, tmp_path / "many", 8)
    train(alone(data, tmp_path / "many", 12))
    assert_alike(curve(tmp_path / "one"), curve(tmp_path / "many"))
    for name, tensor in weights(tmp_path / "one").items():
        assert torch.allclose(tensor, weights(tmp_path / "many")[name], atol=2e-4), name
    assert len(list((tmp_path / "many").glob("strip-*.png"))) == len(list((tmp_path / "one").glob("strip-*.png"))) + 2


@pytest.mark.slow
def test_processes_with_a_share_of_every_tensor_give_the_curve_of_one(data: Path, tmp_path: Path) -> None:
    train(alone(data, tmp_path / "one", 6))
    train(alone(data, tmp_path / "many", 2))
    together(data, tmp_path / "many", 4, "trainer.parallel=fsdp", "trainer.checkpointing=true")
    train(alone(data, tmp_path / "many", 6))
    assert_alike(curve(tmp_path / "one"), curve(tmp_path / "many"))
    assert all(weights(tmp_path / "one")[name].shape == p.shape for name, p in weights(tmp_path / "many").items())


def test_one_process_is_a_team_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team, device = Team.join("cpu")
    assert (team.rank, team.size, team.leads, device) == (0, 1, True, torch.device("cpu"))
    assert team.gather("x") == ["x"]
    team.wait()
    team.leave()
