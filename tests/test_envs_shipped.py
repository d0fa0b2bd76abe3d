"""Every world that ships: it loads, steps, has keys, and matches its real game."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Discrete

import foreframe
from recorders import MissingGame


def extremes(space):
    """The first action and the last one, or the lowest and the highest vector."""
    return (0, space.n - 1) if isinstance(space, Discrete) else (space.low, space.high)


@pytest.mark.parametrize("id", foreframe.world_ids())
def test_a_shipped_world_steps_and_repeats_itself(id):
    env, twin = gym.make(id), gym.make(id)
    assert env.unwrapped.name == id.removeprefix("foreframe/")
    assert (env.reset(seed=1)[0] == twin.reset(seed=1)[0]).all()
    first, last = extremes(env.action_space)
    for action in (first, last, first):
        observation, *outcome = env.step(action)
        again, *outcome_again = twin.step(action)
        assert env.observation_space.contains(observation)
        assert (observation == again).all()
        assert outcome == outcome_again


@pytest.mark.parametrize("id", foreframe.world_ids())
def test_a_shipped_world_has_the_spaces_and_names_of_its_real_game(id):
    env = gym.make(id)
    try:
        teacher = foreframe.make_teacher(id)
    except MissingGame as missing:
        pytest.skip(str(missing))
    assert teacher.observation_space == env.observation_space
    assert teacher.action_space == env.action_space
    if isinstance(env.action_space, Discrete):
        assert teacher.unwrapped.get_action_meanings() == env.unwrapped.get_action_meanings()
    for action in env.unwrapped.get_keys_to_action().values():
        assert env.action_space.contains(np.asarray(action, env.action_space.dtype)[()]), action
