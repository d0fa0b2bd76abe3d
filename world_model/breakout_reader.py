"""Breakout as the evaluation reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise

import numpy as np

from .breakout_objects import COLUMNS, ROWS, BreakoutObjects, valid_picture
from .event_scores import matches
from .game_reader import PADDLE_AND_BALL, Held, Measure, Readings, ball_errors, paddle_errors, share_of


class BreakoutReader:
    """Paddle, ball, bricks, lives and score. See `GameReader`."""

    measures: Mapping[str, Measure] = PADDLE_AND_BALL | {
        "bricks": Measure("error in the number of bricks"),
        "bricks_within_1": Measure("number of bricks right to 1"),
        "wall": Measure("bricks there that are gone, or gone that are there"),
        "score_right": Measure("score right"),
        "lives_right": Measure("lives right"),
    }
    run_titles: Mapping[str, str] = {
        "valid": "valid picture", "ball_in_play": "ball there while in play", "bricks_stay": "no brick came back",
        "score_agrees": "score agrees with rewards", "lives_fall": "lives change by one, downwards"}  # fmt: skip
    held: Sequence[Held] = (Held("right", 2), Held("left", 3))

    def read(self, frames: np.ndarray) -> Readings:
        """`BreakoutObjects` of pictures, and which are valid."""
        return asdict(BreakoutObjects.read(frames)) | {"valid": valid_picture(frames)}

    def errors(self, ours: Readings, real: Readings) -> dict[str, np.ndarray]:
        """Own paddle, ball, wall, and digits wherever the real ones can be read."""
        bricks = np.abs(ours["bricks"] - real["bricks"]).astype(np.float64)
        return paddle_errors(ours["paddle_x"], real["paddle_x"]) | ball_errors(ours, real) | {
            "bricks": bricks,
            "bricks_within_1": (bricks <= 1).astype(np.float64),
            "wall": (ours["wall"] != real["wall"]).sum((-1, -2)).astype(np.float64),
            "score_right": share_of(ours["score"] == real["score"], real["score"] >= 0),
            "lives_right": share_of(ours["lives"] == real["lives"], real["lives"] >= 0),
        }

    def follow(self, readings: Readings, rewards: np.ndarray, begins: np.ndarray) -> dict[str, np.ndarray]:
        """Valid pictures, balls where one should be, and what bricks, score and lives may not do."""
        inside = ~begins
        inside[:1] = False
        return {
            "valid": readings["valid"].astype(np.float64),
            "ball_in_play": share_of(readings["ball"], _in_play(readings, rewards, begins)),
            "bricks_stay": share_of(_bricks_stay(readings["wall"]), inside),
            "score_agrees": _score_agrees(readings["score"], rewards, inside),
            "lives_fall": _lives_fall(readings["lives"], inside),
        }

    def place(self, readings: Readings) -> np.ndarray:
        """Column of the paddle's centre."""
        return readings["paddle_x"]


def _in_play(readings: Readings, rewards: np.ndarray, begins: np.ndarray, grace: int = 3) -> np.ndarray:
    """Steps [T] at which a ball should be there: a served one stays until a life is lost, or cannot be seen in bricks.

    The player serves when it likes, so play begins where a ball was seen and ends `grace` steps before the next change
    of the lives, or the next game.
    """
    breaks = np.flatnonzero(np.diff(readings["lives"], prepend=readings["lives"][:1]) != 0)
    edges = sorted({0, *breaks.tolist(), *np.flatnonzero(begins).tolist(), len(rewards)})
    playing = np.zeros(len(rewards), bool)
    for begin, end in pairwise(edges):
        seen = np.flatnonzero(readings["ball"][begin:end])
        if len(seen):
            playing[begin + seen[0] : max(end - grace, begin)] = True
    return playing


def _bricks_stay(wall: np.ndarray) -> np.ndarray:
    """Whether at each step [T] no brick came back, but for a wall built anew."""
    came = np.zeros(len(wall), bool)
    came[1:] = (wall[1:] & ~wall[:-1]).any((1, 2))
    return ~came | (wall.sum((1, 2)) == ROWS * COLUMNS)


def _score_agrees(score: np.ndarray, rewards: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """1 at a reward and at a change of the score [T] that belong together, 0 at those that do not, nan elsewhere.

    The real game shows a point in the step that gives it or in the next.
    """
    legible = score >= 0
    change = np.zeros(len(score))
    change[1:] = np.where(legible[1:] & legible[:-1], np.diff(score), 0)
    change, given = change * inside, rewards * inside
    result = np.where((change != 0) | (given != 0), 0.0, np.nan)
    for shown, rewarded in matches(change[1:], given[1:], 1):
        if shown - rewarded in (0, 1) and change[1 + shown] == given[1 + rewarded]:
            result[[1 + shown, 1 + rewarded]] = 1
    return result


def _lives_fall(lives: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """1 where the lives [T] go down by one, 0 where they change otherwise or become illegible, nan elsewhere."""
    change = np.diff(lives, prepend=lives[:1])
    return np.where(inside & (change != 0), (change == -1) & (lives >= 0), np.nan).astype(np.float64)
