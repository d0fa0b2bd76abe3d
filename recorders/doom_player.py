"""Plays Doom's shooting scenarios from the picture: turns to what is red, fires, and moves between shots."""

import numpy as np

from .behaviour import Behaviour
from .doom_env import ACTIONS

_IDS = {name: number for number, name in enumerate(ACTIONS)}
RESTLESS = ("STRAFE LEFT", "STRAFE RIGHT", "FORWARD", "BACKWARD", "LEFT", "RIGHT")
"""what is done now and then, and while nothing is seen"""


class DoomPlayer:
    """Scripted player for `Doom/DefendTheLine-v0` and `Doom/DefendTheCenter-v0`.

    Monsters, their shots and their blood are redder than walls and floor of these scenarios. The player turns to the
    nearest red thing beside the middle, fires at what is in the middle, and every so often moves for some steps.
    """

    def __init__(self) -> None:
        self._wish, self._left = "LEFT", 0

    def reset(self, rng: np.random.Generator) -> None:
        """Forget what was being done."""
        self._left = 0

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> int:
        """Choose the action to take after seeing `observation`, uint8 [H, W, 3]."""
        if self._left == 0 and rng.random() < 0.06:
            self._wish, self._left = str(rng.choice(RESTLESS)), int(rng.integers(2, 9))
        if self._left:
            self._left -= 1
            return _IDS[self._wish]
        aside = target(observation)
        if aside is None:
            self._left = int(rng.integers(2, 9))
            self._wish = str(rng.choice(RESTLESS))
            return _IDS[self._wish]
        if abs(aside) <= 0.06:
            return _IDS["FIRE"]
        return _IDS["LEFT" if aside < 0 else "RIGHT"]


class OffWalls:
    """Another player that mostly backs or turns away where it stands before a wall, of which there is little to learn.

    Args:
        inner: who plays otherwise; it sees every observation.
        share: of the times it comes to a wall.
    """

    def __init__(self, inner: Behaviour, share: float = 0.8) -> None:
        self.inner, self.share = inner, share
        self._wish, self._left, self._met = "BACKWARD", 0, False

    def reset(self, rng: np.random.Generator) -> None:
        """Forget what was being done."""
        self._left, self._met = 0, False
        self.inner.reset(rng)

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> int:
        """Choose the action to take after seeing `observation`, uint8 [H, W, 3]."""
        wanted, before = self.inner.act(observation, rng), walled(observation) > 0.5
        if self._left:
            self._left -= 1
            return _IDS[self._wish]
        if before and not self._met and rng.random() < self.share:
            self._wish, self._left = str(rng.choice(["BACKWARD", "LEFT", "RIGHT"])), int(rng.integers(4, 12))
            return _IDS[self._wish]
        self._met = before
        return int(wanted)


def walled(observation: np.ndarray) -> float:
    """Share of the floor's place, a third above the lower edge and beside the own hand, that is as brown as walls.

    Args:
        observation: uint8 [H, W, 3].
    """
    height, width = observation.shape[:2]
    strip = observation[2 * height // 3 : 2 * height // 3 + max(height // 24, 1)].astype(np.int32)
    red, green, blue = np.delete(strip, slice(2 * width // 5, 3 * width // 5), 1).transpose(2, 0, 1)
    return float(((red > blue + 18) & (red < 2 * green) & (red < 170)).mean())


def target(observation: np.ndarray) -> float | None:
    """Where the nearest red thing is, from -0.5 (left edge) to 0.5 (right edge); None where there is none.

    Args:
        observation: uint8 [H, W, 3].
    """
    height, width = observation.shape[:2]
    red, green, blue = observation[height // 4 : 3 * height // 4].astype(np.int32).transpose(2, 0, 1)
    found = ((red > 80) & (red > 2 * green) & (red > blue * 3 // 2)).sum(0)
    columns = np.flatnonzero(found >= 2)
    if not len(columns):
        return None
    aside = (columns + 0.5) / width - 0.5
    return float(aside[np.abs(aside).argmin()])
