"""`python -m recorders.replay`: the same bytes again, from a person's session and from a vector of agents."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

import foreframe
from envs import WorldEnv, play_scripted
from recorders import RecordVectorEpisodes, open_recording
from recorders.playback import Playhead, watch
from recorders.replay import ReplayConfig, replay

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments, cwd) -> subprocess.CompletedProcess:
    env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy", "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, "-m", "recorders.replay", *arguments], cwd=cwd, env=env,
                          capture_output=True, text=True, check=False)  # fmt: skip


@pytest.fixture(scope="module")
def session(tiny_world, tmp_path_factory) -> Path:
    """What the player records."""
    folder = tmp_path_factory.mktemp("session")
    play_scripted(WorldEnv(str(tiny_world)), steps=12, film=folder / "film.gif", record=folder / "mine", seed=3)
    return folder / "mine"


def test_a_session_of_the_player_replays_bit_for_bit_in_another_process(session, tmp_path):
    done = command(f"path={session}", cwd=tmp_path)
    assert "1 of 1 episodes are the same, bit for bit (12 steps compared)" in done.stdout, done.stderr
    assert done.returncode == 0


def test_agents_in_a_vector_of_worlds_replay_bit_for_bit(tiny_world, tmp_path, capsys):
    envs = gymnasium.make_vec(foreframe.ANY_WORLD, num_envs=2, vectorization_mode="sync", world=str(tiny_world))
    envs = RecordVectorEpisodes(envs, tmp_path / "agents")
    envs.reset(seed=4)
    for t in range(8):
        envs.step(np.array([t % 6, 2]))
    envs.close()
    assert replay(ReplayConfig(path=str(tmp_path / "agents")))
    assert "2 of 2 episodes are the same, bit for bit (16 steps compared)" in capsys.readouterr().out


def test_a_changed_world_is_named_with_the_first_step_that_differs(session, other_world, tmp_path):
    done = command(f"path={session}", f"world={other_world}", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "note: the world was" in done.stdout
    assert "differs at step 0: observation differs in" in done.stdout
    recorded = np.asarray(Image.open(tmp_path / "replay-difference/recorded.png"))
    found = np.asarray(Image.open(tmp_path / "replay-difference/found.png"))
    assert (recorded == open_recording(session).frames(1, 2)[0]).all()
    assert (recorded != found).any()


def test_a_branch_is_a_recording_of_its_own_that_replays(session, tmp_path, capsys):
    assert replay(ReplayConfig(path=str(session), branch=5, actions=[2, 2, 3], out=str(tmp_path / "branch")))
    old, new = open_recording(session), open_recording(tmp_path / "branch")
    assert new.episodes[0].steps == 8
    assert new.meta["branch_of"] == {"episode": old.episodes[0].id, "step": 5}
    assert (new.read(0).observations[:6] == old.read(0).observations[:6]).all()
    assert new.read(0).actions[5:].tolist() == [2, 2, 3]
    assert replay(ReplayConfig(path=str(tmp_path / "branch")))
    capsys.readouterr()


def test_an_episode_becomes_a_film(session, tmp_path):
    assert replay(ReplayConfig(path=str(session), film=str(tmp_path / "film.gif")))
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 13


def test_an_episode_is_shown_in_a_window(session, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    import pygame

    recording, shown = open_recording(session), []
    head = Playhead(13, 960.0)

    def note(place):
        shown.append(pygame.display.get_surface() and place)
        if place == 12:
            head.press("q")
        return f"at {place}"

    watch(recording.frames(0, 13), head, note, scale=2)
    assert shown == list(range(13))


def test_a_playhead_does_what_keys_say():
    head = Playhead(5, 10.0)
    head.tick()
    assert head.place == 1
    head.press("left"), head.press("left"), head.tick()
    assert (head.place, head.paused) == (0, True)
    head.press("right"), head.press("space"), head.tick()
    assert (head.place, head.paused) == (2, False)
    for _ in range(9):
        head.tick()
    assert head.place == 4
    head.press("up"), head.press("home"), head.press("f5")
    assert (head.fps, head.place, head.quit) == (20.0, 0, False)
    head.press("down"), head.press("escape")
    assert (head.fps, head.quit) == (10.0, True)
    assert "0 of 4" in head.line("x")


def test_bad_input_ends_with_one_line_and_code_2(session, tmp_path):
    for arguments, message in [
        (["path=nowhere"], "is not a recording"),
        ([f"path={session}", "episode=7"], "episode 7 asked for"),
        ([f"path={session}", "branch=2"], "a branch needs the actions"),
        ([f"path={session}", "window=true", "film=a.gif"], "ask for one"),
        ([f"path={session}", "branch=99", "actions=[1]", "out=x"], "branch at step 99"),
    ]:
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert "Traceback" not in done.stderr
