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

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Rows int64 [count], each in proportion to loss**power; [0] if no loss is known yet."""
        weights = np.cumsum(self.losses.astype(np.float64) ** self.power)
        if weights[-1] <= 0:
            return np.zeros(0, dtype=np.int64)
        return np.searchsorted(weights, rng.random(count) * weights[-1], side="right")

    def remember(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """Note the losses float32 [n], not negative, with which rows int64 [n] were drawn."""
        self.losses[rows] = losses
