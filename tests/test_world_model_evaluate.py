"""Evaluation against the real game: saved states, figures on known answers, and the whole command once."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from recorders import game_for, make_game
from world_model import load_world
from world_model.evaluate import EvaluateConfig, evaluate
from world_model.metrics import compare, event_scores, free_run_figures, in_play, object_errors, psnr
from world_model.scenarios import Scenario, collect_scenarios, replay

MEANINGS = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    game = make_game(game_for("ALE/Pong-v5"))
    return collect_scenarios(game, "ALE/Pong-v5", MEANINGS, count=3, context=4, horizon=6, seed=900, progress=False)


def test_scenarios_hold_what_the_game_did(scenarios: list[Scenario]) -> None:
    for scenario in scenarios:
        assert scenario.frames.shape == (4, 104, 80, 3) and scenario.past_actions.shape == (3,)
        assert scenario.real_frames.shape == (6, 104, 80, 3) and scenario.actions.shape == (6,)


def test_a_saved_game_continues_with_the_same_frames(scenarios: list[Scenario]) -> None:
    game = make_game(game_for("ALE/Pong-v5"))
    game.reset(seed=1)
    for scenario in scenarios:
        assert (replay(game, scenario.snapshot, scenario.actions) == scenario.real_frames).all()


def test_the_real_game_scores_perfectly_against_itself(scenarios: list[Scenario]) -> None:
    real = np.stack([s.real_frames for s in scenarios])
    rewards = np.stack([s.rewards for s in scenarios])
    ends = np.stack([s.terminated for s in scenarios])
    figures = compare((real, rewards, ends), (real, rewards, ends), pong=True)
    assert figures["curves"]["horizon"] == [1, 4]
    assert figures["curves"]["psnr"] == [60.0, 60.0]
    assert figures["curves"]["paddle_px"] == [0.0, 0.0]
    assert all(np.isnan(x) or x == 1 for x in figures["curves"]["ball_within_2"])


def test_errors_of_known_size(scenarios: list[Scenario]) -> None:
    empty = scenarios[0].real_frames[:1].copy()
    empty[:, 17:97, 70:72] = (144, 72, 17)
    real, moved = empty.copy(), empty.copy()
    real[:, 40:48, 70:72] = moved[:, 43:51, 70:72] = (92, 186, 92)
    errors = object_errors(moved, real)
    assert errors["paddle_px"] == pytest.approx(3, abs=0.01) and errors["paddle_within_1"] == 0
    flat = np.zeros((1, 4, 4, 3), np.uint8)
    assert psnr(flat, flat + 10)[0] == pytest.approx(28.13, abs=0.01)


def test_events_match_within_the_slack_and_by_sign() -> None:
    real = np.zeros((1, 10))
    drawn = np.zeros((1, 10))
    real[0, [2, 6]] = 1, -1
    drawn[0, [3, 6, 8]] = 1, 1, -1
    exact, slack = event_scores(drawn, real, 0), event_scores(drawn, real, 1)
    assert (exact["precision"], exact["recall"], exact["f1"]) == (0, 0, 0)
    assert slack["precision"] == pytest.approx(1 / 3) and slack["recall"] == pytest.approx(1 / 2)
    assert slack["f1"] == pytest.approx(0.4) and (slack["drawn"], slack["real"]) == (3, 2)
    assert np.isnan(event_scores(drawn * 0, real, 0)["precision"])


def test_the_wait_for_a_serve_is_not_play() -> None:
    rewards = np.zeros(40)
    rewards[5] = 1
    playing = in_play(rewards)
    assert playing[:5].all() and not playing[5:23].any() and playing[23:].all()


def test_free_run_figures_tell_pong_from_noise(scenarios: list[Scenario]) -> None:
    real = scenarios[0].real_frames
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    figures = free_run_figures(np.concatenate([real, noise]), np.zeros(12), block=6)
    assert figures["steps"] == 12 and figures["valid"] == [1.0, 0.0]


def test_a_report_is_written_beside_the_world(tiny_world: Path, tmp_path: Path) -> None:
    folder = copytree(tiny_world, tmp_path / "Tiny-v0")
    report = evaluate(EvaluateConfig(world=str(folder), starts=3, horizon=8, control_starts=2, free_steps=12, batch=2))
    assert set(report["horizons"]) == {"world", "shuffled_actions", "repeat_last"}
    assert report["control"]["up"]["of"] == 2 and report["free_run"]["steps"] == 12
    stored = json.loads((folder / "evaluation.json").read_text())
    assert stored["hash"] == load_world(folder).hash
    assert (folder / "evaluation.png").stat().st_size > 10_000
    assert load_world(folder).card["metrics"]["starts"] == 3


def test_the_wrong_game_is_named(tiny_world: Path) -> None:
    command = [sys.executable, "-m", "world_model.evaluate", f"world={tiny_world}", "env=ALE/Breakout-v5"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert result.returncode == 2
    assert result.stderr.strip() == ("evaluate: this world was learned from ALE/Pong-v5, not from ALE/Breakout-v5; "
                                     "pass env=ALE/Pong-v5")
