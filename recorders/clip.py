"""A piece of an episode."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Clip:
    """n consecutive steps of an episode and the observation after the last of them.

    Attributes:
        observations: n + 1 of them: an array [n + 1, ...], or a dict or tuple of such for composite spaces, or a list.
        actions: n of them, likewise; `actions[t]` was taken after seeing observation t.
        rewards: float64 [n], earned by the actions.
        terminated: bool [n], whether an action ended the episode.
        truncated: bool [n], whether the episode was cut after an action.
        extras: name to [n, ...], recorded with each step.
        start: number of the first step in its episode.
    """

    observations: Any
    actions: Any
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    start: int = 0

    def __len__(self) -> int:
        return len(self.rewards)
