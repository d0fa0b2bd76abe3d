import pickle
import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import WorldEnv
from world_model import WorldError

ID = "foreframe-tests/Tiny-v0"


@pytest.fixture
def env(tiny_world):
    with WorldEnv(str(tiny_world)) as env:
        yield env


@pytest.fixture
def registered(tiny_world):
    gym.register(ID, entry_point="envs:WorldEnv", kwargs={"world": str(tiny_world)}, max_episode_steps=40)
    yield ID
    del gym.registry[ID]


def play(env, actions, seed=None, options=None):
    """Frames uint8 [T+1, H, W, 3] and rewards [T] of an episode."""
    frames, rewards = [env.reset(seed=seed, options=options)[0]], []
    for action in actions:
        frame, reward, *_ = env.step(int(action))
        frames.append(frame)
        rewards.append(reward)
    return np.stack(frames), rewards


def random_actions(env, count, seed=0):
    return np.random.default_rng(seed).integers(0, env.action_space.n, count)


@pytest.mark.filterwarnings("ignore:.*not inherit from.*:UserWarning")
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"size": [52, 40]},
        {"grayscale": True},
        {"obs_dtype": "float32"},
        {"frame_stack": 4},
        {"size": [26, 20], "grayscale": True, "obs_dtype": "float32", "frame_stack": 3},
    ],
)
def test_gymnasiums_checker_accepts_a_world(registered, monkeypatch, kwargs):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    check_env(gym.make(registered, **kwargs).unwrapped)


def test_observation_arguments_survive_json_and_pickle(registered):
    env = gym.make(registered, size=(52, 40), grayscale=True, obs_dtype="float32", frame_stack=2)
    spec = gym.envs.registration.EnvSpec.from_json(env.spec.to_json())
    frames, _ = play(env, [0, 1], seed=3)
    assert frames.shape == (3, 2, 52, 40)
    assert (frames == play(gym.make(spec), [0, 1], seed=3)[0]).all()
    assert (frames == play(pickle.loads(pickle.dumps(env.unwrapped)), [0, 1], seed=3)[0]).all()


def test_after_a_reset_the_stack_holds_the_real_frames_of_the_clip(tiny_world):
    env = WorldEnv(str(tiny_world), frame_stack=4)
    clip = env.world.contexts.frames[2]
    seen, _ = env.reset(seed=0, options={"context": 2})
    assert (seen == clip[[0, 0, 1, 2]]).all()
    frame = env.step(1)[0]
    assert (frame[:3] == seen[1:]).all()
    plain, _ = play(WorldEnv(str(tiny_world)), [1], seed=0, options={"context": 2})
    assert (frame[3] == plain[1]).all()


def test_a_time_limit_of_its_own_truncates_and_ends_the_episode(tiny_world):
    env = WorldEnv(str(tiny_world), max_episode_steps=2)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(0)
    env.reset()
    assert env.step(0)[3] is False


def test_a_spec_survives_json(registered):
    spec = gym.envs.registration.EnvSpec.from_json(gym.make(registered).spec.to_json())
    frames, _ = play(gym.make(spec), [0, 1], seed=3)
    again, _ = play(gym.make(registered), [0, 1], seed=3)
    assert (frames == again).all()


def test_a_time_limit_truncates(registered):
    env = gym.make(registered)
    env.reset(seed=0)
    flags = [env.step(0)[2:4] for _ in range(40)]
    assert flags[-1] == (False, True)
    assert not any(truncated for _, truncated in flags[:-1])


def test_a_seed_decides_every_byte(env, tiny_world):
    actions = random_actions(env, 60)
    frames, rewards = play(env, actions, seed=7)
    with WorldEnv(str(tiny_world)) as twin:
        frames_again, rewards_again = play(twin, actions, seed=7)
    assert frames.tobytes() == frames_again.tobytes()
    assert rewards == rewards_again


def test_an_episode_does_not_depend_on_the_one_before(env):
    actions = random_actions(env, 12)
    first, _ = play(env, actions, seed=7)
    play(env, random_actions(env, 5, seed=1), seed=8)
    again, _ = play(env, actions, seed=7)
    assert first.tobytes() == again.tobytes()


def test_two_worlds_can_be_stepped_in_turn(env, tiny_world):
    actions = random_actions(env, 12)
    alone, _ = play(env, actions, seed=7)
    with WorldEnv(str(tiny_world)) as other:
        env.reset(seed=7)
        other.reset(seed=8)
        for index, action in enumerate(actions):
            frame = env.step(int(action))[0]
            other.step(0)
            assert frame.tobytes() == alone[index + 1].tobytes()


def test_different_seeds_differ(env):
    assert play(env, [0, 0], seed=1)[0].tobytes() != play(env, [0, 0], seed=2)[0].tobytes()


def test_reset_without_a_seed_goes_on_with_the_generator(env):
    env.reset(seed=5)
    contexts = [env.reset()[1]["context"] for _ in range(8)]
    env.reset(seed=5)
    assert contexts == [env.reset()[1]["context"] for _ in range(8)]
    assert len(set(contexts)) > 1


def test_the_noise_differs_from_episode_to_episode(env):
    first, _ = play(env, [0, 0], seed=5, options={"context": 0})
    second, _ = play(env, [0, 0], options={"context": 0})
    assert (first[0] == second[0]).all()
    assert first.tobytes() != second.tobytes()


def test_the_action_changes_the_picture(env):
    assert play(env, [0], seed=1)[0].tobytes() != play(env, [1], seed=1)[0].tobytes()


def test_results_have_the_types_gymnasium_asks_for(env):
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert set(info) == {"context"}
    observation, reward, terminated, truncated, info = env.step(np.int64(1))
    assert env.observation_space.contains(observation)
    assert (type(reward), type(terminated), type(truncated), info) == (float, bool, bool, {})


def test_every_array_handed_out_belongs_to_the_caller(env):
    actions = random_actions(env, 6)
    untouched, _ = play(env, actions, seed=2)
    frame, _ = env.reset(seed=2)
    frame[:] = 0
    for index, action in enumerate(actions):
        frame = env.step(int(action))[0]
        assert (frame == untouched[index + 1]).all()
        frame[:] = 255


@pytest.mark.parametrize("k", [1, 2, 5, 17])
def test_an_episode_begins_at_any_clip(env, k):
    rng = np.random.default_rng(k)
    frames = rng.integers(0, 256, (k, *env.observation_space.shape), np.uint8)
    actions = rng.integers(0, env.action_space.n, k - 1)
    observation, info = env.reset(seed=0, options={"frames": frames, "actions": actions})
    assert (observation == frames[-1]).all()
    assert "context" not in info
    assert env.observation_space.contains(env.step(0)[0])


def test_the_whole_clip_counts(env):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, *env.observation_space.shape), np.uint8)
    options = {"frames": frames, "actions": [0, 1]}
    plain, _ = play(env, [0], seed=0, options=options)
    other_first = np.concatenate([255 - frames[:1], frames[1:]])
    assert play(env, [0], seed=0, options={**options, "frames": other_first})[0].tobytes() != plain.tobytes()
    assert play(env, [0], seed=0, options={**options, "actions": [1, 1]})[0].tobytes() != plain.tobytes()


def test_a_context_by_number_equals_its_clip(env):
    clips = env.world.contexts
    by_number, _ = play(env, [0, 1], seed=4, options={"context": 1})
    env.reset(seed=4)
    assert (by_number[0] == clips.frames[1, -1]).all()


def bad_options(env):
    height, width, _ = env.observation_space.shape
    good = np.zeros((2, height, width, 3), np.uint8)
    count = len(env.world.contexts.frames)
    last = env.action_space.n - 1
    shape = f"frames must be uint8 [k, {height}, {width}, 3] with k >= 1"
    return [
        ({"frame": good}, "unknown reset options ['frame']: expected some of ['context', 'frames', 'actions',"),
        ({"frames": good, "context": 0, "actions": [0]}, "both a context and frames"),
        ({"actions": [0]}, "actions but no frames"),
        ({"frames": good[:0], "actions": []}, f"{shape}, got uint8 [0, {height}, {width}, 3]"),
        ({"frames": good[0]}, f"{shape}, got uint8 [{height}, {width}, 3]"),
        ({"frames": good[:, :-1], "actions": [0]}, f"{shape}, got uint8 [2, {height - 1}, {width}, 3]"),
        ({"frames": good / 255, "actions": [0]}, f"{shape}, got float64 [2, {height}, {width}, 3]"),
        ({"frames": good}, "actions must be [1], one between each two of the 2 frames, got [0]"),
        ({"frames": good, "actions": [0, 0]}, "actions must be [1], one between each two of the 2 frames, got [2]"),
        ({"frames": good, "actions": [0.5]}, "actions must be integers, got float64"),
        ({"frames": good, "actions": [last + 1]}, f"actions must lie in [0, {last}], got {last + 1} to {last + 1}"),
        ({"frames": good, "actions": [-1]}, f"actions must lie in [0, {last}], got -1 to -1"),
        ({"context": count}, f"context must be an integer in [0, {count - 1}], got {count} (int)"),
        ({"context": -1}, "got -1 (int)"),
        ({"context": "first"}, "got 'first' (str)"),
    ]


def test_bad_reset_options_are_answered_with_what_was_expected_and_what_came(env):
    for options, message in bad_options(env):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            env.reset(options=options)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("action", [-1, 6, 1.0, float("nan"), np.float32("nan"), "up", None, [1], np.array([0, 1])])
def test_an_action_out_of_range_or_of_another_type_is_refused(env, action):
    env.reset(seed=0)
    expected = f"action must be an integer in [0, 5], got {action!r} ({type(action).__name__})"
    with pytest.raises(ValueError, match=re.escape(expected)):
        env.step(action)


def test_a_refused_action_leaves_the_world_as_it_was(env):
    plain, _ = play(env, [0, 1], seed=3)
    env.reset(seed=3)
    env.step(0)
    with pytest.raises(ValueError, match="action must be"):
        env.step(6)
    assert (env.step(1)[0] == plain[2]).all()


def test_step_and_render_before_reset_are_refused(tiny_world):
    env = WorldEnv(str(tiny_world), render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(0)
    with pytest.raises(ResetNeeded, match="call reset"):
        env.render()


def test_step_after_the_end_is_refused(ending_world):
    env = WorldEnv(str(ending_world))
    env.reset(seed=0)
    assert env.step(0)[2] is True
    with pytest.raises(ResetNeeded, match="the episode had ended: call reset"):
        env.step(0)
    env.reset()
    env.step(0)


def test_a_refused_reset_leaves_the_world_as_it_was(env):
    env.reset(seed=3)
    plain = [env.step(1)[0], env.reset()[0], env.step(1)[0]]
    env.reset(seed=3)
    for seed, options, error in ((9, {"context": 99}, ValueError), (-1, None, gym.error.Error)):
        with pytest.raises(error):
            env.reset(seed=seed, options=options)
    assert all((a == b).all() for a, b in zip(plain, [env.step(1)[0], env.reset()[0], env.step(1)[0]], strict=True))


@pytest.mark.parametrize("kwargs", [{"size": [0, 3]}, {"grayscale": 2}, {"obs_dtype": "int8"}, {"frame_stack": 0},
                                    {"max_episode_steps": 0}, {"max_episode_steps": 2.5}, {"passes": 0}])  # fmt: skip
def test_arguments_out_of_range_are_refused_by_name(tiny_world, kwargs):
    with pytest.raises(ValueError, match=f"{next(iter(kwargs))} must be"):
        WorldEnv(str(tiny_world), **kwargs)


def test_unknown_worlds_and_render_modes_are_refused(tiny_world):
    with pytest.raises(WorldError, match="no world 'Pang-v0'"):
        WorldEnv("Pang-v0")
    with pytest.raises(ValueError, match="render_mode must be None or one of"):
        WorldEnv(str(tiny_world), render_mode="ansi")


def test_rgb_array_is_the_last_frame(tiny_world):
    env = WorldEnv(str(tiny_world), render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert (env.render() == observation).all()
    observation = env.step(2)[0]
    assert (env.render() == observation).all()
    assert not np.shares_memory(env.render(), observation)


def test_human_rendering_opens_and_closes_a_window(tiny_world, monkeypatch):
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = WorldEnv(str(tiny_world), render_mode="human")
    observation, _ = env.reset(seed=0)
    assert env.render() is None
    surface = pygame.display.get_surface()
    scale = surface.get_width() // observation.shape[1]
    shown = pygame.surfarray.array3d(surface).swapaxes(0, 1)
    height, width, _ = observation.shape
    assert (shown[: height * scale : scale, : width * scale : scale] == observation).all()
    env.close()
    assert not pygame.display.get_init()
    env.close()


def test_fewer_passes_give_another_picture(tiny_world):
    frames = [play(WorldEnv(str(tiny_world), passes=n), [0, 0, 0], seed=0)[0].tobytes() for n in (1, 3)]
    assert frames[0] != frames[1]


def test_a_pickled_world_is_built_again(env):
    actions = random_actions(env, 5)
    twin = pickle.loads(pickle.dumps(env))
    assert len(pickle.dumps(env)) < 4096
    assert play(env, actions, seed=1)[0].tobytes() == play(twin, actions, seed=1)[0].tobytes()


def test_keys_and_meanings_come_from_the_card(env):
    assert env.get_action_meanings() == env.world.card["actions"]["meanings"]
    assert env.get_keys_to_action()[(ord("w"),)] == env.world.card["actions"]["keys"]["w"]
    assert env.metadata["render_fps"] == round(env.world.fps)
