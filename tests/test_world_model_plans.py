"""Inference plans: closed form, recursion and the worked tables of the AD scheduler (invariant I1)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from world_model.plans import LevelPlan, ad_plan, autoregressive_plan, synchronous_plan


def recursion(frames: int, steps: int, stagger: int) -> np.ndarray:
    """The AD scheduler as it is stated: counters of finished steps, one row at a time."""
    row = [0] * frames
    rows = [row]
    while min(row) < steps:
        new: list[int] = []
        for i in range(frames):
            value = row[i] + 1 if i == 0 or row[i - 1] == steps else new[i - 1] - stagger
            new.append(min(max(value, 0), steps))
        row = new
        rows.append(row)
    return steps - np.array(rows)


@given(frames=st.integers(1, 16), steps=st.integers(1, 50), stagger=st.integers(0, 60))
def test_closed_form_equals_the_recursion(frames: int, steps: int, stagger: int) -> None:
    plan = ad_plan(frames, steps, stagger)
    assert (plan.levels == recursion(frames, steps, min(stagger, steps))).all()


@given(frames=st.integers(1, 16), steps=st.integers(1, 50), stagger=st.integers(0, 60))
def test_every_frame_takes_every_step_once_and_rows_never_decrease(frames: int, steps: int, stagger: int) -> None:
    plan = ad_plan(frames, steps, stagger)
    assert plan.passes == steps + (frames - 1) * min(stagger, steps)
    assert (plan.update.sum(0) == steps).all()
    assert (np.diff(plan.levels, axis=1) >= 0).all()
    assert (plan.levels[:-1] - plan.levels[1:] <= 1).all()


@pytest.mark.parametrize(("stagger", "rows"), [
    (1, ["4444", "3444", "2344", "1234", "0123", "0012", "0001", "0000"]),
    (2, ["4444", "3444", "2444", "1344", "0244", "0134", "0024", "0013", "0002", "0001", "0000"]),
    (0, ["4444", "3333", "2222", "1111", "0000"]),
])  # fmt: skip
def test_worked_tables(stagger: int, rows: list[str]) -> None:
    assert ["".join(map(str, row)) for row in ad_plan(4, 4, stagger).levels] == rows


def test_passes_of_sixteen_frames_in_fifty_steps() -> None:
    assert [ad_plan(16, 50, s).passes for s in (0, 5, 10, 25, 50)] == [50, 125, 200, 425, 800]
    assert [ad_plan(128, 50, s).passes for s in (5, 10, 25, 50)] == [685, 1320, 3225, 6400]


def test_named_plans_are_the_two_ends_of_ad() -> None:
    assert (autoregressive_plan(3, 4).levels == ad_plan(3, 4, 9).levels).all()
    assert synchronous_plan(3, 4).passes == 4
    assert autoregressive_plan(3, 4).passes == 12


def test_live_interval_spans_the_updated_frames() -> None:
    plan = ad_plan(4, 4, 2)
    assert [plan.live(r) for r in range(plan.passes)] == [
        (0, 1), (0, 1), (0, 2), (0, 2), (1, 3), (1, 3), (2, 4), (2, 4), (3, 4), (3, 4)]  # fmt: skip


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="need frames >= 1"):
        ad_plan(0, 4, 1)
    with pytest.raises(ValueError, match="never decrease"):
        LevelPlan(steps=2, levels=np.array([[2, 2], [2, 1], [0, 0]]))
    with pytest.raises(ValueError, match="ends with every frame at 0"):
        LevelPlan(steps=2, levels=np.array([[2, 2], [1, 1]]))
