"""Games whose actions are vectors, played and recorded."""

import numpy as np
import pytest
from gymnasium.spaces import Box

from recorders import behaviour_for, game_for, make_game, open_recording
from recorders.car_player import CarPlayer, road
from recorders.collect import CollectConfig, collect
from recorders.vector_behaviours import HeldVector, WanderingVector

SPACE = Box(np.array([-1, 0], np.float32), np.array([1, 4], np.float32))


@pytest.mark.parametrize("player", [HeldVector(SPACE), HeldVector(SPACE, longest=1), WanderingVector(SPACE)])
def test_players_stay_within_bounds_and_go_everywhere(player):
    rng = np.random.default_rng(0)
    player.reset(rng)
    actions = np.stack([player.act(np.zeros(0), rng) for _ in range(3000)])
    assert actions.dtype == np.float32 and all(SPACE.contains(action) for action in actions)
    assert (actions.min(0) < [-0.7, 0.6]).all() and (actions.max(0) > [0.7, 3.4]).all()
    player.reset(np.random.default_rng(1))
    again = np.random.default_rng(1)
    first = [player.act(np.zeros(0), again) for _ in range(5)]
    player.reset(np.random.default_rng(1))
    again = np.random.default_rng(1)
    assert np.array_equal(first, [player.act(np.zeros(0), again) for _ in range(5)])


def test_held_ones_are_held_and_wandering_ones_wander():
    rng = np.random.default_rng(0)
    held, wandering = HeldVector(SPACE, longest=12), WanderingVector(SPACE)
    for player, low, high in ((held, 0.75, 0.95), (wandering, 0.0, 0.05)):
        actions = np.stack([player.act(np.zeros(0), rng) for _ in range(2000)])
        assert low <= (actions[1:] == actions[:-1]).all(1).mean() <= high
    assert np.abs(np.diff(actions[:, 0])).max() <= 0.2 * 2 + 1e-6


@pytest.mark.parametrize("make", [
    lambda: HeldVector(Box(-np.inf, np.inf, (2,))), lambda: HeldVector(SPACE, longest=0),
    lambda: WanderingVector(SPACE, share=0), lambda: HeldVector(Box(0, 1, (2, 2))),
])  # fmt: skip
def test_impossible_players_are_refused(make):
    with pytest.raises(ValueError, match="need vectors between finite bounds"):
        make()


def test_a_game_of_vectors_is_collected(tmp_path):
    recording = open_recording(collect(CollectConfig(env="Pendulum-v1", out=str(tmp_path), steps=60)))
    assert recording.extra("action").dtype == np.float32 and recording.extra("action").shape[1:] == (1,)
    assert recording.meta["game"]["action_space"]["type"] == "Box" and recording.frame_shape == (96, 96, 3)
    assert recording.meta["behaviours"] == ["held-random", "quick-random", "wandering"]


def test_the_driver_sees_the_road():
    picture = np.full((96, 96, 3), (100, 200, 100), np.uint8)
    assert road(picture, 0.5) is None
    picture[:, 60:70] = 105
    assert road(picture, 0.5) == pytest.approx(65 / 96 - 0.5)
    assert CarPlayer().act(picture, np.random.default_rng(0))[0] > 0.5
    picture[:, 44:52] = 105  # nearer to the middle
    assert road(picture, 0.5) == pytest.approx(48 / 96 - 0.5)


@pytest.mark.slow
def test_the_driver_gets_further_than_chance():
    pytest.importorskip("Box2D")
    env = make_game(game_for("CarRacing-v3"))
    assert "scripted" in behaviour_for("CarRacing-v3", ["STEER", "GAS", "BRAKE"], (96, 96, 3), env.action_space).names
    gained = []
    for player in (CarPlayer(), WanderingVector(env.action_space)):
        rng, total = np.random.default_rng(0), 0.0
        frame, _ = env.reset(seed=0)
        player.reset(rng)
        for _ in range(120):
            frame, reward, terminated, truncated, _ = env.step(player.act(frame, rng))
            total += reward
            if terminated or truncated:
                break
        gained.append(total)
    env.close()
    assert gained[0] > gained[1] + 50
