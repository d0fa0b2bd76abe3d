import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from recorders import FrameConfig, GameConfig, MissingGame, game_card, game_for, game_from_card, make_game

ROOT = Path(__file__).resolve().parent.parent


def pong():
    return make_game(game_for("ALE/Pong-v5"))


def test_pong_is_made_with_small_colour_frames():
    env = pong()
    frame, _ = env.reset(seed=0)
    assert frame.shape == (104, 80, 3)
    assert frame.dtype == np.uint8
    assert env.action_space.n == 6


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version:UserWarning")
def test_pong_passes_gymnasiums_checker():
    check_env(pong(), skip_render_check=True)


def test_same_seed_and_actions_give_the_same_frames():
    games = [pong(), pong()]
    frames = [[env.reset(seed=3)[0]] for env in games]
    for action in np.random.default_rng(0).integers(0, 6, 100):
        for env, seen in zip(games, frames, strict=True):
            seen.append(env.step(int(action))[0])
    assert (np.array(frames[0]) == np.array(frames[1])).all()


def test_the_card_is_json_and_makes_the_same_game_again():
    env = pong()
    card = json.loads(json.dumps(game_card(env)))
    assert card["action_meanings"] == ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    assert card["keys"]["up"] == 2 and card["keys"]["down"] == 3
    assert card["action_space"] == {"type": "Discrete", "dtype": "int64", "shape": [], "n": 6, "start": 0}
    assert card["observation_space"]["shape"] == [104, 80, 3]
    assert card["versions"]["gymnasium"]
    config = GameConfig(id=card["id"], kwargs=card["kwargs"], frame=FrameConfig(**card["frame"]), fps=card["fps"])
    assert (make_game(config).reset(seed=0)[0] == env.reset(seed=0)[0]).all()


def test_a_card_of_another_environment_is_refused():
    with pytest.raises(ValueError, match="made by make_game"):
        game_card(pong().unwrapped)


def test_another_atari_game_is_shown_whole():
    env = make_game(game_for("ALE/Breakout-v5"))
    assert env.reset(seed=0)[0].shape == (104, 80, 3)
    assert game_card(env)["keys"]["d"] == 2


def test_a_missing_ale_py_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingGame, match=r"pip install ale-py, or pip install -e '\.\[atari\]'") as error:
        pong()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("id", "near"), [("ALE/Pnog-v5", "ALE/Pong-v5"), ("CartPol-v1", "CartPole-v1")])
def test_an_unknown_game_is_answered_with_near_names(id, near):
    with pytest.raises(MissingGame, match=near) as error:
        make_game(game_for(id))
    assert "\n" not in str(error.value)


def test_a_name_like_no_other_is_answered_with_the_way_to_a_list():
    with pytest.raises(MissingGame, match="pprint_registry"):
        make_game(game_for("qqqqqqqq"))


def test_a_speed_of_zero_is_refused():
    with pytest.raises(ValueError, match="fps must be above 0"):
        GameConfig(fps=0)


def test_an_action_is_held_for_several_steps_of_the_game():
    fast, slow = make_game(game_for("CartPole-v1")), make_game(replace(game_for("CartPole-v1"), repeat=3))
    assert slow.game.fps == fast.game.fps / 3
    fast.reset(seed=0)
    slow.reset(seed=0)
    ended = False
    while not ended:
        frame, reward, ended, _, _ = slow.step(1)
        total = 0.0
        for _ in range(3):
            seen, one, over, _, _ = fast.step(1)
            total += one
            if over:
                break
        assert (frame == seen).all() and reward == total and over == ended
    assert game_from_card(game_card(slow)).repeat == 3 and game_from_card(game_card(fast)).repeat == 1
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="repeat must be at least 1"):
            replace(game_for("CartPole-v1"), repeat=wrong)


def test_a_card_may_not_have_a_package_imported():
    card = game_card(make_game(game_for("CartPole-v1")))
    assert game_from_card({**card, "id": "gymnasium:CartPole-v1"}).id == "gymnasium:CartPole-v1"
    strange = {**card, "id": "antigravity:CartPole-v1"}
    with pytest.raises(MissingGame, match="would import antigravity, and a card alone may not: import it first"):
        game_from_card(strange)
    with pytest.raises(MissingGame, match="would import antigravity"):
        game_from_card(strange, trusted="CartPole-v1")
    assert game_from_card(strange, trusted=strange["id"]).id == strange["id"]


def test_box2d_is_loaded_where_warnings_are_errors_and_named_where_it_is_missing():
    code = ("import sys, warnings, gymnasium.wrappers, recorders\nwarnings.simplefilter('error', DeprecationWarning)\n"
            "try: recorders.make_game(recorders.game_for('CarRacing-v3')).reset(seed=1)\n"
            "except recorders.MissingGame as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    code = "import sys\nsys.modules['Box2D'] = None\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert "CarRacing-v3 cannot be made: Box2D is not installed" in done.stdout, done.stderr


def test_numbers_of_vectors_have_names_where_they_are_known():
    pytest.importorskip("Box2D")
    env = make_game(game_for("CarRacing-v3"))
    card = game_card(env)
    assert card["action_meanings"] == ["STEER", "GAS", "BRAKE"] and card["keys"]["left"] == [-1.0, 0.0, 0.0]
    assert card["fps"] == 12.5 and card["repeat"] == 4
    assert game_card(make_game(game_for("Pendulum-v1")))["action_meanings"] == ["0"]
