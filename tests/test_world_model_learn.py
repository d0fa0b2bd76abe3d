"""From a game to a world in one command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from recorders import ZarrRecorder, open_recording
from world_model import Actions, WorldModelConfig, load_world
from world_model.learn import LearnConfig, learn, still_share, suited, world_name
from world_model.model_config import reward_choices, suited_patch

ROOT = Path(__file__).resolve().parent.parent


def recorded(folder, lengths, moving=0.1):
    """Episodes of pictures 16x24 of which a share of the rows is noise."""
    rng, space = np.random.default_rng(0), Box(0, 255, (16, 24, 3), np.uint8)
    with ZarrRecorder(folder, space, Discrete(3)) as recorder:
        for length in lengths:
            recorder.begin(seed=0)
            for t in range(length + 1):
                frame = np.zeros(space.shape, np.uint8)
                frame[: round(16 * moving)] = rng.integers(0, 256, (round(16 * moving), 24, 3))
                if t < length:
                    recorder.add(frame, 0, 0.0, t == length - 1, False)
                else:
                    recorder.end(frame)
    return open_recording(folder)


def test_clips_are_as_long_as_episodes_allow(tmp_path):
    long, short = recorded(tmp_path / "long", [60] * 4), recorded(tmp_path / "short", [9, 12, 30, 30])
    assert suited(long, 5)["trainer.frames"] == 22 and suited(long, 5)["trainer.batch"] == 3
    chosen = suited(short, 5)
    assert chosen["trainer.frames"] == 12 and chosen["model.window"] == 12 and chosen["trainer.batch"] == 6
    with pytest.raises(ValueError, match="record longer ones"):
        suited(recorded(tmp_path / "none", [3, 4, 3]), 5)


def test_what_hardly_moves_is_kept_still(tmp_path):
    quiet, wild = recorded(tmp_path / "quiet", [40]), recorded(tmp_path / "wild", [40], moving=1.0)
    assert still_share(quiet) == pytest.approx(14 / 16) and suited(quiet, 5)["sampler.still"] == 14
    assert still_share(wild) < 0.01 and suited(wild, 5)["sampler.still"] == 0


def test_networks_by_name(tmp_path):
    recording = recorded(tmp_path / "data", [60])
    assert "model.dim" not in suited(recording, 5, "tiny") and suited(recording, 5, "base")["model.dim"] == 640


@pytest.mark.parametrize(("game", "name"), [("ALE/Freeway-v5", "Freeway-v0"), ("CartPole-v1", "CartPole-v0"),
                                            ("MiniGrid-Empty-8x8-v0", "MiniGrid-Empty-8x8-v0"),
                                            ("", "World-v0")])  # fmt: skip
def test_worlds_are_called_after_their_game(game, name):
    assert world_name(game) == name


@pytest.mark.parametrize(("height", "width"), [(104, 80), (96, 128), (64, 64), (80, 120), (84, 84), (48, 200)])
def test_patches_cut_pictures_into_two_dozen(height, width):
    rows, cols = suited_patch(height, width)
    assert not (height % rows or width % cols or rows % 2 or cols % 2)
    assert 14 <= height * width // (rows * cols) <= 40


def test_patches_follow_the_recording_unless_they_were_asked_for():
    config = WorldModelConfig()
    config.fit(96, 128, Actions(4), [0.0])
    assert config.patch == suited_patch(96, 128) and config.num_actions == 4
    asked = WorldModelConfig(patch=[8, 8])
    asked.fit(64, 64, Actions(4), [0.0])
    assert asked.patch == [8, 8]
    with pytest.raises(ValueError, match="divide the picture 36x64"):
        asked.fit(36, 64, Actions(4), [0.0])
    with pytest.raises(ValueError, match=r"even sides, got 63x64; record them with another size="):
        WorldModelConfig().fit(63, 64, Actions(4), [0.0])


def test_rewards_are_those_there_are_or_as_many_spread_evenly():
    assert reward_choices(np.array([0, 1, -1, 0, 4.0])) == [-1.0, 0.0, 1.0, 4.0]
    assert reward_choices(np.array([2.0])) == [0.0, 2.0] and reward_choices(np.zeros(3)) == [0.0]
    assert reward_choices(np.array([-0.1, 7.3, -0.1 + 1e-12])) == [-0.1, 0.0, 7.3]
    given = np.random.default_rng(0).normal(size=5000)
    choices = np.array(reward_choices(given))
    assert 0.0 in choices and len(choices) == 65 and choices.min() == given.min() and choices.max() == given.max()
    assert np.abs(given[:, None] - choices).min(1).mean() < 0.03
    often = np.concatenate([given, np.resize([-0.4, -0.4 - 1e-14, -0.4 + 1e-13], 5000)])  # a cost per step
    assert (np.abs(np.array(reward_choices(often)) + 0.4) < 1e-3).sum() < 3


@pytest.mark.slow
def test_one_call_goes_from_a_game_to_a_world_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("world_model.learn.FRAMES", 1)
    asked = {"env": "CartPole-v1", "out": str(tmp_path / "pole"), "record": 200, "workers": 1, "evaluate": False}
    folder = learn(LearnConfig(steps=1, **asked))
    assert folder == tmp_path / "pole" / "world"
    printed = capsys.readouterr().out
    assert "python -m recorders.collect env=CartPole-v1" in printed and "model.window=" in printed
    world = load_world(folder)
    assert world.observation_shape == (80, 120, 3) and world.num_actions == 2 and world.card["name"] == "CartPole-v0"
    learn(LearnConfig(steps=2, **asked))
    assert "recorders.collect" not in capsys.readouterr().out
    assert load_world(folder).card["trained"]["steps"] == 2


def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    words = [sys.executable, "-m", "world_model.learn", f"out={tmp_path}", "env=CartPolo-v1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("recorders.collect: no game is called 'CartPolo-v1': did you mean")


def test_what_cannot_be_learned_is_refused_in_one_line(tmp_path):
    for wrong, said in (({}, "pass either env="), ({"env": "a", "data": "b"}, "pass either env="),
                        ({"env": "a", "preset": "huge"}, "preset must be auto, tiny, base, large")):
        with pytest.raises(ValueError, match=said):
            LearnConfig(out=str(tmp_path), **wrong)
    with pytest.raises(ValueError, match="most frames lie in episodes of fewer than 6; record longer ones"):
        learn(LearnConfig(env="Blackjack-v1", out=str(tmp_path / "blackjack"), record=50, workers=1))
