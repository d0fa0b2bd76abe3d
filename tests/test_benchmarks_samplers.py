"""A world drawn otherwise: what counts as lost, and the table of a world with several samplers."""

from pathlib import Path

import numpy as np
import pytest
from game_worlds import save_game_world

from benchmarks.samplers import SamplersConfig, as_error, compare, lost, ratio, table
from world_model import WorldError


def test_every_measure_is_an_error_that_is_0_where_all_is_right() -> None:
    assert as_error("psnr", np.array([20.0]))[0] == pytest.approx(25.5)
    assert as_error("ssim", np.array([1.0]))[0] == as_error("ball_within_2", np.array([1.0]))[0] == 0
    assert as_error("ball_px", np.array([3.0]))[0] == 3


def test_an_error_is_lost_where_it_grew_by_more_than_a_tenth_and_not_by_chance() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.5, 1.5, 100)
    assert lost(ratio(1.2 * before, before, middle=False)) and lost(ratio(1.2 * before, before, middle=True))
    assert not lost(ratio(1.05 * before, before, middle=False))
    one = before.copy()
    one[3] *= 30  # one start alone: may be chance
    assert ratio(one, before, middle=False)["value"] > 1.1 and not lost(ratio(one, before, middle=False))
    nothing = np.zeros(9)
    assert ratio(nothing, nothing, middle=False)["value"] == 1
    assert lost(ratio(nothing + 1, nothing, middle=False))
    once = np.eye(1, 9)[0]  # most resamples have it: the interval must reach up to them
    assert ratio(once, nothing, middle=False)["high"] > 1e6 and not lost(ratio(once, nothing, middle=False))


def test_the_table_marks_and_counts_what_is_lost() -> None:
    ones = np.ones(20)
    lines = table({"a": {"x 8": ones, "y 8": ones}, "b": {"x 8": 2 * ones, "y 8": ones}}, {"y"}).splitlines()
    assert lines[2:] == ["| x 8 | 1 (1 to 1) | **2 (2 to 2)** |", "| y 8 | 1 (1 to 1) | 1 (1 to 1) |",
                         "| lost | | 1 of 2 |"]


@pytest.mark.slow
def test_a_world_is_measured_with_several_samplers(tiny_world: Path) -> None:
    text = compare(SamplersConfig(world=str(tiny_world), passes=[1], still=[99], beside=[str(tiny_world)] * 2, starts=2,
                                  horizon=8))
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(rows[0]) == 6 and {"| paddle_px 8", "| valid", "| return 8"} <= {row[0] for row in rows}
    for column in (4, 5):
        assert all(row[column].startswith("nan" if row[1].startswith("nan") else "1 (1 to 1)") for row in rows[1:-1])
        assert any(row[column].startswith("1 ") for row in rows[1:-1])


def test_a_world_of_another_game_cannot_stand_beside(tiny_world: Path, tmp_path: Path) -> None:
    breakout = save_game_world(tmp_path / "Breakout-t0", "ALE/Breakout-v5", (8, 10))
    with pytest.raises(WorldError, match=r"must be of the game.*Pong.*Breakout"):
        compare(SamplersConfig(world=str(tiny_world), beside=[str(breakout)]))
