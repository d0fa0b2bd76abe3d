"""What is drawn depends on the world, its seed and the actions alone, whoever calls; and what callers are told."""

import copy
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_worlds import save_small_world

from envs import WorldEnv, WorldVectorEnv
from world_model import StateError

ROOT = Path(__file__).resolve().parent.parent
PONG = str(ROOT / "envs" / "worlds" / "Pong-v0")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_small_world(tmp_path_factory.mktemp("worlds") / "Small-v0"))


def drawn(world: str, steps: int, **kwargs: Any) -> list[np.ndarray]:
    env, envs = WorldEnv(world, **kwargs), WorldVectorEnv(world, 3, engine={"plan": "ad", "stagger": 1}, **kwargs)
    env.reset(seed=3), envs.reset(seed=4)
    return [x for i in range(steps) for x in (env.step(i % 4)[0], envs.step(np.array([i % 6, 2, 0]))[0])]


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("obs_dtype", ["uint8", "float32"])
@pytest.mark.parametrize("around", [
    default_dtype, lambda: torch.device("meta"), lambda: torch.autocast("cpu", torch.bfloat16),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
def test_defaults_of_the_caller_change_nothing(small: str, tmp_path: Path, dtype: str, obs_dtype: str,
                                               around: Any) -> None:
    expected = drawn(small, 4, dtype=dtype, obs_dtype=obs_dtype, size=(9, 7))
    with around():
        other = save_small_copy(small, tmp_path)  # of its own folder: nothing of it has been loaded before
        found = drawn(other, 4, dtype=dtype, obs_dtype=obs_dtype, size=(9, 7))
    assert all(a.dtype == b.dtype and (a == b).all() for a, b in zip(found, expected, strict=True))


def save_small_copy(world: str, folder: Path) -> str:
    for file in Path(world).rglob("*"):
        if file.is_file():
            copied = folder / "Small-v0" / file.relative_to(world)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(file.read_bytes())
    return str(folder / "Small-v0")


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
@pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="seen with AMX; others may cut sums otherwise")
def test_the_shipped_world_draws_the_same_with_any_number_of_threads() -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(drawn(PONG, 8, dtype="bf16"))
    finally:
        torch.set_num_threads(before)
    assert all((a == b).all() for other in results[1:] for a, b in zip(other, results[0], strict=True))


LEFT_OPEN = """
import sys
from envs import WorldEnv, WorldVectorEnv
lookahead, count = sys.argv[2], int(sys.argv[3])
how = {"passes": 20, "engine": {"lookahead": lookahead}}
env = WorldEnv(sys.argv[1], **how) if count == 1 else WorldVectorEnv(sys.argv[1], count, **how)
env.reset(seed=0)
for _ in range(3):
    env.step(0 if count == 1 else [0] * count)
raise SystemExit(3)
"""


@pytest.mark.parametrize(("lookahead", "count"), [("repeat", 1), ("branch", 1), ("repeat", 4)])
def test_a_process_that_closes_nothing_ends_as_it_wants_to(small: str, lookahead: str, count: int) -> None:
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", LEFT_OPEN, small, lookahead, str(count)], cwd=ROOT,
                              capture_output=True, text=True, timeout=100)
        assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("seed", [12, 18])
def test_a_script_of_a_branching_engine_is_its_steps(small: str, seed: int) -> None:
    envs = [WorldEnv(small, dtype="fp32", passes=4, engine={"lookahead": "branch"}) for _ in range(2)]
    script = np.random.default_rng(seed).integers(6, size=40)
    for env in envs:
        env.reset(seed=seed)
    stepped = np.stack([envs[0].step(action)[0] for action in script])
    assert (envs[1].rollout(script)[0] == stepped).all()
    envs[0].close()


@pytest.mark.parametrize("vector", [False, True])
def test_forks_that_look_ahead_begin_with_their_first_step(small: str, vector: bool) -> None:
    how: dict[str, Any] = {"engine": {"lookahead": "repeat"}}
    env: Any = WorldVectorEnv(small, 2, **how) if vector else WorldEnv(small, **how)
    env.reset(seed=0)
    env._engine.forget()  # or its own thread may end its sharing
    threads = threading.active_count()
    forks = env.fork(5)
    assert threading.active_count() == threads
    assert len({fork.snapshot().cache.recent.data_ptr() for fork in forks}) == 1
    for _ in range(200):
        forks[0].step([1, 1] if vector else 1)
        if forks[0].stats().hits:
            break
        time.sleep(0.01)
    assert forks[0].stats().hits == 1
    assert not vector or not forks[0].closed
    for one in (env, *forks):
        one.close()


def test_worlds_that_share_weights_share_how_they_are_arranged(small: str) -> None:
    envs = [WorldEnv(small, passes=passes) for passes in (1, 2, 2, 3)]
    for env in envs:
        env.reset(seed=0)
    assert len({id(env.world._served[0]) for env in envs}) == 1


def test_actions_may_lie_in_memory_as_they_like(small: str) -> None:
    wanted = np.array([3, 2, 1, 0])
    ways = [wanted, wanted[::-1].copy()[::-1], wanted.astype(">i8"), np.broadcast_to(wanted, (4,)), [3, 2, 1, 0]]
    seen = []
    for actions in ways:
        envs = WorldVectorEnv(small, 4)
        envs.reset(seed=0)
        seen.append(envs.step(actions)[0])
    assert all((other == seen[0]).all() for other in seen)
    with pytest.raises(ValueError, match=r"actions must be 4 integers in \[0, 5\], got \[0, 1, \[2\], 3\]"):
        envs.step([0, 1, [2], 3])


@pytest.mark.parametrize(("arguments", "said"), [
    ({"passes": 1.5}, "passes must be None or an integer of at least 1, got 1.5"),
    ({"passes": True}, "passes must be None or an integer"),
    ({"passes": "3"}, "passes must be None or an integer"),
    ({"engine": "repeat"}, "engine must be settings by name, such as {'lookahead': 'repeat'}, got 'repeat'"),
    ({"engine": ["lookahead"]}, "engine must be settings by name"),
    ({"device": "nope"}, "device must be \"cpu\" or \"cuda\", got 'nope'"),
    ({"world": None}, "world must be a shipped world's name or the folder of one, got None"),
    ({"max_episode_steps": -2}, "max_episode_steps must be None, or -1, for no limit"),
])  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(small: str, arguments: dict[str, Any], said: str) -> None:
    for make in (lambda **k: WorldEnv(**k), lambda **k: WorldVectorEnv(num_envs=2, **k)):
        with pytest.raises(ValueError, match=re.escape(said)):
            make(**{"world": small, **arguments})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(small: str) -> None:
    with pytest.raises(ValueError, match="needs a GPU and a torch built for CUDA"):
        WorldEnv(small, device="cuda")


def test_no_limit_may_be_said_as_gymnasium_says_it(small: str) -> None:
    assert WorldEnv(small, max_episode_steps=-1).max_episode_steps is None


@pytest.mark.parametrize("answer", [3.0, 9, -1, [1, 2]])
def test_a_policy_that_returns_no_action_is_refused(small: str, answer: Any) -> None:
    env = WorldEnv(small, engine={"lookahead": "policy"})
    env.set_policy(lambda observation: answer)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"what the policy of set_policy\(\) returned is refused"):
        for _ in range(200):
            env.step(0)
            time.sleep(0.01)
    env.close()


def test_a_policy_nobody_asks_is_refused(small: str) -> None:
    with pytest.raises(ValueError, match="needs engine="):
        WorldEnv(small).set_policy(lambda observation: 0)


def test_states_are_copied_but_not_pickled(small: str, tmp_path: Path) -> None:
    env = WorldEnv(small)
    env.reset(seed=0)
    state = env.snapshot()
    again = copy.deepcopy(state)
    first = env.step(1)[0]
    env.restore(again)
    assert (env.step(1)[0] == first).all()
    with pytest.raises(TypeError, match="save"):
        pickle.dumps(state)
    with pytest.raises(StateError, match="path of a file in a folder that exists"):
        state.save(tmp_path / "missing" / "here.state")
    with pytest.raises(IsADirectoryError):
        state.save(tmp_path)
    assert not list(tmp_path.iterdir())
