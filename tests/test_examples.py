"""The example scripts call what exists, with settings that exist."""

import subprocess
import sys
from pathlib import Path
from shutil import copy

import pytest

ROOT = Path(__file__).resolve().parent.parent

STAND_IN = """#!/usr/bin/env bash
echo "$2" >> calls
for word in "$@"; do case $word in out=data/*) mkdir -p "${{word#out=}}" ;; esac; done
exec {python} "$@" --cfg job > /dev/null
"""
"""in place of python: every command has its settings read, and is not run"""


def make_world(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "examples").mkdir(exist_ok=True)
    script = copy(ROOT / "examples/make_world.sh", folder / "examples")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    return subprocess.run(["bash", script, *words], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
                          timeout=300)


DISTILLED = ["world_model.train", "world_model.distill", "world_model.distill", "benchmarks.samplers",
             "world_model.calibrate"]
ON_TOKENS = ["world_model.train_vae", "world_model.train"]


@pytest.mark.slow
@pytest.mark.parametrize(("game", "recorded", "made_by", "world"), [
    ("Pong", ["recorders.collect"], DISTILLED, "calibrated"),
    ("Breakout", ["recorders.collect"], DISTILLED, "calibrated"),
    ("Doom", ["recorders.collect"], ON_TOKENS, "world"),
    ("CarRacing", ["recorders.collect"], ON_TOKENS, "world"),
    ("PongBreakout", ["recorders.collect", "recorders.collect", "recorders.merge"], ["world_model.train"], "world"),
])  # fmt: skip
def test_a_world_is_made_by_commands_that_exist(tmp_path: Path, game: str, recorded: list[str], made_by: list[str],
                                                world: str) -> None:
    made = make_world(tmp_path, game, "trainer.steps=100")
    assert made.returncode == 0, made.stderr
    calls, done = tmp_path / "calls", [*recorded, *made_by]
    assert calls.read_text().split() == [*done, *["world_model.evaluate"] * (2 if game == "PongBreakout" else 1)]
    assert (tmp_path / "data" / game.lower()).is_dir() and f"world=runs/{game.lower()}/{world}" in made.stdout
    begun = len(calls.read_text().split())
    wrong = make_world(tmp_path, game, "trainer.no_such=1")
    assert wrong.returncode != 0 and "no_such" in wrong.stderr
    again = calls.read_text().split()[begun:]  # what is recorded is not recorded again
    assert again == made_by[: made_by.index("world_model.train") + 1]


def test_a_game_without_settings_is_named(tmp_path: Path) -> None:
    refused = make_world(tmp_path, "Chess")
    assert refused.returncode == 2 and "no settings for Chess; there are Pong, Breakout" in refused.stderr
