"""Learning in a dream: the guard rails do what they say, and an agent goes on where it stopped."""

import json

import gymnasium as gym
import numpy as np
import pytest
from example_modules import load_example

import foreframe
from envs import WorldVectorEnv


@pytest.fixture(scope="module")
def rails():
    return load_example("guard_rails")


@pytest.fixture(scope="module")
def example():
    return load_example("train_in_dream")


class Count(gym.Env):
    """Shows how many steps it has made since the reset, from `first` on; ends after `length`."""

    observation_space = gym.spaces.Box(0, 255, (1, 4, 4), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, first, length):
        self.first, self.length = first, length

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.full((1, 4, 4), self.first, np.uint8), {}

    def step(self, action):
        self.steps += 1
        seen = np.full((1, 4, 4), self.first + self.steps, np.uint8)
        return seen, float(action), self.steps == self.length, False, {}


def counts(first, count, length):
    mode = gym.vector.AutoresetMode.SAME_STEP
    return gym.vector.SyncVectorEnv([lambda: Count(first, length)] * count, autoreset_mode=mode)


def test_mixed_rows_are_those_of_both(rails):
    envs = rails.Mixed(counts(0, 2, 2), counts(100, 1, 3))
    assert envs.reset(seed=0)[0][:, 0, 0, 0].tolist() == [0, 0, 100] and envs.num_envs == 3
    assert envs.observation_space.shape == (3, 1, 4, 4) and envs.action_space.shape == (3,)
    seen, rewards, *_ = envs.step(np.array([0, 1, 2]))
    assert seen[:, 0, 0, 0].tolist() == [1, 1, 101] and rewards.tolist() == [0, 1, 2]
    seen, _, terminated, truncated, infos = envs.step(np.array([0, 1, 2]))
    assert seen[:, 0, 0, 0].tolist() == [0, 0, 102] and terminated.tolist() == [True, True, False]
    assert [None if one is None else int(one[0, 0, 0]) for one in infos["final_obs"]] == [2, 2, None]
    assert not truncated.any()


def test_mixed_refuses_rows_that_are_not_alike(rails):
    other = gym.wrappers.vector.TransformAction(
        counts(0, 1, 2), lambda rows: rows, single_action_space=gym.spaces.Discrete(2),
        action_space=gym.spaces.MultiDiscrete([2]))
    with pytest.raises(ValueError, match="same single_action_space"):
        rails.Mixed(counts(0, 1, 2), other)
    with pytest.raises(ValueError, match="no reset options"):
        rails.Mixed(counts(0, 1, 2), counts(0, 1, 2)).reset(options={"context": 1})


def test_without_doubt_nothing_is_cut_before_its_time(rails, small_world):
    envs = rails.Doubted(foreframe.ANY_WORLD, 2, doubt=255.0, world=small_world, max_episode_steps=3)
    first = envs.reset(seed=0)[0]
    cuts = []
    for _ in range(6):
        seen, _, terminated, truncated, infos = envs.step(np.array([1, 2]))
        cuts.append(truncated.tolist())
        assert not terminated.any() and seen.shape == first.shape
        assert [one is not None for one in infos["final_obs"]] == truncated.tolist()
    assert cuts == [[False] * 2, [False] * 2, [True] * 2] * 2 and envs.cut == 0
    envs.close()


def test_a_row_whose_pair_comes_apart_is_cut_and_begins_anew(rails, small_world):
    """Pairs begin alike, at a shipped clip, and their noise differs: with no tolerance every step is cut."""
    envs = rails.Doubted(foreframe.ANY_WORLD, 2, doubt=0.0, world=small_world, max_episode_steps=100)
    clips = WorldVectorEnv(small_world, num_envs=1).world.contexts.frames[:, -1]
    seen = envs.reset(seed=0)[0]
    assert all((clips == one).all((1, 2, 3)).any() for one in seen)
    for step in range(3):
        seen, _, _, truncated, infos = envs.step(np.array([1, 2]))
        assert truncated.all() and envs.cut == 2 * (step + 1)
        assert all((clips == one).all((1, 2, 3)).any() for one in seen)
        assert not any((clips == one).all((1, 2, 3)).any() for one in infos["final_obs"])
    envs.close()


def test_the_agent_has_its_own_actions_only(example, small_world, monkeypatch):
    dream = example.Dream(world=small_world, envs=2, horizon=4, actions="0,5")
    envs = example.vector(dream)
    assert envs.single_action_space == gym.spaces.Discrete(2) and envs.unwrapped.single_action_space.n == 6
    taken = []
    monkeypatch.setattr(type(envs.unwrapped), "step", lambda self, actions: taken.append(actions.tolist()))
    envs.step(np.array([0, 1]))
    assert taken == [[0, 5]]
    assert example.choices(example.Dream(actions=""), 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(SystemExit, match="ids from 0 to 3"):
        example.choices(example.Dream(actions="0,4"), 4)


@pytest.mark.parametrize("rail", [{}, {"doubt": 0.5}, {"mix": 0.5}])
def test_it_visits_the_real_game_and_goes_on_where_it_stopped(example, tiny_world, tmp_path, rail):
    how = {"world": str(tiny_world), "envs": 2, "length": 4, "horizon": 3, "every": 2, "episodes": 2, "most_steps": 5,
           "out": str(tmp_path / "dream"), **rail}
    example.learn(example.Dream(updates=2, **how))
    example.learn(example.Dream(updates=4, **how))
    log = [json.loads(line) for line in (tmp_path / "dream" / "log.jsonl").read_text().splitlines()]
    assert [entry["steps"] for entry in log] == [8, 16, 24, 32]
    assert [len(entry.get("outside", ())) for entry in log] == [0, 2, 0, 2]
    assert ("doubted" in log[0]) == bool(rail.get("doubt"))
    assert (tmp_path / "dream" / "learning.png").stat().st_size > 5000
    assert json.loads((tmp_path / "dream" / "settings.json").read_text())["horizon"] == 3


def test_intervals_hold_the_mean(example):
    assert example.interval([1.0] * 5) == "+1.00 (+1.00 to +1.00)"
    low, high = example.interval([0.0, 2.0] * 20).split("(")[1].rstrip(")").split(" to ")
    assert 0 < float(low) < 1 < float(high) < 2
