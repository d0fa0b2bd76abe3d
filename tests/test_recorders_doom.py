"""Doom as a game like any other."""

import importlib
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from recorders import HeldRandom, MissingGame, behaviour_for, game_card, game_for, game_from_card, make_game
from recorders.doom_env import ACTIONS, DoomEnv
from recorders.doom_player import DoomPlayer, OffWalls, target, walled
from recorders.games import DOOM

ROOT = Path(__file__).resolve().parent.parent


def doom():
    return make_game(game_for(DOOM))


def played(env, seed, player, steps=1050):
    rng, rewards = np.random.default_rng(seed), []
    frames = [env.reset(seed=seed)[0]]
    player.reset(rng)
    while len(rewards) < steps:
        frame, reward, terminated, truncated, info = env.step(player.act(frames[-1], rng))
        frames.append(frame)
        rewards.append(reward)
        if terminated or truncated:
            break
    return np.stack(frames), np.array(rewards), info


def test_it_is_made_like_any_game_and_its_card_makes_it_again():
    env = doom()
    card = game_card(env)
    assert env.observation_space.shape == (96, 128, 3) and env.action_space.n == len(ACTIONS) == 13
    assert card["action_meanings"][7] == "FIRE" and card["keys"]["up+left"] == 8 and card["keys"]["space"] == 7
    again = make_game(game_from_card(card))
    assert (env.reset(seed=1)[0] == again.reset(seed=1)[0]).all()
    for one in (env, again):
        one.close()


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version:UserWarning")
@pytest.mark.filterwarnings("ignore:.*not within the observation space.*:UserWarning")
def test_gymnasiums_checker_is_content():
    env = doom()
    check_env(env, skip_render_check=True)
    env.close()


def test_seed_and_actions_decide_an_episode_whatever_was_played_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env, other = doom(), doom()
    first = played(env, 3, HeldRandom(13), 120)
    played(other, 8, HeldRandom(13), 40)
    second, different = played(other, 3, HeldRandom(13), 120), played(other, 4, HeldRandom(13), 120)
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1]) and first[2] == second[2]
    assert not np.array_equal(first[0][:20], different[0][:20])
    for one in (env, other):
        one.close()
    assert not list(tmp_path.iterdir())  # the engine leaves nothing where one works


def test_every_action_does_what_it_is_called():
    env = gymnasium.make(DOOM)
    moved = {}
    for name in ("LEFT", "RIGHT", "FORWARD", "BACKWARD", "STRAFE LEFT", "STRAFE RIGHT", "FORWARD LEFT"):
        _, before = env.reset(seed=0)
        for _ in range(5):
            *_, after = env.step(list(ACTIONS).index(name))
        along = np.radians(before["angle"])
        turned = (after["angle"] - before["angle"] + 180) % 360 - 180
        gone = np.array([after["x"] - before["x"], after["y"] - before["y"]])
        moved[name] = (turned, gone @ [np.cos(along), np.sin(along)], gone @ [-np.sin(along), np.cos(along)])
    env.close()
    assert moved["LEFT"][0] > 20 and moved["RIGHT"][0] < -20 and moved["FORWARD LEFT"][0] > 20
    assert moved["FORWARD"][1] > 20 and moved["BACKWARD"][1] < -10 and moved["FORWARD LEFT"][1] > 20
    assert moved["STRAFE LEFT"][2] > 20 and moved["STRAFE RIGHT"][2] < -20
    assert all(abs(moved[name][0]) < 1e-3 for name in ("FORWARD", "BACKWARD", "STRAFE LEFT", "STRAFE RIGHT"))


def test_the_scripted_player_shoots_more_than_chance_and_dies_in_the_end():
    env = doom()
    scripted = [played(env, seed, DoomPlayer()) for seed in range(3)]
    chance = [played(env, seed, HeldRandom(13)) for seed in range(3)]
    env.close()
    kills = [[info["kills"] for _, _, info in runs] for runs in (scripted, chance)]
    assert sum(kills[0]) > 1.2 * sum(kills[1])
    assert all(rewards[-1] <= 0 and len(rewards) < 1050 for _, rewards, _ in scripted)
    assert all(set(rewards) <= {-1.0, 0.0, 1.0, 2.0} for _, rewards, _ in scripted + chance)


def test_the_player_sees_what_is_red():
    picture = np.full((96, 128, 3), (120, 95, 70), np.uint8)
    assert target(picture) is None
    picture[45:50, 100:104] = (200, 40, 50)
    assert target(picture) == pytest.approx(100.5 / 128 - 0.5)
    picture[80:90, 60:64] = (200, 40, 50)  # the own hand's height
    assert target(picture) == pytest.approx(100.5 / 128 - 0.5)


def test_who_records_is_mostly_led_away_from_walls():
    env, shares = doom(), []
    for player in (HeldRandom(13), OffWalls(HeldRandom(13))):
        frames = np.concatenate([played(env, seed, player, 200)[0] for seed in range(3)])
        shares.append(np.mean([walled(frame) > 0.5 for frame in frames]))
    env.close()
    assert 0.02 < shares[1] < 0.6 * shares[0], shares


def test_collected_by_the_scripted_player_among_others():
    assert "scripted" in behaviour_for(DOOM, list(ACTIONS), (96, 128, 3)).names
    assert "scripted" not in behaviour_for("Doom/MyWayHome-v0", list(ACTIONS), (96, 128, 3)).names


def test_settings_out_of_range_are_refused():
    for wrong in ({"scenario": "e1m1"}, {"frame_skip": 0}, {"skill": 6}, {"render_mode": "human"}):
        with pytest.raises(ValueError, match=r"must be one of|need 1 <=|must be rgb_array"):
            DoomEnv(**wrong)
    env = DoomEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be 0 to 12, got 13"):
        env.step(13)
    env.close()


def test_without_vizdoom_it_says_what_to_install(monkeypatch):
    real = importlib.import_module

    def missing(name, *rest):
        if name == "vizdoom":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingGame, match=r"pip install vizdoom, or pip install -e '.\[doom\]'"):
        doom()


def test_a_game_that_nobody_closed_ends_quietly(capfd):
    code = "from recorders.doom_env import DoomEnv; env = DoomEnv(); env.reset(seed=0); env.step(1)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
    env = DoomEnv()
    env.reset(seed=0)
    del env
    assert capfd.readouterr() == ("", "")
