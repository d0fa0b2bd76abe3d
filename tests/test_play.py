"""`python play.py` as a person starts it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from envs import WorldEnv
from recorders import open_recording

ROOT = Path(__file__).resolve().parent.parent


def start(*args, cwd, **env):
    without_display = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")}
    return subprocess.run(
        [sys.executable, str(ROOT / "play.py"), *args],
        cwd=cwd, env={**without_display, **env}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("driver", [{}, {"SDL_VIDEODRIVER": "dummy"}])
def test_without_a_display_a_script_plays(tiny_world, tmp_path, driver):
    done = start(f"world={tiny_world}", "steps=30", "scale=2", cwd=tmp_path, **driver)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("No display (")
    assert "play.gif" in done.stdout
    assert "p50" in rest[-1]
    assert "p99" in rest[-1]
    assert not done.stderr
    with Image.open(tmp_path / "play.gif") as gif:
        assert gif.n_frames == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["play.gif", "recordings"]
