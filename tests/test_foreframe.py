import json
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import foreframe
from envs import WorldEnv, shipped_worlds
from recorders import MissingGame
from world_model import WorldError

ROOT = Path(__file__).resolve().parent.parent


def test_every_shipped_world_is_registered():
    assert foreframe.world_ids() == [f"foreframe/{name}" for name in shipped_worlds()]
    for id in foreframe.world_ids():
        spec = gym.spec(id)
        assert spec.entry_point == "envs:WorldEnv"
        assert json.loads(json.dumps(spec.kwargs)) == spec.kwargs == {"world": id.removeprefix("foreframe/")}


def test_registering_twice_warns_of_nothing():
    foreframe._register_worlds()


def test_a_prefixed_id_needs_no_import():
    """In a fresh interpreter, from any folder that has this checkout on its path."""
    code = (
        "import gymnasium as gym, sys\n"
        "try: print(gym.make('foreframe:foreframe/Pong-v0').unwrapped.observation_space.shape)\n"
        "except gym.error.UnregisteredEnv: print('foreframe' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    if "foreframe/Pong-v0" in foreframe.world_ids():
        height, width, channels = gym.make("foreframe/Pong-v0").observation_space.shape
        assert done.stdout.strip() == f"({height}, {width}, {channels})"
    else:
        assert done.stdout.strip() == "True"


def test_an_unknown_world_has_no_teacher():
    with pytest.raises(WorldError, match="no world 'Pang-v0'"):
        foreframe.make_teacher("foreframe/Pang-v0")


def test_the_teacher_has_the_worlds_spaces(tiny_world):
    from envs import WorldEnv

    teacher = foreframe.make_teacher(str(tiny_world))
    env = WorldEnv(str(tiny_world))
    assert teacher.observation_space == env.observation_space
    assert teacher.action_space == env.action_space
    observation, _ = teacher.reset(seed=0)
    assert env.observation_space.contains(observation)


def test_a_world_continues_a_clip_of_its_teacher(tiny_world):
    from envs import WorldEnv

    teacher = foreframe.make_teacher(str(tiny_world))
    frames, actions = [teacher.reset(seed=0)[0]], [2, 2, 3]
    for action in actions:
        frames.append(teacher.step(action)[0])
    observation, _ = WorldEnv(str(tiny_world)).reset(seed=0, options={"frames": frames, "actions": actions})
    assert (observation == frames[-1]).all()


def test_a_missing_emulator_says_what_to_install(tiny_world, monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(MissingGame, match="pip install ale-py"):
        foreframe.make_teacher(str(tiny_world))


def test_the_teacher_is_seen_as_the_world_is(tiny_world):
    pytest.importorskip("ale_py")
    how = {"size": (26, 20), "grayscale": True, "frame_stack": 3}
    env, teacher = WorldEnv(str(tiny_world), **how), foreframe.make_teacher(str(tiny_world), **how)
    assert teacher.observation_space == env.observation_space
    plain = foreframe.make_teacher(str(tiny_world))
    pictures = [plain.reset(seed=1)[0]] * 3
    assert (teacher.reset(seed=1)[0] == seen(pictures)).all()
    for action in (2, 3, 1, 2):
        pictures = [*pictures[1:], plain.step(action)[0]]
        assert (teacher.step(action)[0] == seen(pictures)).all()
    with pytest.raises(ValueError, match="size must be"):
        foreframe.make_teacher(str(tiny_world), size=3)


def seen(pictures):
    """Grey means of squares of 4 x 4 pixels, rounded half up."""
    grey = np.stack(pictures).astype(np.int64) @ np.array([299, 587, 114])
    sums = grey.reshape(len(pictures), 26, 4, 20, 4).sum((2, 4))
    return (2 * sums + 16_000) // 32_000


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_any_world_without_a_name_lists_those_there_are(make):
    there = ", ".join(shipped_worlds())
    with pytest.raises(WorldError, match=rf"no world '': expected one of the shipped worlds \({there}\)"):
        make(foreframe.ANY_WORLD)


def test_any_world_is_the_one_that_is_named(tiny_world):
    assert gym.make(foreframe.ANY_WORLD, world=str(tiny_world)).unwrapped.name == "Tiny-v0"
