"""What can be read off a game's pictures: one reader per game that has one.

A new game gets object errors, valid pictures, held actions and its own lines of the free run by a reader in
`reader_for`; every other figure of the evaluation needs none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Readings = dict[str, np.ndarray]
"""what was read off N pictures: arrays [N, ...] by name, `valid` (bool [N]) among them"""


@dataclass(frozen=True)
class Measure:
    """How an error of single pictures becomes one figure."""

    title: str
    """for people, with its unit"""
    median: bool = False
    """the middle one of all starts instead of their mean: for places that may be anywhere once they are lost"""


@dataclass(frozen=True)
class Held:
    """An action to hold and see whether the world obeys."""

    name: str
    action: int


class GameReader(Protocol):
    """Reads one game's pictures."""

    measures: Mapping[str, Measure]
    """by name, the errors that `errors` tells"""
    run_titles: Mapping[str, str]
    """by name, the figures that `follow` tells"""
    held: Sequence[Held]
    """actions that move what the player steers"""

    def read(self, frames: np.ndarray) -> Readings:
        """Everything there is to read in pictures uint8 [N, H, W, 3]."""
        ...

    def errors(self, ours: Readings, real: Readings) -> dict[str, np.ndarray]:
        """Errors of each picture against the real one, float [N] by name; nan where there is none to make."""
        ...

    def follow(self, readings: Readings, rewards: np.ndarray, begins: np.ndarray) -> dict[str, np.ndarray]:
        """What a long run keeps to, step by step.

        Args:
            readings: of T pictures in a row.
            rewards: float [T], of the step that led to each.
            begins: bool [T], whether a picture is the first of a game and has no step before it.

        Returns:
            float [T] by name, in [0, 1] (1 is right); nan where there is nothing to keep to.
        """
        ...

    def place(self, readings: Readings) -> np.ndarray:
        """Where what the player steers is, along the way it moves, in pixels: float [N], nan where it is not seen."""
        ...


def share_of(right: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Bools as 1 and 0 where `among` holds, nan elsewhere."""
    return np.where(among, right, np.nan).astype(np.float64)


def ball_errors(ours: Readings, real: Readings) -> dict[str, np.ndarray]:
    """Errors of a ball (`ball_x`, `ball_y` in pixels, `ball`: whether there is one) by name, each [N]."""
    distance = np.hypot(ours["ball_x"] - real["ball_x"], ours["ball_y"] - real["ball_y"])
    return {
        "ball_px": distance,  # nan unless both have one
        "ball_within_2": share_of(distance <= 2, real["ball"]),
        "ball_recall": share_of(ours["ball"], real["ball"]),
        "ball_false": share_of(ours["ball"], ~real["ball"]),
    }


def paddle_errors(ours: np.ndarray, real: np.ndarray) -> dict[str, np.ndarray]:
    """Errors of the own paddle from its places [N] in pixels: 20 px where it is missing; each [N]."""
    error = np.abs(ours - real)
    error = np.where(np.isnan(error) & ~np.isnan(real), 20.0, error)
    return {"paddle_px": error, "paddle_within_1": share_of(error <= 1, ~np.isnan(real))}


PADDLE_AND_BALL = {
    "paddle_px": Measure("own paddle error, px"),
    "paddle_within_1": Measure("own paddle within 1 px"),
    "ball_px": Measure("ball error, px (median)", median=True),
    "ball_within_2": Measure("real ball met within 2 px"),
    "ball_recall": Measure("ball drawn where there is one"),
    "ball_false": Measure("ball drawn where there is none"),
}


def reader_for(game: str, frame_shape: Sequence[int]) -> GameReader | None:
    """The reader of a game.

    Args:
        game: a Gymnasium id.
        frame_shape: [H, W, 3] of its pictures.

    Returns:
        None for a game, or for pictures of a size, that nobody has learned to read.
    """
    from .breakout_reader import BreakoutReader
    from .objects import FRAME_SHAPE
    from .pong_reader import PongReader

    readers: dict[str, GameReader] = {"ALE/Pong-v5": PongReader(), "ALE/Breakout-v5": BreakoutReader()}
    return readers.get(game) if tuple(frame_shape) == FRAME_SHAPE else None
