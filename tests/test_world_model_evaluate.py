"""Evaluation against the real game: saved states, errors over horizons, and the whole command for several games."""

import json
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from conftest import save_tiny_world
from game_worlds import save_game_world

from recorders import game_for, make_game
from world_model import WorldError, load_world, read_card
from world_model.control import held_actions, obeys
from world_model.evaluate import EvaluateConfig, evaluate
from world_model.game_reader import reader_for
from world_model.horizons import (
    Rollouts,
    curves,
    errors_of,
    look_figures,
    outcome_figures,
    real_rollouts,
    still_rollouts,
)
from world_model.pong_reader import PongReader
from world_model.report_parts import ReportParts, to_json
from world_model.scenarios import Scenario, collect_scenarios, replay

MEANINGS = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
LITTLE = {"starts": 3, "horizon": 8, "control_starts": 2, "free_steps": 12, "batch": 2, "inverse_steps": 40,
          "inverse_updates": 3, "seeds": 2, "seed_starts": 2, "seed_horizon": 4}  # fmt: skip


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    game = make_game(game_for("ALE/Pong-v5"))
    return collect_scenarios(game, "ALE/Pong-v5", MEANINGS, count=3, context=4, horizon=6, seed=900, progress=False)


@pytest.fixture(scope="module")
def report(tiny_world: Path, other_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    folder = copytree(tiny_world, tmp_path_factory.mktemp("evaluated") / "Tiny-v0")
    return evaluate(EvaluateConfig(world=str(folder), beside=str(other_world), passes=[1], **LITTLE)), folder


def test_scenarios_hold_what_the_game_did(scenarios: list[Scenario]) -> None:
    for scenario in scenarios:
        assert scenario.frames.shape == (4, 104, 80, 3) and scenario.past_actions.shape == (3,)
        assert scenario.real_frames.shape == (6, 104, 80, 3) and scenario.actions.shape == (6,)


def test_a_saved_game_continues_with_the_same_frames(scenarios: list[Scenario]) -> None:
    game = make_game(game_for("ALE/Pong-v5"))
    game.reset(seed=1)
    for scenario in scenarios:
        assert (replay(game, scenario.snapshot, scenario.actions) == scenario.real_frames).all()


def test_short_episodes_have_starts_too() -> None:
    game = make_game(game_for("CartPole-v1"))
    found = collect_scenarios(game, "CartPole-v1", ["0", "1"], count=4, context=6, horizon=9, seed=5, progress=False)
    assert len(found) == 4 and all(s.frames.shape == (6, 80, 120, 3) and s.snapshot is None for s in found)
    assert any(s.over.any() for s in found)
    with pytest.raises(ValueError, match="no episode of CartPole-v1 reached 900 frames"):
        collect_scenarios(game, "CartPole-v1", ["0", "1"], count=1, context=900, horizon=2, seed=5, progress=False)


def test_a_time_limit_is_no_end_of_the_game() -> None:
    config = game_for("CartPole-v1")
    config.kwargs["max_episode_steps"] = 6
    found = collect_scenarios(make_game(config), "CartPole-v1", ["0", "1"], count=3, context=2, horizon=12, seed=5,
                              progress=False)
    assert all(s.over.any() for s in found) and not all(s.terminated.any() for s in found)


def test_the_real_game_scores_perfectly_against_itself(scenarios: list[Scenario]) -> None:
    real, over, reader = real_rollouts(scenarios), np.stack([s.over for s in scenarios]), PongReader()
    found = curves(errors_of(real, real, over, reader), reader)
    assert list(found["psnr"]) == ["1", "4"]
    perfect = {"psnr": 60, "ssim": 1, "paddle_px": 0, "ball_px": 0, "ball_within_2": 1, "ball_false": 0}
    for name, wanted in perfect.items():
        values = [part["value"] for part in found[name].values()]
        assert all(np.isnan(x) or x == pytest.approx(wanted) for x in values), name
    looks = look_figures(real, real, over)
    assert looks["motion_ratio"]["value"] == 1 and looks["exposure_error"]["value"] == 0
    assert look_figures(still_rollouts(scenarios), real, over)["motion_ratio"]["value"] == 0


def test_pictures_after_the_end_are_not_compared(scenarios: list[Scenario]) -> None:
    real, over = real_rollouts(scenarios), np.zeros((3, 6), bool)
    over[0, 2:] = True
    drawn = still_rollouts(scenarios)
    errors = errors_of(drawn, real, over, None)
    assert np.isnan(errors.values["psnr"]).tolist() == [[False, True], [False, False], [False, False]]
    assert set(outcome_figures(drawn, real, over)) >= {"reward_exact_6", "reward_slack1_6", "termination_slack1_all"}


def test_what_comes_after_an_end_is_no_event() -> None:
    def rows(**changes: list[tuple[int, int]]) -> list[np.ndarray]:
        made = [np.zeros((2, 12)), np.zeros((2, 12), bool)]
        for array, places in zip(made, changes.values(), strict=True):
            for row, step in places:
                array[row, step if array.dtype == float else slice(step, None)] = 1
        return made

    frames = np.zeros((2, 12, 1, 1, 3), np.uint8)
    real = Rollouts(frames, *rows(rewards=[(0, 1), (1, 3)], ended=[(0, 4)]))
    over = real.ended.copy()
    over[1, 4:] = True  # a time limit
    drawn = Rollouts(frames, *rows(rewards=[(0, 1), (0, 6), (1, 4), (1, 8)], ended=[(0, 5), (1, 7)]))
    found = outcome_figures(drawn, real, over)
    assert found["reward_slack1_all"]["f1"]["value"] == 1 and found["reward_slack1_all"]["drawn"] == 2
    assert found["return_error_all"]["value"] == 0
    assert found["termination_slack1_all"]["precision"]["value"] == 1
    late = Rollouts(frames, *rows(rewards=[], ended=[(0, 8)]))  # an end at the wrong time is one
    assert outcome_figures(late, real, over)["termination_slack1_all"]["precision"]["value"] == 0
    early = Rollouts(frames, *rows(rewards=[(1, 3)], ended=[(1, 0)]))  # nobody sees what an ended world does
    assert outcome_figures(early, real, over)["reward_slack1_all"]["drawn"] == 0


def test_obedience_is_going_the_asked_way_or_standing_at_the_wall() -> None:
    ours, theirs = np.array([-9, -2, 8, np.nan, 1, 7]), np.array([-12, -12, -12, -12, 0, np.nan])
    assert obeys(ours, theirs).tolist() == [True, False, False, False, True, False]


def test_held_actions_are_those_of_the_games_reader(tiny_world: Path, scenarios: list[Scenario]) -> None:
    game = make_game(game_for("ALE/Pong-v5"))
    game.reset(seed=1)
    found = held_actions(load_world(tiny_world), game, PongReader(), scenarios, steps=2)
    assert set(found) == {"up", "down"} and found["up"]["of"] == 3
    assert found["up"]["real_px"]["value"] < 0 < found["down"]["real_px"]["value"]


def test_a_report_is_written_beside_the_world(report: tuple[dict, Path]) -> None:
    found, folder = report
    stored = json.loads((folder / "evaluation.json").read_text())
    assert stored["hash"] == load_world(folder).hash and stored["env"] == "ALE/Pong-v5"
    assert set(stored["horizons"]) == {"world", "shuffled_actions", "repeat_last", "action_gap"}
    assert set(stored["horizons"]["world"]["curves"]["ssim"]["8"]) == {"value", "low", "high"}
    assert set(stored["free_run"]) == {"world", "real", "frozen"} and stored["free_run"]["world"]["steps"] == 12
    control = stored["control"]
    assert control["held"]["up"]["of"] == 2 and 0 <= control["inverse_dynamics"]["real"]["value"] <= 1
    assert set(stored["seeds"]["diversity"]) == {"1", "4"} and list(stored["passes"]) == ["1"]
    assert "NaN" not in (folder / "evaluation.json").read_text()
    assert not list(folder.glob("*.part")) and not list(folder.glob("*.new"))
    assert {row["name"]: row["met"] for row in found["targets"]}["own paddle error after 16 steps, px"] is None


def test_a_second_world_is_measured_alike(report: tuple[dict, Path], other_world: Path) -> None:
    beside = report[0]["beside"]
    assert beside["hash"] == load_world(other_world).hash != report[0]["hash"]
    for part in ("horizons", "control", "free_run", "seeds", "passes"):
        assert beside[part].keys() == report[0][part].keys(), part


def test_the_card_gets_a_small_summary(report: tuple[dict, Path]) -> None:
    metrics = read_card(report[1])["metrics"]
    assert metrics["starts"] == 3 and set(metrics["psnr"]) == {"1", "4", "8"}
    assert len(json.dumps(metrics)) < 10_000
    assert load_world(report[1]).hash == report[0]["hash"]


def test_the_page_needs_nothing_outside_of_it(report: tuple[dict, Path]) -> None:
    folder = report[1]
    text = (folder / "evaluation.html").read_text()
    assert len(text) < 400_000 and (folder / "evaluation.png").stat().st_size > 10_000
    assert not re.findall(r'(?:src|href)="(?!data:)', text) and "http" not in text
    assert text.count("<img") == 5  # charts, and two strips of either world
    for words in ("own paddle error after 16 steps, px", "second world", "VDE", "real game", "NOOP = FIRE"):
        assert words in text


def test_a_killed_evaluation_goes_on_where_it_was(tiny_world: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    config = EvaluateConfig(world=str(tiny_world), out=str(tmp_path), quick=True, **LITTLE)
    with monkeypatch.context() as broken:
        broken.setattr("world_model.measurements.run_figures", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate(config)
    part = tmp_path / "evaluation-quick.json.part"
    done = json.loads(part.read_text())["parts"]
    assert set(done) == {"horizons", "seeds"}
    with monkeypatch.context() as watched:
        watched.setattr("world_model.measurements.seed_spread", _interrupt)  # is not drawn again
        found = evaluate(config)
    assert found["horizons"]["world"] == done["horizons"]["world"] and not part.exists()
    assert (tmp_path / "evaluation-quick.html").is_file()


def test_parts_of_another_evaluation_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json.part"
    assert ReportParts(path, {"starts": 9}).get("seeds", lambda: {"value": float("nan")}) == {"value": None}
    assert ReportParts(path, {"starts": 9}).get("seeds", _interrupt) == {"value": None}
    assert ReportParts(path, {"starts": 8}).get("seeds", lambda: {"value": 2}) == {"value": 2}
    assert ReportParts(path, {"starts": 8}, resume=False).get("seeds", lambda: {"value": 3}) == {"value": 3}
    path.write_text('{"key": {"starts": 8}, "par')  # torn by something else than us
    assert ReportParts(path, {"starts": 8}).get("seeds", lambda: {"value": 4}) == {"value": 4}


def test_a_report_has_a_figure_per_line() -> None:
    text = to_json({"psnr": {"1": {"value": np.float64(1) / 3, "low": float("nan")}, "4": {}}, "tenths": [1.0, 2.5]})
    assert text == ('{\n "psnr": {\n  "1": {"value": 0.333333, "low": null},\n  "4": {}\n },\n'
                    ' "tenths": [1.0, 2.5]\n}\n')
    assert json.loads(text)["psnr"]["4"] == {}


@pytest.mark.parametrize(("game", "patch"), [
    ("ALE/Freeway-v5", (26, 20)), ("CartPole-v1", (20, 20)), ("Pendulum-v1", (16, 16))])  # fmt: skip
def test_the_same_command_measures_a_game_without_a_reader(game: str, patch: tuple[int, int], tmp_path: Path) -> None:
    folder = save_game_world(tmp_path / "Any-v0", game, patch)
    found = evaluate(EvaluateConfig(world=str(folder), **LITTLE))
    assert reader_for(game, found["frame_shape"]) is None
    for row in ("world", "shuffled_actions", "repeat_last"):
        assert set(found["horizons"][row]["curves"]) == {"psnr", "ssim"}
    assert found["free_run"]["world"].keys() == found["free_run"]["real"].keys()
    assert "held" not in found["control"] and found["control"]["inverse_dynamics"]["real"]["value"] is not None
    assert (found["seeds"]["diversity"]["1"]["real"]["value"] is None) == (game[:4] != "ALE/")
    assert len((folder / "evaluation.html").read_text()) < 400_000


def test_breakout_reports_the_row_of_pong_and_its_own(tmp_path: Path) -> None:
    folder = save_game_world(tmp_path / "Breakout-v0", "ALE/Breakout-v5", (26, 20))
    found = evaluate(EvaluateConfig(world=str(folder), **LITTLE | {"horizon": 64, "starts": 2}))
    curves = found["horizons"]["world"]["curves"]
    for name in ("paddle_px", "ball_px", "ball_within_2", "bricks", "score_right", "lives_right"):
        assert list(curves[name]) == ["1", "4", "8", "16", "32", "64"]
    names = [row["name"] for row in found["targets"]]
    assert "error in the number of bricks after 64 steps" in names and "own paddle error after 16 steps, px" in names
    real = found["free_run"]["real"]
    assert {"valid", "bricks_stay", "score_agrees", "lives_fall", "ball_in_play"} <= set(real)


def test_impossible_amounts_are_refused() -> None:
    with pytest.raises(ValueError, match="seeds must be at least 2, got 1"):
        EvaluateConfig(world="x", seeds=1)
    with pytest.raises(ValueError, match="starts must be at least 2, got 1"):
        EvaluateConfig(world="x", starts=1)
    with pytest.raises(ValueError, match="passes must be at least 1"):
        EvaluateConfig(world="x", passes=[0])
    assert EvaluateConfig(world="x", quick=True, starts=5).amount("starts") == 5
    assert EvaluateConfig(world="x", quick=True).amount("free_steps") == 500
    assert EvaluateConfig(world="x").amounts()["free_steps"] == 10_000


def test_worlds_of_two_sizes_are_not_compared(tiny_world: Path, tmp_path: Path) -> None:
    other = save_game_world(tmp_path / "Other-v0", "ALE/Pong-v5", (26, 20), full_action_space=True)
    with pytest.raises(ValueError, match=r"both worlds must draw the same pictures .* from 0 to 5, .* from 0 to 17"):
        evaluate(EvaluateConfig(world=str(tiny_world), beside=str(other), **LITTLE))


def test_a_file_where_the_report_should_go_is_named(tiny_world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"out=.*file cannot be a folder \(File exists\); pass another"):
        evaluate(EvaluateConfig(world=str(tiny_world), out=str(tmp_path / "file"), **LITTLE))


def test_the_wrong_game_is_named(tiny_world: Path) -> None:
    command = [sys.executable, "-m", "world_model.evaluate", f"world={tiny_world}", "env=ALE/Breakout-v5"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert result.returncode == 2
    assert result.stderr.strip() == ("evaluate: this world was learned from ALE/Pong-v5, not from ALE/Breakout-v5; "
                                     "pass env=ALE/Pong-v5")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_each_game_of_a_world_is_measured_by_itself(tmp_path: Path) -> None:
    folder = save_tiny_world(tmp_path / "Two-v0", conditions=("Pong", "Breakout"))
    for name in ("Pong", "Breakout"):
        found = evaluate(EvaluateConfig(world=str(folder), condition=name, **LITTLE))
        assert found["env"] == f"ALE/{name}-v5" and (folder / f"evaluation-{name}.json").is_file()
    assert set(read_card(folder)["metrics"]) == {"Pong", "Breakout"}
    for condition in ("", "Freeway"):
        with pytest.raises(WorldError, match=r"holds \['Pong', 'Breakout'\]"):
            evaluate(EvaluateConfig(world=str(folder), condition=condition, **LITTLE))
    with pytest.raises(WorldError, match="holds one game"):
        evaluate(EvaluateConfig(world=str(save_tiny_world(tmp_path / "One-v0")), condition="Pong", **LITTLE))
