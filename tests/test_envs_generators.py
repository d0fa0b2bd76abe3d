"""The generators of a vector environment, as Gymnasium lets them be set."""

import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError
from gymnasium.vector import VectorWrapper

from envs import WorldEnv, WorldVectorEnv


def vector(world, count):
    return WorldVectorEnv(world, count, max_episode_steps=7, dtype="fp32")


def run(envs):
    """Observations [21, B, ...] and rewards [20, B], from a reset without a seed on."""
    seen, rewards = [envs.reset()[0]], []
    for actions in np.random.default_rng(0).integers(0, 6, (20, envs.num_envs)):
        observations, reward, *_ = envs.step(actions)
        seen.append(observations)
        rewards.append(reward)
    return np.stack(seen), np.stack(rewards)


def test_generators_that_are_set_decide_the_next_episodes(small_world):
    envs, twin = vector(small_world, 3), vector(small_world, 3)
    given = [np.random.default_rng(seed) for seed in (4, 5, 6)]
    VectorWrapper(envs).np_random = given
    assert list(envs.np_random) == given and envs.np_random_seed == (-1, -1, -1)
    twin.np_random = tuple(np.random.default_rng(seed) for seed in (4, 5, 6))
    ours, theirs = run(envs), run(twin)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
    singles = [WorldEnv(small_world, dtype="fp32") for _ in range(3)]
    for single, seed in zip(singles, (4, 5, 6), strict=True):
        single.np_random = np.random.default_rng(seed)
    assert (ours[0][0] == np.stack([single.reset()[0] for single in singles])).all()
    envs.reset(seed=[None, 8, None])
    assert envs.np_random_seed == (-1, 8, -1)


def test_one_generator_that_is_set_makes_one_for_each_environment(small_world):
    envs, twin = vector(small_world, 3), vector(small_world, 3)
    envs.np_random, twin.np_random = np.random.default_rng(1), np.random.default_rng(1)
    states = [str(it.bit_generator.state) for it in envs.np_random]
    assert states == [str(it.bit_generator.state) for it in twin.np_random]
    assert len(set(states)) == 3 and envs.np_random_seed == (-1, -1, -1)


def test_a_fork_keeps_its_generators_when_others_are_set(small_world):
    envs = vector(small_world, 2)
    envs.reset(seed=1)
    (fork,) = envs.fork(1)
    before = [str(it.bit_generator.state) for it in fork.np_random]
    envs.np_random = np.random.default_rng(1)
    assert [str(it.bit_generator.state) for it in fork.np_random] == before and fork.np_random_seed == (1, 2)


@pytest.mark.parametrize("wrong", [3, None, [], [np.random.default_rng(0)], [np.random.default_rng(0)] * 2, [1, 2],
                                   (np.random.default_rng(0), np.random.RandomState(0))])  # fmt: skip
def test_generators_that_do_not_fit_are_refused(small_world, wrong):
    envs = vector(small_world, 2)
    envs.reset(seed=1)
    with pytest.raises(ValueError, match="np_random must be 2 different numpy generators"):
        envs.np_random = wrong
    assert envs.np_random_seed == (1, 2)


def test_generators_are_not_set_while_steps_are_under_way(small_world):
    envs = vector(small_world, 2)
    envs.reset(seed=1)
    envs.step_async(np.zeros(2, int))
    with pytest.raises(AlreadyPendingCallError, match="step_wait"):
        envs.np_random = np.random.default_rng(0)
    envs.step_wait()
    envs.np_random = np.random.default_rng(0)
    envs.close()
