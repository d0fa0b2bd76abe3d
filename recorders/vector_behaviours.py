"""Who plays a game whose actions are vectors, while it is recorded."""

import numpy as np
from gymnasium.spaces import Box


class HeldVector:
    """A random action, held for a random number of steps, then the next; ends and middles come often.

    Args:
        space: of the actions, vectors between finite bounds.
        longest: an action is held for 1 to this many steps.

    Raises:
        ValueError: if the bounds are not finite, or longest is below 1.
    """

    def __init__(self, space: Box, longest: int = 12) -> None:
        if not space.is_bounded() or len(space.shape) != 1 or longest < 1:
            raise ValueError(f"need vectors between finite bounds and longest >= 1, got {space} and {longest}")
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._longest, self._left = longest, 0
        self._action = space.low

    def reset(self, rng: np.random.Generator) -> None:
        """Draw anew at the next step."""
        self._left = 0

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The held action, or a new one when its time is over: float32 [A]."""
        if self._left == 0:
            anywhere = rng.uniform(self._low, self._high)
            special = rng.choice(np.stack([self._low, self._high, (self._low + self._high) / 2]), axis=0)
            chosen = np.where(rng.random(anywhere.shape) < 0.5, special, anywhere)
            self._action = np.clip(chosen, self._low, self._high).astype(np.float32)
            self._left = int(rng.integers(1, self._longest + 1))
        self._left -= 1
        return self._action


class WanderingVector:
    """An action that wanders: towards a goal, a random one every now and then, a share of the way in every step.

    Args:
        space: of the actions, vectors between finite bounds.
        share: of the way to the goal, 0 < share <= 1.
        hold: steps between two goals, on average.

    Raises:
        ValueError: if something is out of range.
    """

    def __init__(self, space: Box, share: float = 0.2, hold: int = 15) -> None:
        if not space.is_bounded() or len(space.shape) != 1 or not 0 < share <= 1 or hold < 1:
            raise ValueError(f"need vectors between finite bounds, 0 < share <= 1 and hold >= 1, got {space}, "
                             f"{share}, {hold}")  # fmt: skip
        self._low, self._high, self._share, self._hold = space.low, space.high, share, hold
        self._goal: np.ndarray | None = None
        self._action = (space.low + space.high) / 2

    def reset(self, rng: np.random.Generator) -> None:
        """Begin in the middle."""
        self._goal, self._action = None, (self._low + self._high) / 2

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The next action on the way: float32 [A]."""
        if self._goal is None or rng.random() < 1 / self._hold:
            self._goal = rng.uniform(self._low, self._high)
        self._action = self._action + self._share * (self._goal - self._action)
        return np.clip(self._action, self._low, self._high).astype(np.float32)
