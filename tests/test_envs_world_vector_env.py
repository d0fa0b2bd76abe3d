"""The native vector environment: Gymnasium's vector rules, and SyncVectorEnv over single environments as reference.

Networks round differently for different batch sizes. So a batch of one has to equal the single environment bit for bit;
for more, every step begins at the batch's own state, and pictures may differ by one of 256 levels (float32).
"""

import pickle
import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

import foreframe
from envs import WorldEnv, WorldVectorEnv
from recorders import RecordVectorEpisodes

MODES = list(AutoresetMode)
LIMIT = 11


def actions_for(count, steps, seed=0):
    return np.random.default_rng(seed).integers(0, 6, (steps, count))


def run(envs, actions, seed=0):
    """Observations [T+1, B, ...], rewards [T, B] and flags [T, 2, B] of a vector."""
    seen, rewards, flags = [envs.reset(seed=seed)[0]], [], []
    for chosen in actions:
        observations, reward, *ended, _ = envs.step(chosen)
        seen.append(observations)
        rewards.append(reward)
        flags.append(ended)
    return np.stack(seen), np.stack(rewards), np.array(flags)


def singles(world, count, mode, limit=LIMIT):
    """`count` single environments with Gymnasium's own time limit, stepped one by one."""
    one = lambda: TimeLimit(WorldEnv(world, dtype="fp32"), limit)  # noqa: E731
    return SyncVectorEnv([one] * count, autoreset_mode=mode)


def native(world, count, mode=AutoresetMode.NEXT_STEP, limit=LIMIT, **kwargs):
    return WorldVectorEnv(world, count, autoreset_mode=mode, max_episode_steps=limit, dtype="fp32", **kwargs)


def without_pictures(infos):
    return {key: value for key, value in infos.items() if key != "final_obs"}


def finals(infos):
    return [one for one in infos.get("final_obs", []) if one is not None]


def reset_what_ended(vectors, flags, mode):
    """What a caller does after a step of vectors that do not reset themselves."""
    over = np.logical_or(*flags)
    if mode is AutoresetMode.DISABLED and over.any():
        return [envs.reset(options={"reset_mask": over.copy()}) for envs in vectors]
    return []


@pytest.mark.parametrize("mode", MODES)
def test_one_environment_is_the_single_one_bit_for_bit(mortal_world, mode):
    ours, reference = native(mortal_world, 1, mode), singles(mortal_world, 1, mode)
    assert data_equivalence(ours.reset(seed=3), reference.reset(seed=3), exact=True)
    endings = np.zeros(2, int)
    for chosen in actions_for(1, 150):
        mine, its = ours.step(chosen), reference.step(chosen)
        assert data_equivalence(without_pictures(mine[4]), without_pictures(its[4]), exact=True)
        assert np.array_equal(finals(mine[4]), finals(its[4]))
        assert all(data_equivalence(a, b, exact=True) for a, b in zip(mine[:4], its[:4], strict=True))
        both = reset_what_ended((ours, reference), mine[2:4], mode)
        assert not both or data_equivalence(*both, exact=True)
        endings += mine[2][0], mine[3][0]
    assert endings.min() > 0
    assert ours.np_random[0].bit_generator.state == reference.np_random[0].bit_generator.state


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_three_environments_are_three_single_ones_up_to_one_level_of_rounding(mortal_world, mode):
    ours, reference = native(mortal_world, 3, mode), singles(mortal_world, 3, mode)
    assert data_equivalence(ours.reset(seed=3), reference.reset(seed=3), exact=True)
    for chosen in actions_for(3, 300):
        mine, its = ours.step(chosen), reference.step(chosen)
        assert data_equivalence(without_pictures(mine[4]), without_pictures(its[4]), exact=True)
        assert all(data_equivalence(a, b, exact=True) for a, b in zip(mine[1:4], its[1:4], strict=True))
        pictures = zip([mine[0], *finals(mine[4])], [its[0], *finals(its[4])], strict=True)
        assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in pictures)
        both = reset_what_ended((ours, reference), mine[2:4], mode)
        assert not both or data_equivalence(both[0][1], both[1][1], exact=True)
        assert [it.bit_generator.state for it in ours.np_random] == [
            it.bit_generator.state for it in reference.np_random]  # fmt: skip
        for place, single in enumerate(reference.envs):
            single.unwrapped.restore(ours.snapshot(rows=[place]))


def test_make_vec_makes_it_by_itself(small_world):
    envs = gym.make_vec(foreframe.ANY_WORLD, num_envs=3, world=small_world, max_episode_steps=7, size=[8, 10],
                        autoreset_mode="SameStep", render_mode="rgb_array")  # fmt: skip
    assert type(envs) is WorldVectorEnv
    assert (envs.num_envs, envs.max_episode_steps, envs.render_mode) == (3, 7, "rgb_array")
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.metadata["render_fps"] == 15
    assert envs.single_observation_space == gym.spaces.Box(0, 255, (8, 10, 3), np.uint8)
    assert envs.observation_space.shape == (3, 8, 10, 3)
    assert envs.action_space == gym.spaces.MultiDiscrete([6, 6, 6])
    for world in foreframe.world_ids():
        assert gym.spec(world).vector_entry_point == "envs:WorldVectorEnv"


def test_results_have_the_types_gymnasium_asks_for(small_world):
    envs = native(small_world, 2)
    observations, infos = envs.reset(seed=0)
    assert envs.observation_space.contains(observations)
    assert (set(infos), infos["context"].dtype) == ({"context", "_context"}, int)
    observations, rewards, terminations, truncations, infos = envs.step(np.array([1, 2]))
    assert envs.observation_space.contains(observations)
    assert [it.dtype for it in (rewards, terminations, truncations)] == [np.float64, np.bool_, np.bool_]
    assert [it.shape for it in (rewards, terminations, truncations)] == [(2,)] * 3
    assert infos == {}


def test_every_array_handed_out_belongs_to_the_caller(small_world):
    actions = actions_for(2, 8)
    untouched = run(native(small_world, 2, limit=3), actions)
    envs = native(small_world, 2, limit=3)
    observations, _ = envs.reset(seed=0)
    observations[:] = 0
    for index, chosen in enumerate(actions):
        observations, rewards, terminations, truncations, _ = envs.step(chosen)
        assert (observations == untouched[0][index + 1]).all()
        assert (rewards == untouched[1][index]).all()
        chosen[:] = 0
        for it in (observations, rewards, terminations, truncations):
            it[:] = 1


def test_environment_i_gets_seed_plus_i_or_its_own(small_world):
    envs, reference = native(small_world, 4), singles(small_world, 4, AutoresetMode.NEXT_STEP)
    for seed, known in [
        (42, (42, 43, 44, 45)),
        ([7, 3, 7, 11], (7, 3, 7, 11)),
        ([None, 5, None, None], (7, 5, 7, 11)),
        (None, (7, 5, 7, 11)),
    ]:
        assert data_equivalence(envs.reset(seed=seed), reference.reset(seed=seed), exact=True)
        assert envs.np_random_seed == reference.np_random_seed == known
        assert [it.bit_generator.state for it in envs.np_random] == [
            it.bit_generator.state for it in reference.np_random]  # fmt: skip
    envs.reset(seed=np.int64(3))
    assert envs.np_random_seed == (3, 4, 5, 6)


def test_environments_that_nobody_seeded_differ(small_world):
    envs = native(small_world, 4)
    envs.reset()
    assert len(set(envs.np_random_seed)) == 4


def test_a_seed_decides_every_byte(small_world):
    actions = actions_for(3, 30)
    one, two = run(native(small_world, 3, limit=5), actions, seed=9), run(native(small_world, 3, limit=5), actions, 9)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))
    assert one[0].tobytes() != run(native(small_world, 3, limit=5), actions, 10)[0].tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_a_partial_reset_touches_no_other_environment(small_world, mode):
    actions = actions_for(3, 12)
    alone, _, _ = run(native(small_world, 3, mode, limit=None), actions, seed=1)
    envs = native(small_world, 3, mode, limit=None)
    envs.reset(seed=1)
    for t, chosen in enumerate(actions):
        observations = envs.step(chosen)[0]
        assert (observations[[0, 2]] == alone[t + 1, [0, 2]]).all()
        if t in (3, 7):
            states = [it.bit_generator.state for it in envs.np_random]
            observations, infos = envs.reset(seed=[90, t, 91], options={"reset_mask": np.array([False, True, False])})
            assert (observations[[0, 2]] == alone[t + 1, [0, 2]]).all()
            single = WorldEnv(small_world, dtype="fp32")
            assert (observations[1] == single.reset(seed=t)[0]).all()
            assert infos["_context"].tolist() == [False, True, False]
            after = [it.bit_generator.state for it in envs.np_random]
            assert [states[i] == after[i] for i in range(3)] == [True, False, True]
            assert envs.np_random_seed == (1, t, 3)


def test_options_of_a_reset_are_those_of_the_single_environment_for_each(small_world):
    envs = native(small_world, 2)
    frames = envs.world.contexts.frames
    observations, infos = envs.reset(seed=0, options={"context": 2})
    assert (observations == frames[2, -1]).all()
    assert infos["context"].tolist() == [2, 2]
    options = {"frames": frames[3], "actions": [0, 1], "reset_mask": np.array([True, False])}
    observations, infos = envs.reset(options=options)
    assert (observations == frames[[3, 2], -1]).all()
    assert infos == {}
    assert "reset_mask" in options  # the caller's own dict is left alone


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True, False], TypeError, "must be a numpy array, got list"),
        (None, TypeError, "must be a numpy array, got NoneType"),
        (np.array([1, 0]), TypeError, "must have dtype bool, got int64"),
        (np.array([True]), ValueError, r"must have the shape \(2,\), got \(1,\)"),
        (np.array([[True, False]]), ValueError, r"must have the shape \(2,\)"),
        (np.array([False, False]), ValueError, "at least one environment"),
    ],
)
def test_a_bad_reset_mask_is_refused(small_world, mask, error, message):
    envs, twin = native(small_world, 2), native(small_world, 2)
    envs.reset(seed=0), twin.reset(seed=0)
    with pytest.raises(error, match=message):
        envs.reset(seed=5, options={"reset_mask": mask})
    assert_same_future(envs, twin)


def test_a_first_reset_of_some_only_is_refused(small_world):
    with pytest.raises(ResetNeeded, match="call reset"):
        native(small_world, 2).reset(options={"reset_mask": np.array([True, False])})
    native(small_world, 2).reset(options={"reset_mask": np.array([True, True])})


def assert_same_future(envs, twin):
    """Steps and resets from here on are those of the twin."""
    for chosen in actions_for(envs.num_envs, 3, seed=5):
        assert data_equivalence(envs.step(chosen), twin.step(chosen), exact=True)
    assert data_equivalence(envs.reset(), twin.reset(), exact=True)
    assert data_equivalence(envs.step([0] * envs.num_envs), twin.step([0] * envs.num_envs), exact=True)


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        (1, TypeError, "actions must be 2 integers, one per environment, got 1"),
        (None, TypeError, "got None"),
        (torch.tensor(1), TypeError, "got tensor"),
        ([1], ValueError, r"actions must be 2 integers in \[0, 5\], got int64 \[1\]"),
        ([1, 1, 1], ValueError, r"got int64 \[3\]"),
        ([[1, 1]], ValueError, r"got int64 \[1, 2\]"),
        ([0.0, 1.0], ValueError, "got float64"),
        ([True, False], ValueError, "got bool"),
        (["0", "1"], ValueError, "got <U1"),
        ([0, 6], ValueError, r"got \[0, 6\]"),
        ([-1, 0], ValueError, r"got \[-1, 0\]"),
        (torch.tensor([0, 6]), ValueError, r"got \[0, 6\]"),
        (torch.tensor([0.0, 1.0]), ValueError, "got torch.float32"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(small_world, actions, error, message):
    envs, twin = native(small_world, 2), native(small_world, 2)
    envs.reset(seed=0), twin.reset(seed=0)
    with pytest.raises(error, match=message):
        envs.step(actions)
    assert_same_future(envs, twin)


@pytest.mark.parametrize(
    ("seed", "error"),
    [([1], ValueError), ([1, 2, 3], ValueError), (1.5, TypeError), ("12", TypeError), (-1, gym.error.Error),
     ([0, -1], gym.error.Error), ([0, "1"], gym.error.Error)],
)  # fmt: skip
def test_bad_seeds_are_refused_and_change_nothing(small_world, seed, error):
    envs, twin = native(small_world, 2), native(small_world, 2)
    envs.reset(seed=0), twin.reset(seed=0)
    with pytest.raises(error):
        envs.reset(seed=seed)
    assert_same_future(envs, twin)


def test_bad_options_are_refused_and_change_nothing(small_world):
    envs, twin = native(small_world, 2), native(small_world, 2)
    envs.reset(seed=0), twin.reset(seed=0)
    for options in ({"contexts": 1}, {"context": 99}, {"context": 0, "state": "here"}, {"frames": np.zeros(3)}):
        with pytest.raises(ValueError, match=r"context|frames"):
            envs.reset(seed=7, options=options)
    assert_same_future(envs, twin)


def test_an_action_of_an_environment_that_is_only_reset_does_not_matter(small_world):
    envs, twin = native(small_world, 2, limit=2), native(small_world, 2, limit=2)
    envs.reset(seed=0), twin.reset(seed=0)
    envs.reset(seed=[5, None], options={"reset_mask": np.array([True, False])})
    twin.reset(seed=[5, None], options={"reset_mask": np.array([True, False])})
    for vector in (envs, twin):
        vector.step([0, 0])
        vector.reset(seed=[5, None], options={"reset_mask": np.array([True, False])})
        assert vector.step([0, 0])[3].tolist() == [False, True]
    assert data_equivalence(envs.step([1, -99]), twin.step([1, 3]), exact=True)
    with pytest.raises(ValueError, match="actions must be"):
        envs.step([1, -99])


def test_stepping_what_has_ended_is_refused_where_nothing_is_reset_by_itself(small_world):
    envs = native(small_world, 2, AutoresetMode.DISABLED, limit=2)
    envs.reset(seed=0)
    envs.step([0, 0])
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert envs.step([0, 0])[3].tolist() == [False, True]
    for _ in range(2):
        with pytest.raises(ResetNeeded, match=re.escape("episodes of environments [1] had ended")):
            envs.step([0, 0])
    envs.reset(options={"reset_mask": np.array([False, True])})
    assert envs.step([0, 0])[3].tolist() == [True, False]


def test_stepping_and_rendering_before_a_reset_are_refused(small_world):
    envs = native(small_world, 2)
    for call in (lambda: envs.step([0, 0]), envs.render, envs.snapshot, lambda: envs.fork(2)):
        with pytest.raises(ResetNeeded, match="call reset"):
            call()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer of at least 1, got 0"),
        ({"num_envs": 2.0}, "num_envs must be"),
        ({"autoreset_mode": "Later"}, r"one of \['NextStep', 'SameStep', 'Disabled'\], got 'Later'"),
        ({"max_episode_steps": 0}, "max_episode_steps must be None, .* or an integer of at least 1, got 0"),
        ({"render_mode": "human"}, "render_mode must be None or one of"),
        ({"passes": 0}, "passes must be None or an integer of at least 1, got 0"),
        ({"dtype": "fp8"}, "fp8"),
        ({"size": [0, 1]}, "size must be"),
        ({"frame_stack": 0}, "frame_stack must be"),
        ({"tensors": "yes"}, "tensors must be True or False, got 'yes'"),
        ({"num_envs": 2, "engine": {"lookahead": "branch"}}, "lookahead=branch draws all actions of one rollout"),
        ({"engine": {"plans": 1}}, "unknown engine settings"),
        ({"queue": "lifo"}, "queue must be one of"),
    ],
)
def test_bad_arguments_are_refused(small_world, kwargs, message):
    with pytest.raises(ValueError, match=message):
        WorldVectorEnv(small_world, **kwargs)


def test_rendering_gives_the_worlds_own_picture_of_each(small_world):
    envs = WorldVectorEnv(small_world, 2, render_mode="rgb_array", grayscale=True, size=[4, 4])
    plain = WorldVectorEnv(small_world, 2)
    envs.reset(seed=0)
    observations, _ = plain.reset(seed=0)
    assert all((a == b).all() for a, b in zip(envs.render(), observations, strict=True))
    envs.step([1, 2])
    frames = envs.render()
    assert all((a == b).all() for a, b in zip(frames, plain.step([1, 2])[0], strict=True))
    frames[0][:] = 0
    assert (envs.render()[0] != 0).any()
    assert plain.render() is None


@pytest.mark.parametrize("mode", MODES)
def test_tensors_are_the_same_values_without_numpy(mortal_world, mode):
    given = {"grayscale": True, "frame_stack": 2}
    envs, plain = native(mortal_world, 3, mode, tensors=True, **given), native(mortal_world, 3, mode, **given)
    observations, infos = envs.reset(seed=2)
    assert data_equivalence((observations.numpy(), infos), plain.reset(seed=2), exact=True)
    for chosen in actions_for(3, 40):
        mine, its = envs.step(torch.from_numpy(chosen)), plain.step(chosen)
        assert all(isinstance(it, torch.Tensor) and not it.is_inference() for it in mine[:4])
        assert [it.dtype for it in mine[:4]] == [torch.uint8, torch.float32, torch.bool, torch.bool]
        assert all((a.numpy() == b).all() for a, b in zip(mine[:4], its[:4], strict=True))
        assert data_equivalence(without_pictures(mine[4]), without_pictures(its[4]), exact=True)
        assert all((a.numpy() == b).all() for a, b in zip(finals(mine[4]), finals(its[4]), strict=True))
        reset_what_ended((envs, plain), its[2:4], mode)


def test_tensors_belong_to_the_caller_and_may_be_learned_from(small_world):
    envs, twin = (native(small_world, 2, tensors=True, obs_dtype="float32") for _ in range(2))
    seen, expected = envs.reset(seed=0)[0], twin.reset(seed=0)[0]
    weights = torch.ones(60, requires_grad=True)
    (seen.reshape(2, 16, 60) @ weights).sum().backward()
    assert weights.grad is not None
    seen.zero_()
    actions = torch.tensor([1, 2])
    assert (envs.step(actions)[0] == twin.step(actions)[0]).all()
    assert (envs.fork(1)[0].step(actions)[0] == twin.step(actions)[0]).all()
    assert expected.max() <= 1


def test_tensors_are_not_recorded(small_world, tmp_path):
    with pytest.raises(ValueError, match="made with tensors=False"):
        RecordVectorEpisodes(native(small_world, 2, tensors=True), tmp_path / "agents")
    assert not (tmp_path / "agents").exists()


def test_gymnasiums_wrappers_accept_it(small_world):
    envs = gym.wrappers.vector.RecordEpisodeStatistics(native(small_world, 2, limit=4))
    envs.reset(seed=0)
    for _ in range(4):
        infos = envs.step(np.array([0, 1]))[4]
    assert infos["episode"]["l"].tolist() == [4, 4]


def test_a_pickled_vector_is_built_again(small_world):
    envs = native(small_world, 2, AutoresetMode.SAME_STEP)
    twin = pickle.loads(pickle.dumps(envs))
    assert len(pickle.dumps(envs)) < 4096
    assert twin.autoreset_mode is AutoresetMode.SAME_STEP
    assert run(envs, actions_for(2, 3))[0].tobytes() == run(twin, actions_for(2, 3))[0].tobytes()


def test_a_vector_may_be_closed_twice(small_world):
    envs = native(small_world, 2)
    envs.close()
    envs.close()
