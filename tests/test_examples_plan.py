"""Planning on forks: what is imagined is what a world then does, and a promise is kept by its script."""

import gymnasium as gym
import numpy as np
import pytest
from example_modules import load_example

import foreframe


@pytest.fixture(scope="module")
def example():
    return load_example("plan")


@pytest.fixture
def make(example, small_world):
    made = []

    def planner(**how):
        how = {"actions": "", "horizon": 5, "hold": 2, "act": 2, "candidates": 6, "rounds": 3} | how
        made.append(example.Planner(example.Plan(world=str(small_world), **how), dtype="fp32"))
        return made[-1]

    yield planner
    for one in made:
        one.close()


def clip(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (3, 16, 20, 3), np.uint8), rng.integers(0, 6, 2)


def test_what_is_imagined_is_what_a_single_rollout_gives(make, small_world):
    planner = make(rounds=1)
    planner.decide(*clip(), "shooting")
    scripts = planner.rng.integers(6, size=(6, 3))
    returns = planner.imagine(scripts)
    assert len(set(returns)) > 1
    env = gym.make(foreframe.ANY_WORLD, world=str(small_world), dtype="fp32").unwrapped
    env.reset(seed=0)
    for row, script in enumerate(scripts):
        env.restore(planner.moment.take([row]))
        rewards = [env.step(int(action))[1] for action in np.repeat(script, 2)[:5]]
        assert returns[row] == pytest.approx(sum(0.97**t * reward for t, reward in enumerate(rewards)), abs=1e-6)
    env.close()


@pytest.mark.parametrize("method", ["shooting", "cross-entropy", "pruning"])
@pytest.mark.parametrize("noises", [1, 2])
def test_a_promise_is_kept_by_the_script_it_was_made_for(make, method, noises, monkeypatch):
    planner = make(noises=noises)
    found = []
    inner = planner.methods[method]
    planner.methods[method] = lambda: found.append(inner()) or found[-1]
    actions = planner.decide(*clip(1), method)
    script, promised = found[0]
    assert actions.tolist() == [script[0]] * 2
    again = planner.imagine(np.tile(script, (6, 1)))
    assert np.allclose(again, promised, atol=1e-6) and planner.promised == promised


def test_no_method_falls_behind_a_random_script(make):
    for method in ("shooting", "cross-entropy", "pruning"):
        planner = make()
        gains = []
        for seed in range(4):
            planner.decide(*clip(seed), method)
            gains.append(planner.promised - planner.imagine(planner.rng.integers(6, size=(6, 3))).mean())
        assert min(gains) >= 0 < max(gains)


def test_settings_that_are_not_there_are_refused(example):
    with pytest.raises(SystemExit, match="no setting is called 'horizons'"):
        example.main(["horizons=3"])


@pytest.mark.parametrize("method", ["shooting", "cross-entropy", "pruning"])
def test_scripts_are_made_of_the_given_actions_and_what_is_left_of_the_last_one(make, method):
    planner, drawn = make(actions="1,4", act=2), []
    draw = planner._draw
    planner._draw = lambda part, actions: drawn.append(actions.copy()) or draw(part, actions)
    planner.decide(*clip(), method)
    assert {int(one) for row in drawn for one in row} == {1, 4}
    left = planner._rest.copy()
    drawn.clear()
    planner.decide(*clip(), method)
    assert [int(row[0]) for row in drawn[:1]] == [left[0]] and len(left) == 3
    planner.forget()
    assert planner._rest is None


@pytest.mark.parametrize("how", [{"actions": "0,6"}, {"act": 3}, {"act": 6}])
def test_scripts_that_cannot_be_are_refused(make, how):
    with pytest.raises(ValueError, match="ids from 0 to 5"):
        make(**how)
