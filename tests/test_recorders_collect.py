import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from recorders import FrameConfig, GameConfig, MissingGame, RecordingError, ZarrRecorder, make_game, open_recording
from recorders.collect import CollectConfig, collect

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def pong(tmp_path_factory):
    """1200 steps of Pong: an episode that ended and one that was cut."""
    return open_recording(collect(CollectConfig(out=str(tmp_path_factory.mktemp("pong")), steps=1200, seed=5)))


def run(*arguments, **options):
    command = [sys.executable, "-m", "recorders.collect", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def test_steps_counts_actions(pong):
    assert sum(episode.steps for episode in pong.episodes) == 1200
    assert len(pong) == 1200 + len(pong.episodes)


def test_the_real_game_replays_every_recorded_step(pong):
    game = pong.meta["game"]
    env = make_game(GameConfig(id=game["id"], kwargs=game["kwargs"], frame=FrameConfig(**game["frame"])))
    for episode in pong.episodes:
        recorded = pong.frames(episode.start, episode.stop)
        frame, _ = env.reset(seed=episode.seed)
        assert (frame == recorded[0]).all()
        for t, row in enumerate(range(episode.start, episode.stop - 1)):
            frame, reward, terminated, truncated, _ = env.step(pong.actions[row])
            assert (frame == recorded[t + 1]).all()
            outcome = (pong.rewards[row], pong.terminated[row], pong.truncated[row])
            assert outcome == (reward, terminated, truncated)
        assert episode.meta["cut"] is not (terminated or truncated)


def test_the_recording_says_who_played_and_what(pong):
    assert pong.meta["game"]["id"] == "ALE/Pong-v5"
    assert pong.meta["game"]["action_meanings"][2] == "RIGHT"
    assert set(pong.actors) <= set(range(len(pong.meta["behaviours"])))
    assert set(pong.actions) == set(range(6))
    assert len({episode.seed for episode in pong.episodes}) == len(pong.episodes)


def test_same_seed_same_recording_and_another_seed_another(tmp_path, pong):
    again = open_recording(collect(CollectConfig(out=str(tmp_path / "again"), steps=150, seed=5)))
    other = open_recording(collect(CollectConfig(out=str(tmp_path / "other"), steps=150, seed=6)))
    assert (again.actions[:150] == pong.actions[:150]).all()
    assert (again.frames(0, 150) == pong.frames(0, 150)).all()
    assert not (again.actions == other.actions).all()


def test_a_game_without_pictures_is_recorded_by_its_rendering(tmp_path):
    pytest.importorskip("pygame")
    out = collect(CollectConfig(env="CartPole-v1", out=str(tmp_path), steps=60))
    recording = open_recording(out)
    assert recording.frame_shape == (80, 120, 3)
    assert len(recording.episodes) > 1
    assert np.ptp(recording.frames(0, 5)) > 0


def test_a_recording_is_not_mixed_with_another_by_accident(tmp_path):
    config = CollectConfig(out=str(tmp_path), steps=20)
    collect(config)
    with pytest.raises(RecordingError, match="already holds a recording"):
        collect(config)
    config.append, config.seed = True, 1
    collect(config)
    assert len(open_recording(tmp_path).episodes) == 2


def test_lives_are_recorded_where_a_game_counts_them_and_what_is_appended_to_has_them(tmp_path):
    config = CollectConfig(env="ALE/Breakout-v5", out=str(tmp_path / "new"), steps=260)
    lives = open_recording(collect(config)).extra("lives")[:-1]
    assert lives[0] == 5 and lives.min() < 5
    old = tmp_path / "old"
    with ZarrRecorder(old, *_spaces(), extras={"actor": "uint8"}, meta={"game": {}}) as recorder:
        recorder.begin(seed=0)
        recorder.add(np.zeros((104, 80, 3), np.uint8), 0, 0.0, True, False, actor=0)
        recorder.end(np.zeros((104, 80, 3), np.uint8))
    config.out, config.append, config.steps = str(old), True, 20
    assert open_recording(collect(config)).extras == ["actor"]


def _spaces():
    return gymnasium.spaces.Box(0, 255, (104, 80, 3), np.uint8), gymnasium.spaces.Discrete(4)


def test_an_unknown_game_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(MissingGame, match="no game is called"):
        collect(CollectConfig(env="ALE/Pnog-v5", out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="steps and workers must be at least 1"):
        CollectConfig(out="x", steps=0)


def test_the_command_records_with_several_processes(tmp_path):
    out = tmp_path / "out"
    done = run(f"out={out}", "steps=130", "workers=2", "size=[52, 40]")
    assert done.returncode == 0, done.stderr
    assert "130/130" in done.stderr
    recording = open_recording(out)
    assert recording.frame_shape == (52, 40, 3)
    assert sum(episode.steps for episode in recording.episodes) == 130
    assert not (recording.actions[:64] == recording.actions[66:130]).all()
    assert not (ROOT / "outputs").exists()


def test_processes_stop_when_the_command_that_started_them_is_killed(tmp_path):
    command = [sys.executable, "-m", "recorders.collect", f"out={tmp_path}", "steps=2000000", "workers=2"]
    starter = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(tmp_path.glob("seg-*/data.zarr/frames/c.9.*"))) == 2)
    starter.kill()
    starter.wait()
    wait_for(lambda: len(list(tmp_path.glob("seg-*/sealed.zarr/zarr.json"))) == 2)
    assert sum(episode.steps for episode in open_recording(tmp_path).episodes) >= 2 * 9 * 32


def wait_for(happens, timeout_s=60):
    until = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["steps=0"], "steps and workers"), (["env=Pnog-v5"], "no game is called"), (["stesp=3"], "stesp")],
)
def test_a_bad_command_ends_with_what_is_wrong(tmp_path, arguments, message):
    done = run(f"out={tmp_path / 'out'}", *arguments)
    assert done.returncode != 0
    assert message in done.stderr
