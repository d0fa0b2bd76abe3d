"""Bootstrap intervals on samples whose answer is known."""

import numpy as np
import pytest

from world_model.intervals import f1, figure, mean, median, share


def test_an_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = figure(mean, values)
    assert found["value"] == pytest.approx(values.mean())
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [figure(mean, rng.normal(size=60), resamples=300) for _ in range(200)]
    assert 0.89 <= np.mean([f["low"] <= 0 <= f["high"] for f in found]) <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.arange(20.0)
    assert figure(median, values) == figure(median, values) != figure(median, values, seed=1)


def test_what_is_missing_is_left_out() -> None:
    values = np.array([1.0, np.nan, 4.0, 2.0])
    assert figure(mean, values)["value"] == pytest.approx(7 / 3) and median(values) == 2
    assert median(np.array([[3.0, np.nan, 1.0]])) == [2] and np.isnan(median(np.array([np.nan, np.nan])))
    assert all(np.isnan(x) for x in figure(mean, np.full(3, np.nan)).values())
    assert all(np.isnan(x) for x in figure(mean, np.zeros(0)).values())


def test_a_ratio_draws_both_sides_of_a_start_together() -> None:
    whole = np.random.default_rng(0).uniform(1, 5, 30)
    found = figure(share, 0.3 * whole, whole)
    assert found["low"] == pytest.approx(0.3) and found["high"] == pytest.approx(0.3)
    assert f1(np.array([2, 1]), np.array([4, 0]), np.array([3, 2])) == pytest.approx(6 / 9)


def test_samples_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"samples must be of one length, got \[\[2\], \[3\]\]"):
        figure(share, np.zeros(2), np.zeros(3))
