"""Passes per frame, changed in the middle of an episode."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError

from envs import WorldEnv, WorldVectorEnv

ENGINES: list[dict[str, Any]] = [{}, {"lookahead": "repeat", "ahead": 3}, {"lookahead": "branch"}, {"plan": "ad"}]


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_frames_are_those_of_a_world_made_with_so_many_passes(small_world: str, engine: dict[str, Any]) -> None:
    env = WorldEnv(small_world, passes=2, engine=engine)
    env.reset(seed=1)
    drawn, state = [], env.snapshot()
    for passes in (2, 4, 1, 2):
        env.set_passes(passes)
        assert env.passes == passes and env.recording_card()["env"]["kwargs"]["passes"] == passes
        drawn += [env.step(2)[0] for _ in range(3)]
    expected = []
    for passes in (2, 4, 1, 2):
        fresh = WorldEnv(small_world, passes=passes, engine=engine)
        fresh.restore(state)
        expected += [fresh.step(2)[0] for _ in range(3)]
        state = fresh.snapshot()
        fresh.close()
    assert (np.stack(drawn) == np.stack(expected)).all()
    env.close()


def test_vectors_change_theirs_too(small_world: str) -> None:
    envs = WorldVectorEnv(small_world, num_envs=2, passes=1)
    envs.reset(seed=0)
    envs.set_passes(3)
    others = WorldVectorEnv(small_world, num_envs=2, passes=3)
    others.reset(seed=0)
    assert (envs.step([1, 2])[0] == others.step([1, 2])[0]).all()


def test_passes_that_make_no_sense_or_come_too_early_are_refused(small_world: str, tmp_path: Path) -> None:
    env = WorldEnv(small_world)
    env.set_passes(2)  # before the first reset too
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an integer of at least 1, got 0"):
        env.set_passes(0)
    env.step_async(1)
    with pytest.raises(AlreadyPendingCallError, match="set_passes"):
        env.set_passes(3)
    env.step_wait()
    staggered = WorldEnv(small_world, passes=4, engine={"plan": "ad", "stagger": 3})
    staggered.reset(seed=0)
    with pytest.raises(ValueError, match="stagger must be from 1 to the sampler's 2 steps, got 3"):
        staggered.set_passes(2)
    assert staggered.passes == 4
