"""Drift on runs of which it is known what is wrong with them: real Pong, at rest, fading, flickering."""

import numpy as np
import pytest

from recorders import behaviour_for, game_for, make_game
from world_model.drift import Look, deviations, drift_figures, likeness, vde
from world_model.free_run import in_game, log, run_figures

GAME = "ALE/Pong-v5"


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """400 frames of Pong."""
    game = make_game(game_for(GAME))
    moments = in_game(game, behaviour_for(GAME, [""] * 6), 3, 100)
    return np.stack([next(moments)[0] for _ in range(400)])


def faded(frames: np.ndarray, goal: float) -> np.ndarray:
    """Frames that turn into one grey, little by little."""
    rest = np.linspace(1, 0.05, len(frames))[:, None, None, None]
    return (rest * frames + (1 - rest) * goal).astype(np.uint8)


def test_a_run_of_the_real_game_is_like_another(real: np.ndarray) -> None:
    found = drift_figures(Look.of(real[:200]), Look.of(real[200:]))
    assert found["score"] > 0.5 and found["clarity"]["likeness"]["value"] > 0.95
    assert found["exposure_stability"] > 99


def test_a_world_at_rest_has_no_drift_and_no_score(real: np.ndarray) -> None:
    found = drift_figures(Look.of(np.repeat(real[50:51], 400, 0)), Look.of(real))
    assert all(set(found[name]["vde"].values()) == {0.0} for name in ("exposure", "clarity", "motion", "palette"))
    assert found["motion"]["likeness"]["value"] == 0 and found["score"] == 0


def test_faint_noise_does_not_pass_for_motion(real: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(-2, 3, real.shape)
    trembling = np.clip(real[50].astype(int) + noise, 0, 255).astype(np.uint8)
    assert drift_figures(Look.of(trembling), Look.of(real))["score"] == 0


def test_a_world_that_stops_half_way_has_no_score(real: np.ndarray) -> None:
    stopped = np.concatenate([real[:200], np.repeat(real[199:200], 200, 0)])
    found = drift_figures(Look.of(stopped), Look.of(real))
    assert found["score"] == 0 and found["motion"]["vde"]["late"] > found["motion"]["vde"]["linear"] > 0.3


@pytest.mark.parametrize("goal", [0, 105, 255])
def test_a_world_that_washes_out_scores_badly(real: np.ndarray, goal: float) -> None:
    found = drift_figures(Look.of(faded(real, goal)), Look.of(real))
    assert found["score"] < 0.1
    assert found["clarity"]["vde"]["flat"] > 0.5 and found["clarity"]["likeness"]["low"] < 0.5


def test_a_world_washed_out_from_the_start_is_seen_beside_the_real_game(real: np.ndarray) -> None:
    pale = (0.3 * real + 0.7 * 105).astype(np.uint8)
    found = drift_figures(Look.of(pale), Look.of(real))
    assert found["clarity"]["vde"]["flat"] < 0.05 and found["clarity"]["likeness"]["value"] < 0.2
    assert found["score"] < 0.2 and found["palette"]["likeness"]["value"] < 0.7


def test_noise_is_not_motion(real: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 8, real.shape)
    found = drift_figures(Look.of(np.clip(real + noise, 0, 255).astype(np.uint8)), Look.of(real))
    assert found["motion"]["likeness"]["value"] < 0.2 and found["score"] < 0.2


def test_error_sums_are_the_weighted_ones_of_the_definition() -> None:
    deviation = deviations(np.array([2.0, 3.0, 2.0, 4.0]))
    assert deviation.tolist() == [0.5, 0.0, 1.0]
    found = vde(deviation)
    assert found["linear"] == pytest.approx((3 * 0.5 + 1 * 1) / 6) and found["flat"] == pytest.approx(0.5)
    assert found["late"] == pytest.approx((1 * 0.5 + 3 * 1) / 6)
    assert found["log"] == pytest.approx(np.log(3) * 0.5 / (np.log(3) + np.log(2)))
    assert np.isnan(deviations(np.array([0.0, 1.0]))[0]) and deviations(np.zeros(3)).tolist() == [0, 0]


def test_drift_grows_with_blur(real: np.ndarray) -> None:
    def blurred(frames: np.ndarray, times: int) -> np.ndarray:
        x = frames.astype(float)
        for _ in range(times):
            x = (x + np.roll(x, 1, 2) + np.roll(x, -1, 2)) / 3
        return x.astype(np.uint8)

    def drifting(times: int) -> np.ndarray:
        return np.concatenate([blurred(real[i : i + 100], times * i // 100) for i in range(0, 400, 100)])

    errors = [drift_figures(Look.of(drifting(times)), Look.of(real))["clarity"]["vde"]["flat"] for times in (0, 1, 2)]
    assert errors[0] < 0.05 < errors[1] < errors[2]


def test_likeness_does_not_ask_who_is_larger() -> None:
    assert likeness(np.array([1.0, 4.0, 2.0, 0.0]), 2.0).tolist() == [0.5, 0.5, 1, 0]
    assert likeness(np.zeros(2), 0.0).tolist() == [1, 1]


def test_a_run_read_in_blocks_is_the_run_read_whole(real: np.ndarray) -> None:
    run = log(((frame, 0.0, t == 0) for t, frame in enumerate(real)), 400, None, progress=False)
    whole = Look.of(real)
    for name in ("exposure", "clarity", "motion", "palette"):
        np.testing.assert_array_equal(getattr(run.look, name), getattr(whole, name))
    found = run_figures(run, run)
    assert (found["steps"], found["games"]) == (400, 1) and found["motion_ratio"]["value"] == pytest.approx(1, abs=0.01)
    assert run.shown.shape == (10, 104, 80, 3) and (run.shown[[0, -1]] == real[[0, -1]]).all()


def test_a_new_game_is_no_motion(real: np.ndarray) -> None:
    moments = [(real[0], 0.0, True), (real[1], 0.0, False), (255 - real[2], 0.0, True), (255 - real[3], 0.0, False)]
    run = log(iter(moments), 4, None, progress=False)
    assert np.isnan(run.look.motion).tolist() == [True, False, True, False] and np.nanmax(run.look.motion) < 20
