"""Somebody who plays: what a policy must offer to record a game, or to play a world."""

from typing import Any, Protocol

import numpy as np


class Behaviour(Protocol):
    """A policy that may remember what it saw since `reset`."""

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the past; the next observation starts an episode."""

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> Any:
        """Choose the action to take after seeing `observation`, uint8 [H, W, 3]: an id, or float32 [A]."""
