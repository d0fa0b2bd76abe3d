"""Stable-Baselines3 on worlds, alone and as one batch."""

import numpy as np
import pytest
from example_modules import load_example

from envs import WorldEnv, WorldVectorEnv

pytest.importorskip("stable_baselines3")


def adapter():
    return load_example("sb3_vec_env").NativeVecEnv


def test_a_single_world_passes_their_checker_and_learns(small_world):
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env

    env = WorldEnv(small_world, size=(36, 36), max_episode_steps=10)
    check_env(env)
    PPO("CnnPolicy", env, n_steps=16, batch_size=16, n_epochs=1).learn(16)


def test_a_batch_of_worlds_is_stepped_as_one_and_learns(small_world):
    from stable_baselines3 import PPO

    import foreframe

    how = {"world": small_world, "size": (36, 36), "max_episode_steps": 7}
    envs = adapter()(foreframe.ANY_WORLD, 3, **how)
    PPO("CnnPolicy", envs, n_steps=8, batch_size=24, n_epochs=1).learn(24)
    envs.seed(5)
    seen, twin = envs.reset(), WorldVectorEnv(num_envs=3, autoreset_mode="SameStep", **how)
    assert (seen == twin.reset(seed=[5, 6, 7])[0]).all()
    for step in range(1, 9):
        actions = np.array([1, 2, step % 3])
        seen, rewards, done, infos = envs.step(actions)
        expected = twin.step(actions)
        assert (seen == expected[0]).all() and (rewards == expected[1].astype(np.float32)).all()
        assert (done == (step == 7)).all()
        if step == 7:
            assert all((info["terminal_observation"] == last).all() and info["TimeLimit.truncated"]
                       for info, last in zip(infos, expected[4]["final_obs"], strict=True))
    envs.env_method("set_passes", 2)
    assert envs.get_attr("passes") == [2] * 3 and envs.env_is_wrapped(object) == [False] * 3
    envs.close()
