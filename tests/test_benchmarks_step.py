"""The step benchmarks run and print what they measured; callers call as they say."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks import step
from benchmarks.callers import held_keys, random_actions, side_by_side
from benchmarks.soak import SoakConfig
from world_model import Actions


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
def test_every_part_prints_its_figures(tiny_world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = step.StepConfig(world=str(tiny_world), batches=[1, 2], steps=12, least=3, old=20)
    print(step.heading(config))
    for part in step.PARTS:
        step._MEASURES[part](config)
    shown = capsys.readouterr().out
    for words in ("GFLOP per step", "batch    2", "env-steps/s", "batch    2, live, stagger 1", "script, keyframes",
                  "keys held", "branch", "hits", "of the young one"):  # fmt: skip
        assert words in shown


def test_keys_are_held_and_random_actions_are_not() -> None:
    held, free = (np.array(list(islice(does(Actions(6)), 4000))) for does in (held_keys, random_actions))
    assert 1 / (held[1:] != held[:-1]).mean() == pytest.approx(8, rel=0.2)
    assert (free[1:] == free[:-1]).mean() == pytest.approx(1 / 6, abs=0.03)


def test_vectors_lie_within_their_bounds() -> None:
    given = np.stack(list(islice(side_by_side(held_keys, Actions(0, (-1.0, 0.0), (1.0, 2.0)), 3), 100)))
    assert given.shape == (100, 3, 2) and given.dtype == np.float32
    assert (given >= [-1, 0]).all() and (given <= [1, 2]).all() and given.std() > 0.3


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown parts"):
        step.StepConfig(parts=["speed"])
    with pytest.raises(ValueError, match="at least 1"):
        step.StepConfig(batches=[0])
    with pytest.raises(ValueError, match="every"):
        SoakConfig(minutes=1, every=0.5)


def test_an_aged_environment_goes_on_from_its_age(tiny_world: Path) -> None:
    env = step.make(step.StepConfig(world=str(tiny_world)))
    before = env.snapshot().frames[0]
    state = step.aged_state(env, random_actions(Actions(3)), 30)
    assert env.snapshot().frames == state.frames == [before + 30]
