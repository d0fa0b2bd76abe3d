"""Environments that draw ahead, step in the background and play scripts: the same frames as plain stepping (I4, I5)."""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence

import foreframe
from envs import WorldEnv, WorldVectorEnv

SCRIPT = [1, 1, 1, 0, 2, 2, 2, 2, 0, 1, 1, 2]
ENGINES: list[dict[str, Any]] = [{"lookahead": "repeat"}, {"lookahead": "repeat", "ahead": 4}, {"lookahead": "policy"}]


def policy(observation: np.ndarray) -> int:
    return int(observation.sum()) % 3


def policies(observations: np.ndarray) -> np.ndarray:
    return observations.reshape(len(observations), -1).sum(1) % 3


def play(env: Any, actions: list[Any] = SCRIPT, idle: float = 0.0) -> list[Any]:
    results = [env.reset(seed=3)]
    for action in actions:
        time.sleep(idle)
        results.append(env.step(action))
    return results


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("idle", [0.0, 0.02])
def test_what_comes_out_does_not_depend_on_looking_ahead(tiny_world: Path, engine: dict[str, Any], idle: float) -> None:
    expected = play(WorldEnv(str(tiny_world)))
    env = WorldEnv(str(tiny_world), engine=engine)
    if engine["lookahead"] == "policy":
        env.set_policy(policy)
    assert data_equivalence(play(env, idle=idle), expected, exact=True)
    assert env.stats().steps == len(SCRIPT)
    env.close()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("engine", ENGINES)
def test_vectors_that_look_ahead_reset_themselves_as_others_do(ending_world: Path, engine: dict[str, Any],
                                                               mode: str) -> None:
    how: dict[str, Any] = {"num_envs": 3, "autoreset_mode": mode, "max_episode_steps": 4}
    actions = [np.array([a, a, (a + i // 5) % 3]) for i, a in enumerate(SCRIPT)]
    expected = play(WorldVectorEnv(str(ending_world), **how), actions)
    envs = WorldVectorEnv(str(ending_world), engine=engine, **how)
    if engine["lookahead"] == "policy":
        envs.set_policy(policies)
    assert data_equivalence(play(envs, actions, idle=0.01), expected, exact=True)
    envs.close()


def test_time_limits_count_frames_that_were_guessed(tiny_world: Path) -> None:
    env = WorldEnv(str(tiny_world), engine={"lookahead": "repeat", "ahead": 4}, max_episode_steps=5)
    env.reset(seed=0)
    ends = []
    for _ in range(5):
        time.sleep(0.05)
        ends.append(env.step(1)[3])
    assert ends == [False] * 4 + [True] and env.stats().hits >= 3
    with pytest.raises(ResetNeeded):
        env.step(1)
    env.close()


def test_a_snapshot_beside_guesses_goes_on_the_same(tiny_world: Path, tmp_path: Path) -> None:
    env = WorldEnv(str(tiny_world), engine={"lookahead": "repeat", "ahead": 3})
    env.reset(seed=1)
    env.step(1)
    time.sleep(0.03)
    env.step(1)
    state = env.snapshot()
    state.save(tmp_path / "state")
    expected = [env.step(a) for a in SCRIPT]
    for again in (state, env.load_state(tmp_path / "state")):
        env.restore(again)
        assert data_equivalence([env.step(a) for a in SCRIPT], expected, exact=True)
    plain = WorldEnv(str(tiny_world))
    plain.restore(state)
    assert data_equivalence([plain.step(a) for a in SCRIPT], expected, exact=True)
    forks = env.fork(2)
    assert forks[0].stats().steps == 0
    for one in (env, *forks):
        one.close()


def test_branches_are_the_same_however_fast_the_caller_is(tiny_world: Path) -> None:
    results = []
    for idle in (0.0, 0.05):
        env = WorldEnv(str(tiny_world), engine={"lookahead": "branch"})
        results.append(play(env, idle=idle))
        env.close()
    assert data_equivalence(results[0], results[1], exact=True) and env.stats().hits == len(SCRIPT)
    assert env.recording_card()["env"]["kwargs"]["engine"] == {"lookahead": "branch"}
    with pytest.raises(ValueError, match="one rollout"):
        WorldVectorEnv(str(tiny_world), num_envs=2, engine={"lookahead": "branch"}).reset(seed=0)


@pytest.mark.parametrize("engine", [None, {"lookahead": "repeat"}])
def test_steps_begun_ahead_of_time_are_those_of_step(tiny_world: Path, engine: dict[str, Any] | None) -> None:
    expected = play(WorldEnv(str(tiny_world)))
    env = WorldEnv(str(tiny_world), engine=engine)
    results = [env.reset(seed=3)]
    for action in SCRIPT[:3]:
        env.step_async(action)
        results.append(env.step_wait())
    for action in SCRIPT[3:]:
        env.step_async(action)
    for call in (lambda: env.step(0), env.reset, env.snapshot, lambda: env.rollout([0]), lambda: env.fork(2)):
        with pytest.raises(AlreadyPendingCallError, match="step_wait"):
            call()
    results += [env.step_wait() for _ in SCRIPT[3:]]
    assert data_equivalence(results, expected, exact=True) and not env.step_ready
    with pytest.raises(NoAsyncCallError):
        env.step_wait()
    env.close()


def test_vectors_step_in_the_background_too(tiny_world: Path) -> None:
    actions = [np.full(3, a) for a in SCRIPT]
    expected = play(WorldVectorEnv(str(tiny_world), num_envs=3), actions)
    envs = WorldVectorEnv(str(tiny_world), num_envs=3)
    results: list[Any] = [envs.reset(seed=3)]
    for action in actions:
        envs.step_async(action)
    results += [envs.step_wait() for _ in actions]
    assert data_equivalence(results, expected, exact=True)
    envs.step_async([9, 9, 9])
    with pytest.raises(ValueError, match="actions"):
        envs.step_wait()
    envs.close()


def test_the_newest_action_replaces_those_that_have_not_begun(tiny_world: Path) -> None:
    env = WorldEnv(str(tiny_world), queue="latest")
    env.reset(seed=0)
    for action in [1] * 20 + [2]:
        env.step_async(action)
    waited = 0
    while len(env._steps):
        env.step_wait()
        waited += 1
    assert waited < 21 and waited + env._steps.replaced == 21
    assert env.snapshot().last_actions.tolist() == [2]
    env.close()
    with pytest.raises(ValueError, match="queue must be"):
        WorldEnv(str(tiny_world), queue="stack")


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
def test_new_noise_from_a_state_is_the_same_in_a_vector(tiny_world: Path) -> None:
    how: dict[str, Any] = {"engine": {"plan": "ad", "stagger": 1}, "passes": 3}
    one, vector = WorldEnv(str(tiny_world), **how), WorldVectorEnv(str(tiny_world), num_envs=1, **how)
    one.reset(seed=0)
    one.step(1)
    state = one.snapshot()
    for env in (one, vector):
        env.reset(seed=5, options={"state": state})
    assert all((one.step(a)[0] == vector.step([a])[0][0]).all() for a in SCRIPT)
    with pytest.raises(ValueError, match="scripts"):
        WorldVectorEnv(str(tiny_world), num_envs=1, engine={"plan": "rolling"})


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
@pytest.mark.parametrize("plan", ["autoregressive", "ad", "rolling", "keyframes"])
def test_a_script_is_played_to_its_end(tiny_world: Path, plan: str) -> None:
    env = WorldEnv(str(tiny_world), engine={"plan": plan}, frame_stack=2)
    env.reset(seed=5)
    seen, rewards, terminated, truncated = env.rollout(SCRIPT)
    assert seen.shape == (len(SCRIPT), *env.observation_space.shape) and seen.dtype == np.uint8
    assert rewards.shape == (len(SCRIPT),) and not terminated and not truncated
    assert (seen[1:, 0] == seen[:-1, 1]).all()
    if plan == "autoregressive":
        plain = WorldEnv(str(tiny_world), frame_stack=2)
        plain.reset(seed=5)
        steps = [plain.step(a) for a in SCRIPT]
        assert (seen == np.stack([s[0] for s in steps])).all() and rewards.tolist() == [s[1] for s in steps]
        assert data_equivalence(env.step(1), plain.step(1), exact=True)


def test_a_script_ends_with_the_episode(ending_world: Path, tiny_world: Path) -> None:
    env = WorldEnv(str(ending_world))
    env.reset(seed=0)
    seen, rewards, terminated, _ = env.rollout([0] * 5)
    assert terminated and len(seen) == len(rewards) == 1
    with pytest.raises(ResetNeeded):
        env.rollout([0])
    env = WorldEnv(str(tiny_world), max_episode_steps=3)
    env.reset(seed=0)
    assert env.rollout([0] * 9)[3] and env.snapshot().episodes[0].steps == 3
    env.reset(seed=0)
    for wrong in ([], [[0]], [9], [0.5]):
        with pytest.raises(ValueError, match="actions"):
            env.rollout(wrong)
    assert env.snapshot().episodes[0].steps == 0


@pytest.mark.parametrize("stagger", [1, 2])
@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
def test_frames_in_flight_belong_to_environments_too(tiny_world: Path, stagger: int) -> None:
    how: dict[str, Any] = {"engine": {"plan": "ad", "stagger": stagger}, "passes": 3}
    env = WorldEnv(str(tiny_world), **how)
    results = play(env)
    assert data_equivalence(play(env), results, exact=True)
    env.reset(seed=3)
    for action in SCRIPT[:4]:
        env.step(action)
    state = env.snapshot()
    assert state.flight is not None
    assert data_equivalence([env.step(a) for a in SCRIPT[4:]], results[5:], exact=True)
    vector = WorldVectorEnv(str(tiny_world), num_envs=1, **how)
    vector.reset(seed=9)
    vector.restore(state)
    assert all((vector.step([a])[0][0] == r[0]).all() for a, r in zip(SCRIPT[4:], results[5:], strict=True))
    assert env.recording_card()["env"]["kwargs"]["engine"] == {"plan": "ad", "stagger": stagger}
    with pytest.raises(ValueError, match="lookahead"):
        WorldEnv(str(tiny_world), engine={"plan": "ad", "lookahead": "repeat"})


def test_settings_come_through_make(tiny_world: Path) -> None:
    env = gym.make(foreframe.ANY_WORLD, world=str(tiny_world), engine={"lookahead": "repeat"})
    env.reset(seed=0)
    env.step(1)
    assert env.unwrapped.stats().steps == 1
    assert env.spec is not None and gym.make(env.spec.from_json(env.spec.to_json())).unwrapped._engine.config.lookahead
    env.close()
    with pytest.raises(ValueError, match="unknown engine settings"):
        gym.make(foreframe.ANY_WORLD, world=str(tiny_world), engine={"look": 1})
