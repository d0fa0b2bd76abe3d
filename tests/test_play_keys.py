"""`python play.py` on a virtual display, with real keys; what is on the screen is compared with what was recorded."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recorders import open_recording
from recorders.replay import ReplayConfig, replay

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("Xvfb", "xdotool", "import")
SCALE = 4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"),
]


class Person:
    """Somebody in front of a display."""

    def __init__(self, display: str, folder: Path) -> None:
        self.env = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
        self.env.pop("SDL_VIDEODRIVER", None)
        self.folder = folder

    def do(self, *words: str) -> str:
        done = subprocess.run(["xdotool", *words], env=self.env, capture_output=True, text=True, timeout=20)
        return done.stdout.strip()

    def hold(self, key: str, seconds: float) -> None:
        self.do("keydown", key)
        time.sleep(seconds)
        self.do("keyup", key)
        time.sleep(0.5)

    def press(self, key: str, wait: float = 1.0) -> None:
        self.do("key", key)
        time.sleep(wait)

    def waits_for(self, title: str) -> None:
        """Two minutes at most: importing torch takes long on a busy machine."""
        for _ in range(480):
            if self.do("getwindowfocus", "getwindowname") == title:
                break
            time.sleep(0.25)
        time.sleep(1)

    def sees(self, shape: tuple[int, ...]) -> np.ndarray:
        """The frame that is on the screen, uint8 [H, W, 3]."""
        window = self.do("getwindowfocus")
        file = self.folder / "shot.png"
        subprocess.run(["import", "-window", window, f"PNG24:{file}"], env=self.env, check=True, timeout=20)
        shot = np.asarray(Image.open(file).convert("RGB"))
        return shot[SCALE // 2 : shape[0] * SCALE : SCALE, SCALE // 2 : shape[1] * SCALE : SCALE]


@contextmanager
def killed(process):
    """The process does not outlive what is done with it."""
    try:
        yield
    finally:
        process.kill()


@pytest.fixture
def display():
    number = f":{60 + os.getpid() % 900}"
    server = subprocess.Popen(["Xvfb", number, "-screen", "0", "1024x768x24"], stderr=subprocess.DEVNULL)
    time.sleep(1)
    yield number
    server.terminate()
    server.wait()


def test_a_person_plays_goes_back_in_time_and_plays_on(display, tiny_world, tmp_path, capsys):
    person = Person(display, tmp_path)
    options = [f"world={tiny_world}", "fps=5", f"scale={SCALE}", "seed=3", "record=mine"]
    with subprocess.Popen([sys.executable, str(ROOT / "play.py"), *options], cwd=tmp_path, env=person.env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as game, killed(game):  # fmt: skip
        person.waits_for(f"Foreframe {tiny_world.name}")
        person.hold("Up", 2)
        person.press("p")
        shape = (104, 80, 3)
        paused = person.sees(shape)
        person.hold("BackSpace", 4)
        back = person.sees(shape)
        person.press("p", 2)
        person.press("p")
        on = person.sees(shape)
        person.press("Escape")
        out, err = game.communicate(timeout=60)
    assert game.returncode == 0 and not err, err
    assert "steps, p50" in out
    recording = open_recording(tmp_path / "mine")
    first, second = recording.episodes
    frames = [recording.frames(episode.start, episode.stop) for episode in (first, second)]
    assert (paused == frames[0][-1]).all()  # what was on the screen is what was recorded
    assert (back == frames[0][0]).all() and (back == frames[1][0]).all()
    assert (on == frames[1][-1]).all() and second.steps > 0
    assert second.meta["branch_of"] == {"episode": first.id, "step": 0}
    assert 2 in recording.actions[first.start : first.stop]
    assert 2 not in recording.actions[second.start : second.stop]
    assert replay(ReplayConfig(path=str(tmp_path / "mine")))
    assert "2 of 2 episodes are the same, bit for bit" in capsys.readouterr().out


def test_a_world_is_chosen_in_a_window_and_played(display, tmp_path):
    person = Person(display, tmp_path)
    words = [sys.executable, str(ROOT / "play.py"), "fps=2", "keys={j: LEFT}"]
    with subprocess.Popen(words, cwd=tmp_path, env=person.env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as game, killed(game):  # fmt: skip
        person.waits_for("Foreframe")
        person.press("Return", 0)
        person.waits_for("Foreframe Pong-v0")
        person.hold("j", 3)
        person.press("o")
        person.press("Escape")
        out, err = game.communicate(timeout=120)
    assert game.returncode == 0 and not err, err
    assert "The recording is in recordings/Pong-v0-" in out
    (folder,) = (tmp_path / "recordings").iterdir()
    recording = open_recording(folder)
    assert 3 in recording.actions[recording.episodes[0].start : recording.episodes[0].stop]
