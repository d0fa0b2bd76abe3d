"""Spread over seeds and what it says of the error, on ensembles of known spread and error."""

from pathlib import Path

import numpy as np
import pytest

from recorders import game_for, make_game
from world_model import load_world
from world_model.scenarios import collect_scenarios
from world_model.seed_spread import calibration_figures, error_of, quintiles, rank_correlation, seed_spread, spread_of

MEANINGS = ["NOOP", "FIRE", "RIGHT", "LEFT"]


def ensembles(scales: np.ndarray, sure: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Spread and error [B, 1] of 8 drawings each from the law that the truth is from, their deviations times `sure`."""
    rng = np.random.default_rng(seed)
    spread, error = np.zeros((2, len(scales), 1))
    for b, scale in enumerate(scales):
        centre = rng.uniform(100, 150, (1, 16, 16, 3))
        drawn = centre + sure * rng.normal(0, scale, (8, 1, 16, 16, 3))
        spread[b], error[b] = spread_of(drawn), error_of(drawn, centre + rng.normal(0, scale, centre.shape))
    return spread, error


def test_a_calibrated_world_spreads_as_far_as_it_errs() -> None:
    scales = np.random.default_rng(1).uniform(2, 20, 40)
    found = calibration_figures(*ensembles(scales, 1), np.zeros(40), [8], 8)
    assert found["8"]["ratio"]["value"] == pytest.approx(1, abs=0.05)
    assert found["8"]["rank_correlation"]["value"] > 0.95
    fifths = found["quintiles"]
    assert fifths == sorted(fifths) and fifths[0] < 0.5 < 1.5 < fifths[4]


def test_a_world_too_sure_of_itself_is_told() -> None:
    found = calibration_figures(*ensembles(np.full(30, 10.0), 0.3), np.zeros(30), [8], 8)
    assert found["8"]["ratio"]["value"] == pytest.approx(0.3, abs=0.05)


def test_spread_that_has_nothing_to_do_with_the_error_is_told() -> None:
    rng = np.random.default_rng(0)
    found = calibration_figures(rng.uniform(1, 9, (60, 1)), rng.uniform(1, 9, (60, 1)), rng.uniform(1, 9, 60), [8], 8)
    assert found["8"]["rank_correlation"]["low"] < 0 < found["8"]["rank_correlation"]["high"]


def test_rank_correlation_is_spearmans() -> None:
    a = np.array([1.0, 2.0, 2.0, 4.0, np.nan])
    assert rank_correlation(a, a**3) == pytest.approx(1) and rank_correlation(a, -a) == pytest.approx(-1)
    b = np.array([3.0, 1.0, 2.0, 4.0, 9.0])
    assert rank_correlation(a, b) == pytest.approx(np.corrcoef([0, 1.5, 1.5, 3], [2, 0, 1, 3])[0, 1])
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))


def test_too_few_starts_have_no_quintiles() -> None:
    assert np.isnan(quintiles(np.ones((4, 2)), np.ones((4, 2)))).all()


@pytest.mark.parametrize(("stickiness", "differs"), [(0.0, False), (0.5, True)])
def test_the_real_games_own_diversity_is_that_of_its_random_numbers(tiny_world: Path, stickiness: float,
                                                                     differs: bool) -> None:
    config = game_for("ALE/Pong-v5")
    config.kwargs["repeat_action_probability"] = stickiness
    game = make_game(config)
    scenarios = collect_scenarios(game, "ALE/Pong-v5", [""] * 6, count=2, context=4, horizon=16, seed=9, progress=False)
    found = seed_spread(load_world(tiny_world), game, scenarios, seeds=3, horizon=16, progress=False)
    assert set(found["diversity"]) == {"1", "4", "8", "16"}
    assert (found["diversity"]["16"]["real"]["value"] > 0) == differs
    assert all(part["world"]["value"] > 0 for part in found["diversity"].values())
