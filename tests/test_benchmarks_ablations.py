"""The catching game, how worlds of it are judged, and the rows of the ablation."""

from itertools import combinations

import numpy as np
import pytest

from benchmarks.ablations import OTHERWISE, ROWS, AblationsConfig, table
from benchmarks.catch_game import CatchGame, CatchObjects
from benchmarks.catch_judge import FIGURES, judge
from benchmarks.catch_recording import CatchPlayer, record_catch
from recorders import open_recording
from world_model.trainer_config import TrainerConfig


def played(steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    game, player, rng = CatchGame(), CatchPlayer(), np.random.default_rng(0)
    frames, rewards, ends = [game.reset(seed=0)[0]], [0.0], [False]
    for _ in range(steps):
        if ends[-1]:
            frames.append(game.reset()[0])
            rewards.append(0.0)
            ends.append(False)
            continue
        frame, reward, ended, _, _ = game.step(player.act(frames[-1], rng))
        frames.append(frame)
        rewards.append(reward)
        ends.append(ended)
    return np.stack(frames), np.array(rewards), np.array(ends)


def test_every_real_picture_is_valid_and_read_exactly() -> None:
    frames, rewards, ends = played(3000)
    found = CatchObjects.read(frames)
    assert found.valid.all() and not np.isnan(found.ball_x).any()
    lost = np.flatnonzero(rewards < 0)
    assert (found.lives[lost] == found.lives[lost - 1] - 1).all() and (rewards > 0).sum() > 50
    assert (found.lives[ends] == 0).all() and ends.sum() >= 3
    moved = np.abs(np.diff(found.paddle))[~ends[:-1]]
    assert moved.max() <= 2


def test_pictures_that_cannot_be_are_told() -> None:
    frame = CatchGame().reset(seed=1)[0]
    two, short, pale = frame.copy(), frame.copy(), frame // 2
    two[10:12, 10:12] = (236, 80, 60)
    short[22, np.flatnonzero(short[22, :, 1] == 186)[0]] = 0
    assert CatchObjects.read(np.stack([frame, two, short, pale])).valid.tolist() == [True, False, False, False]


class Still:
    """Shows the last picture again and again, where a world would be."""

    def __init__(self) -> None:
        self.model = type("Model", (), {"config": type("Config", (), {"window": 4})})

    def start_batch(self, frames: np.ndarray, actions: np.ndarray, seeds: list[int]) -> np.ndarray:
        return frames[:, -1].copy()

    def step_batch(self, state: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return state, np.zeros(len(state)), np.zeros(len(state), bool)


def test_a_world_that_stands_still_scores_badly_wherever_something_happens() -> None:
    figures = judge(Still(), 24, 30)  # type: ignore[arg-type]
    assert figures["valid"] == 100  # which is why there are others
    assert figures["ball_8"] > 5 and figures["paddle_16"] > 3 and figures["reward_f1"] == 0
    assert figures["moving"] == 0 and set(figures) == set(FIGURES)


def test_recordings_are_made_once(tmp_path) -> None:
    record_catch(tmp_path / "catch", 500)
    before = len(open_recording(tmp_path / "catch"))
    record_catch(tmp_path / "catch", 5000)
    assert 500 <= before == len(open_recording(tmp_path / "catch"))


def test_every_row_is_a_setting_and_the_table_has_means_and_spreads() -> None:
    changed = [TrainerConfig(own_share=0.0, noise_draws=1, undecided_share=0.0, moments=0) for _ in ROWS]
    for config, change in zip(changed, ROWS.values(), strict=True):
        change(config)
    assert [config.levels.teacher > 0 for config in changed] == [False, False] + [True] * (len(ROWS) - 2)
    assert all(a != b for a, b in combinations(changed, 2))
    runs = [{"row": "S + action dropout", "steps": 100, "figures": dict.fromkeys(FIGURES, value),
             "otherwise": {"sampler": {"guidance": 1.5}, "figures": dict.fromkeys(FIGURES, 5.0)}}
            for value in (1.0, 2.0)]
    lines = table(runs).splitlines()
    assert "1.50 ± 0.71" in lines[2] and lines[3].startswith("| S + action dropout, drawn with guidance 1.5 | 2 |")
    assert set(OTHERWISE) <= set(ROWS)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_game_is_decided_by_its_seed_and_actions(seed: int) -> None:
    one, two = CatchGame(), CatchGame()
    assert np.array_equal(one.reset(seed=seed)[0], two.reset(seed=seed)[0])
    for step in range(200):
        a, b = one.step(step % 3), two.step(step % 3)
        assert np.array_equal(a[0], b[0]) and a[1:4] == b[1:4]


def test_an_unknown_technique_is_named() -> None:
    with pytest.raises(ValueError, match=r"no technique is called \['magic'\]; there are \['plain'"):
        AblationsConfig(out="x", rows=["magic"])
