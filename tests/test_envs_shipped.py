"""Every world that ships: it loads, steps, has keys, and matches its real game."""

import gymnasium as gym
import pytest

import foreframe


@pytest.mark.parametrize("id", foreframe.world_ids())
def test_a_shipped_world_steps_and_repeats_itself(id):
    env, twin = gym.make(id), gym.make(id)
    assert env.unwrapped.name == id.removeprefix("foreframe/")
    assert (env.reset(seed=1)[0] == twin.reset(seed=1)[0]).all()
    for action in (0, env.action_space.n - 1, 0):
        observation, *outcome = env.step(action)
        again, *outcome_again = twin.step(action)
        assert env.observation_space.contains(observation)
        assert (observation == again).all()
        assert outcome == outcome_again


@pytest.mark.parametrize("id", foreframe.world_ids())
def test_a_shipped_world_has_the_spaces_and_names_of_its_real_game(id):
    env, teacher = gym.make(id), foreframe.make_teacher(id)
    assert teacher.observation_space == env.observation_space
    assert teacher.action_space == env.action_space
    assert teacher.unwrapped.get_action_meanings() == env.unwrapped.get_action_meanings()
    assert set(env.unwrapped.get_keys_to_action().values()) <= set(range(env.action_space.n))
