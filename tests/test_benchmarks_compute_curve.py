"""The curve against compute: a column per world of a run, measured from the same situations."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compute_curve import cost, table
from tests.test_world_model_train import config
from world_model import load_world
from world_model.flops import training_flops
from world_model.train import train


def test_every_exported_world_is_kept_and_knows_its_cost(data: Path, tmp_path: Path) -> None:
    settings = config(data, tmp_path, steps=3, report_seconds=0.0)
    settings.keep = True
    train(settings)
    kept = sorted(folder.name for folder in (tmp_path / "worlds").iterdir())
    assert kept == ["0000001", "0000002", "0000003"]
    world = load_world(tmp_path / "worlds" / "0000002")
    assert cost(world) == (2, 2 * training_flops(world.model.config, 4, 4))


def test_the_table_has_a_column_per_world_and_a_row_per_figure() -> None:
    lines = table([("a", 1, 1e15, {"psnr 8": "30"}), ("b", 20_000, float("nan"), {"psnr 8": "31", "ssim 8": "1"})])
    assert lines.splitlines()[2:] == ["| steps | 1 | 20,000 |", "| 10^15 FLOP | 1.00 | nan |",
                                      "| psnr 8 | 30 | 31 |", "| ssim 8 |  | 1 |"]


@pytest.mark.slow
def test_a_run_of_the_real_game_is_measured(tiny_world: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.compute_curve", f"run={tmp_path}", f"beside=[{tiny_world}]",
               "starts=2", "horizon=8", "still=9"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert found.returncode == 0, found.stderr
    assert "| paddle_px 8 |" in found.stdout and "| passes, still | 2, 9 |" in found.stdout
    assert (tmp_path / "compute_curve.md").read_text() in found.stdout
    empty = subprocess.run(command[:4], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert empty.returncode == 1 and "train with keep=true" in empty.stderr and "Traceback" not in empty.stderr
