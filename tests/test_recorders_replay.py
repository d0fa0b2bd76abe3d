"""`python -m recorders.replay`: the same bytes again, from a person's session and from a vector of agents."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from PIL import Image

import foreframe
from envs import WorldEnv, WorldVectorEnv, play_scripted
from recorders import RecordEpisodes, RecordVectorEpisodes, make_recorded_env, open_recording
from recorders.playback import Playhead, watch
from recorders.replay import ReplayConfig, replay, replay_all

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


def test_a_replay_has_as_many_threads_as_there_were(tiny_world, tmp_path, capsys):
    before = torch.get_num_threads()
    try:
        for threads, other in ((1, 2), (2, 1)):
            torch.set_num_threads(threads)
            env = RecordEpisodes(WorldEnv(str(tiny_world)), tmp_path / str(threads))
            env.reset(seed=1)
            for action in (0, 1, 2):
                env.step(action)
            env.close()
            torch.set_num_threads(other)
            assert replay(ReplayConfig(path=str(tmp_path / str(threads)))) and torch.get_num_threads() == other
            assert "note:" not in capsys.readouterr().out
    finally:
        torch.set_num_threads(before)


def test_agents_in_a_vector_of_worlds_replay_bit_for_bit(tiny_world, tmp_path, capsys):
    envs = gymnasium.make_vec(foreframe.ANY_WORLD, num_envs=2, vectorization_mode="sync", world=str(tiny_world))
    envs = RecordVectorEpisodes(envs, tmp_path / "agents")
    envs.reset(seed=4)
    for t in range(8):
        envs.step(np.array([t % 6, 2]))
    envs.close()
    assert replay(ReplayConfig(path=str(tmp_path / "agents")))
    assert "2 of 2 episodes are the same, bit for bit (16 steps compared)" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("observations", [{}, {"grayscale": True, "size": [8, 10], "frame_stack": 2}])
def test_a_vector_that_draws_all_worlds_at_once_is_recorded_and_lived_again(small_world, tmp_path, mode, observations):
    """In a batch of one, where the single environment rounds alike: bit for bit."""
    envs = gymnasium.make_vec(foreframe.ANY_WORLD, num_envs=1, world=small_world, max_episode_steps=4, dtype="fp32",
                              autoreset_mode=AutoresetMode(mode), **observations)  # fmt: skip
    assert type(envs) is WorldVectorEnv
    envs = RecordVectorEpisodes(envs, tmp_path / "agents")
    envs.reset(seed=4)
    for t in range(11):
        ended = envs.step(np.array([t % 6]))[3]
        if mode == "Disabled" and ended.any():
            envs.reset(options={"reset_mask": ended})
    envs.close()
    recording = open_recording(tmp_path / "agents")
    assert recording.meta["world_hash"] == envs.unwrapped.world.hash
    assert recording.meta["env"]["kwargs"].items() >= observations.items()
    assert recording.episodes[0].seed == 4
    replays = replay_all(recording, recording.episodes, make_recorded_env(recording.meta))
    assert [one.difference for one in replays] == [None] * len(recording.episodes)
    assert len(replays) > 2


def test_of_several_worlds_drawn_at_once_each_is_lived_again_up_to_one_level_of_rounding(small_world, tmp_path):
    envs = gymnasium.make_vec(foreframe.ANY_WORLD, num_envs=3, world=small_world, dtype="fp32")
    envs = RecordVectorEpisodes(envs, tmp_path / "agents")
    envs.reset(seed=4)
    envs.step(np.array([1, 2, 3]))
    envs.close()
    recording = open_recording(tmp_path / "agents")
    assert [episode.seed for episode in recording.episodes] == [4, 5, 6]
    env = make_recorded_env(recording.meta)
    for place, episode in enumerate(recording.episodes):
        seen = recording.read(episode).observations.astype(int)
        assert (env.reset(seed=episode.seed)[0] == seen[0]).all()
        assert np.abs(env.step(1 + place)[0] - seen[1]).max() <= 1


def test_an_episode_that_begins_at_the_file_of_a_state_is_lived_again(small_world, tmp_path):
    env = gymnasium.make(foreframe.ANY_WORLD, world=small_world, dtype="fp32")
    env.reset(seed=1), env.step(2)
    env.unwrapped.snapshot().save(tmp_path / "here.state")
    env = RecordEpisodes(env, tmp_path / "mine")
    env.reset(options={"state": str(tmp_path / "here.state")})
    env.step(3), env.step(4), env.close()
    recording = open_recording(tmp_path / "mine")
    (one,) = replay_all(recording, recording.episodes, make_recorded_env(recording.meta))
    assert (one.steps, one.difference) == (2, None)


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
