"""The notebook of the examples opens a recording with plain zarr and xarray and draws it."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

import foreframe
from recorders import RecordEpisodes

FILE = Path(__file__).resolve().parent.parent / "examples/look_at_recording.py"
pytest.importorskip("xarray")
pytest.importorskip("matplotlib")


def look(where: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(FILE), *words], capture_output=True, text=True, cwd=where,
                          env={**os.environ, "PYTHONPATH": str(FILE.parent.parent)}, timeout=300)


def test_a_recording_is_drawn(tmp_path, small_world):
    env = RecordEpisodes(gym.make(foreframe.ANY_WORLD, world=small_world, max_episode_steps=9), tmp_path / "mine")
    for seed in range(2):
        env.reset(seed=seed)
        while not any(env.step(env.action_space.sample())[2:4]):
            pass
    env.close()
    found = look(tmp_path, "mine")
    assert found.returncode == 0, found.stderr
    assert "2 episodes of [9, 9] steps" in found.stdout and "'frames': ((20, 16, 20, 3), 'uint8')" in found.stdout
    assert (tmp_path / "recording.png").stat().st_size > 5000


def test_where_there_is_none_it_says_so(tmp_path):
    found = look(tmp_path, "nothing")
    assert found.returncode != 0 and "there is no folder nothing" in found.stderr
