"""How badly every frame of a recording was drawn the last time, to draw it again the likelier the worse it was."""

import numpy as np


class Difficulty:
    """Last loss of every row of a recording; 0 where it is not known.

    What rarely happens decides how long a world holds: one missed bounce and the ball is gone. Prioritised replay
    (Schaul et al. 2016, arXiv:1511.05952) without its correction, for here the emphasis is the aim.
    """

    def __init__(self, rows: int, power: float = 1.5):
        self.losses = np.zeros(rows, dtype=np.float32)
        self.power = power
        self._weights = np.zeros(rows)
        self._noted: list[tuple[np.ndarray, np.ndarray]] = []

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Rows int64 [count], each in proportion to loss**power; [0] if no loss is known yet."""
        weights = np.cumsum(self._weights)
        if weights[-1] <= 0:
            return np.zeros(0, dtype=np.int64)
        return np.searchsorted(weights, rng.random(count) * weights[-1], side="right")

    def remember(self, rows: np.ndarray | slice, losses: np.ndarray) -> None:
        """From now on rows int64 [n], or a slice of n, have the losses float32 [n], not negative."""
        self.losses[rows] = losses
        self._weights[rows] = losses.astype(np.float64) ** self.power

    def note(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """Keep losses, as `remember` takes them, until `noted` is asked: all processes then remember the same ones."""
        self._noted.append((rows, losses))

    def noted(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and losses noted since this was last asked."""
        noted, self._noted = self._noted, []
        rows, losses = ([pair[i] for pair in noted] for i in (0, 1))
        return (np.concatenate(rows), np.concatenate(losses)) if noted else (np.zeros(0, int), np.zeros(0, np.float32))
