"""`python play.py` as a person starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from envs import WorldEnv
from play import PlayConfig, play
from recorders import open_recording

ROOT = Path(__file__).resolve().parent.parent


def start(*args, cwd, **env):
    display = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    without_display = {name: value for name, value in os.environ.items() if name not in display}
    return subprocess.run(
        [sys.executable, str(ROOT / "play.py"), *args],
        cwd=cwd, env={**without_display, **env}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize("driver", [{}, {"SDL_VIDEODRIVER": "dummy"}])
def test_without_a_display_a_script_plays(tiny_world, tmp_path, driver):
    done = start(f"world={tiny_world}", "steps=30", "scale=2", cwd=tmp_path, **driver)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("No display (")
    assert last.startswith("30 steps, p50 ")
    assert "p99" in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["play.gif", "recordings"]
    with Image.open(tmp_path / "play.gif") as gif:
        assert gif.n_frames == 30
        assert gif.size[0] == 160


def test_the_recording_draws_the_same_frames_again(tiny_world, tmp_path):
    start(f"world={tiny_world}", "steps=20", "seed=9", "record=mine", cwd=tmp_path)
    recording = open_recording(tmp_path / "mine")
    episode = recording.episodes[0]
    assert (episode.seed, episode.steps) == (9, 20)
    frames = recording.frames(episode.start, episode.stop)
    env = WorldEnv(str(tiny_world))
    observation, info = env.reset(seed=9)
    assert info["context"] == episode.meta["context"]
    assert recording.meta["world_hash"] == env.world.hash
    assert (episode.arrays()["context_frames"][-1] == observation).all()
    for row, action in enumerate(recording.actions[episode.start : episode.stop - 1]):
        assert (observation == frames[row]).all()
        observation, reward, *_ = env.step(int(action))
        assert reward == recording.rewards[episode.start + row]
    assert (observation == frames[-1]).all()
    assert (recording.extra("latency_ms")[:20] > 0).all()
    assert (recording.extra("input_ms")[:20] >= recording.extra("latency_ms")[:20]).all()


def test_an_agent_plays_in_the_scripts_stead(tiny_world, tmp_path):
    (tmp_path / "mine.py").write_text("def policy(frame):\n    assert frame.shape == (104, 80, 3)\n    return 5\n")
    done = start(f"world={tiny_world}", "steps=4", "agent=mine:policy", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "mine:policy plays 4 steps" in done.stdout
    (folder,) = (tmp_path / "recordings").iterdir()
    recording = open_recording(folder)
    assert recording.actions[:4].tolist() == [5, 5, 5, 5]
    assert recording.meta["behaviours"][int(recording.extra("actor")[0])] == "agent"


def test_an_agent_that_is_not_there_is_named(tiny_world, tmp_path):
    done = start(f"world={tiny_world}", "agent=not_mine:policy", cwd=tmp_path)
    assert done.returncode == 2
    assert "agent=not_mine:policy cannot be found" in done.stderr


def test_a_script_plays_on_when_a_game_ends(ending_world, tmp_path):
    done = start(f"world={ending_world}", "steps=5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "recordings").glob("Ending-v0-*")
    recording = open_recording(folder)
    assert [episode.seed for episode in recording.episodes] == [0, 1, 2, 3, 4]
    assert [episode.steps for episode in recording.episodes] == [1] * 5


def test_an_unknown_world_ends_with_one_line_and_status_2(tmp_path):
    done = start("world=Pang-v0", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"play\.py: no world 'Pang-v0': expected one of the shipped worlds .*\n", done.stderr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0.0}, "fps must be above 0, got 0"),
        ({"scale": 0}, "scale must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"keys": "j"}, "keys must be like 'keys={j: LEFT, m: pause}', in quotes, got 'j'"),
        ({"passes": 0}, "passes must be None or an integer of at least 1, got 0"),
        ({"dtype": "int8"}, "precision must be auto, bf16 or fp32, got 'int8'"),
        ({"record": "taken"}, "taken is a file; a recording needs a folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(tiny_world, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match=re.escape(message)):
        play(PlayConfig(world=str(tiny_world), **options))


def test_a_misspelt_option_is_named(tmp_path):
    done = start("wrld=Pong-v0", cwd=tmp_path)
    assert done.returncode != 0
    assert "wrld" in done.stderr
    assert "Traceback" not in done.stderr
