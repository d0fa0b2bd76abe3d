"""What is read in Pong and Breakout, on pictures of the real games and on such that are wrong in a known way."""

import numpy as np
import pytest

from recorders import behaviour_for, game_for, make_game
from world_model.breakout_reader import BreakoutReader
from world_model.game_reader import GameReader, reader_for
from world_model.pong_reader import PongReader, in_play

PONG, BREAKOUT = "ALE/Pong-v5", "ALE/Breakout-v5"
SHAPE = (104, 80, 3)


def played(game_id: str, actions: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [T, ...], rewards [T] and begins [T] of real play by the scripted player."""
    game, rng = make_game(game_for(game_id)), np.random.default_rng(seed)
    player = behaviour_for(game_id, [""] * actions).part("scripted")
    player.reset(rng)
    frames, rewards, begins = [game.reset(seed=seed)[0]], [0.0], [True]
    while len(frames) < steps:
        frame, reward, terminated, _, _ = game.step(player.act(frames[-1], rng))
        frames.append(frame)
        rewards.append(float(reward))
        begins.append(False)
        if terminated:
            frames.append(game.reset(seed=seed + len(frames))[0])
            rewards.append(0.0)
            begins.append(True)
    return np.stack(frames), np.array(rewards), np.array(begins)


@pytest.fixture(scope="module")
def breakout() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return played(BREAKOUT, 4, 700, 3)


@pytest.mark.parametrize(("game", "kind"), [(PONG, PongReader), (BREAKOUT, BreakoutReader)])
def test_a_game_has_its_reader(game: str, kind: type) -> None:
    assert isinstance(reader_for(game, SHAPE), kind)
    assert reader_for(game, (64, 64, 3)) is None and reader_for("CartPole-v1", SHAPE) is None


@pytest.mark.parametrize(("reader", "game", "actions"), [(PongReader(), PONG, 6), (BreakoutReader(), BREAKOUT, 4)])
def test_the_real_game_makes_no_error_against_itself(reader: GameReader, game: str, actions: int) -> None:
    readings = reader.read(played(game, actions, 80, 1)[0])
    errors = reader.errors(readings, readings)
    assert set(errors) == set(reader.measures)
    for name, values in errors.items():
        right = 1 if name in ("paddle_within_1", "ball_within_2", "ball_recall") or name.endswith("_right") else 0
        right = 1 if name == "bricks_within_1" else right
        assert values.shape == (80,) and set(values[~np.isnan(values)]) <= {float(right)}, name


def test_errors_of_known_size_in_pong() -> None:
    empty = played(PONG, 6, 30, 1)[0][-1:].copy()
    empty[:, 17:97, 70:72] = (144, 72, 17)
    real, moved = empty.copy(), empty.copy()
    real[:, 40:48, 70:72] = moved[:, 43:51, 70:72] = (92, 186, 92)
    reader = PongReader()
    errors = reader.errors(reader.read(moved), reader.read(real))
    assert errors["paddle_px"] == pytest.approx([3], abs=0.01) and errors["paddle_within_1"].tolist() == [0]
    assert reader.errors(reader.read(empty), reader.read(real))["paddle_px"].tolist() == [20]


def test_errors_of_known_size_in_breakout(breakout: tuple[np.ndarray, ...]) -> None:
    reader, frames = BreakoutReader(), breakout[0]
    real = frames[reader.read(frames)["bricks"] == 108][:1]
    drawn = real.copy()
    drawn[:, 43:46, 4:16] = 0  # three bricks of the lowest row
    drawn[:, 2:7, 18:24] = 0  # the first digit
    errors = reader.errors(reader.read(drawn), reader.read(real))
    assert errors["bricks"].tolist() == [3] and errors["wall"].tolist() == [3]
    assert errors["bricks_within_1"].tolist() == [0] and errors["score_right"].tolist() == [0]
    assert errors["lives_right"].tolist() == [1] and errors["paddle_px"].tolist() == [0]


def test_a_wall_with_other_bricks_has_the_right_number_and_is_wrong(breakout: tuple[np.ndarray, ...]) -> None:
    reader, frames = BreakoutReader(), breakout[0]
    full = frames[reader.read(frames)["bricks"] == 108][:1]
    a, b = full.copy(), full.copy()
    a[:, 43:46, 4:8], b[:, 43:46, 20:24] = 0, 0
    errors = reader.errors(reader.read(a), reader.read(b))
    assert errors["bricks"].tolist() == [0] and errors["wall"].tolist() == [2]


def test_the_wait_for_a_serve_is_not_play() -> None:
    rewards = np.zeros(40)
    rewards[5] = 1
    playing = in_play(rewards)
    assert playing[:5].all() and not playing[5:23].any() and playing[23:].all()
    begins = np.arange(40) == 30
    assert not in_play(rewards, begins)[30:].any()


def test_the_real_breakout_keeps_its_rules(breakout: tuple[np.ndarray, ...]) -> None:
    frames, rewards, begins = breakout
    reader = BreakoutReader()
    kept = reader.follow(reader.read(frames), rewards, begins)
    assert set(kept) == set(reader.run_titles) and (rewards > 0).sum() >= 5
    assert np.nanmean(kept["valid"]) > 0.95 and np.nanmean(kept["bricks_stay"]) == 1
    assert np.nanmean(kept["score_agrees"]) == 1 and np.nanmean(kept["lives_fall"]) == 1
    assert np.nanmean(kept["ball_in_play"]) > 0.8


def test_broken_rules_of_breakout_are_seen(breakout: tuple[np.ndarray, ...]) -> None:
    frames, rewards, begins = breakout
    reader = BreakoutReader()
    readings = reader.read(frames)
    back = reader.follow(reader.read(frames[::-1]), rewards * 0, np.zeros(len(frames), bool))
    assert np.nanmean(back["bricks_stay"]) < 1 and np.nanmean(back["lives_fall"]) < 1
    assert np.nanmean(back["score_agrees"]) == 0  # it changes, and nothing was given
    unpaid = reader.follow(readings | {"score": readings["score"] * 0}, rewards, begins)
    assert np.nanmean(unpaid["score_agrees"]) == 0
    late = reader.follow(readings, np.roll(rewards, 3), np.roll(begins, 3))
    assert np.nanmean(late["score_agrees"]) < 0.5


def test_a_wall_built_anew_breaks_no_rule() -> None:
    wall = np.zeros((4, 6, 18), bool)
    wall[2:] = True
    wall[1, 0, 0] = True
    readings = {"wall": wall, "valid": np.ones(4, bool), "ball": np.ones(4, bool), "score": np.zeros(4, int),
                "lives": np.full(4, 5)}
    kept = BreakoutReader().follow(readings, np.zeros(4), np.zeros(4, bool))
    assert np.isnan(kept["bricks_stay"][0]) and kept["bricks_stay"][1:].tolist() == [0, 1, 1]


def test_pong_from_noise_is_told() -> None:
    real = played(PONG, 6, 40, 5)[0][20:]
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    reader = PongReader()
    kept = reader.follow(reader.read(np.concatenate([real, noise])), np.zeros(40), np.zeros(40, bool))
    assert kept["valid"].tolist() == [1] * 20 + [0] * 20
