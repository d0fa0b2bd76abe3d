"""Pong as the evaluation reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from .game_reader import PADDLE_AND_BALL, Held, Measure, Readings, ball_errors, paddle_errors, share_of
from .objects import PongObjects, valid_picture


class PongReader:
    """Paddle, ball and points. See `GameReader`."""

    measures: Mapping[str, Measure] = PADDLE_AND_BALL
    run_titles: Mapping[str, str] = {"valid": "valid picture", "ball_in_play": "ball there while in play"}
    held: Sequence[Held] = (Held("up", 2), Held("down", 3))

    def read(self, frames: np.ndarray) -> Readings:
        """`PongObjects` of pictures, and which are valid."""
        return asdict(PongObjects.read(frames)) | {"valid": valid_picture(frames)}

    def errors(self, ours: Readings, real: Readings) -> dict[str, np.ndarray]:
        """Own paddle and ball."""
        return paddle_errors(ours["own_y"], real["own_y"]) | ball_errors(ours, real)

    def follow(self, readings: Readings, rewards: np.ndarray, begins: np.ndarray) -> dict[str, np.ndarray]:
        """Valid pictures, and balls where one should be."""
        return {"valid": readings["valid"].astype(np.float64),
                "ball_in_play": share_of(readings["ball"], in_play(rewards, begins))}

    def place(self, readings: Readings) -> np.ndarray:
        """Row of the own paddle's centre."""
        return readings["own_y"]


def in_play(rewards: np.ndarray, begins: np.ndarray | None = None, wait: int = 18) -> np.ndarray:
    """Steps [T] more than `wait` steps after a point: the real game serves 15 or 16 steps after one.

    Args:
        rewards: float [T].
        begins: bool [T], whether a game begins; the first ball of one comes as late.
        wait: steps.
    """
    playing = np.ones(len(rewards), bool)
    for t in np.flatnonzero((rewards != 0) | (begins if begins is not None else False)):
        playing[t : t + wait] = False
    return playing
