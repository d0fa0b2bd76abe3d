"""What is played: a world, and beside it the real game if that is wanted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model import WorldState

from .keymap import Action
from .real_game import RealGame
from .world_env import WorldEnv


@dataclass(frozen=True)
class StageState:
    """A moment of both, to go back to, and with how many passes it was drawn."""

    world: WorldState
    real: Any
    passes: int

    @property
    def nbytes(self) -> int:
        """Of the world's state; the real game's is small."""
        return self.world.nbytes


@dataclass(frozen=True)
class Opening:
    """How an episode begins.

    Attributes:
        frame: uint8 [H, W, 3], what is seen first.
        start: what a recording notes of it.
        real: the real game's picture, which is the same.
    """

    frame: NDArray[np.uint8]
    start: dict[str, Any]
    real: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a step did: in the world and, with pictures uint8 [H, W, 3] of it, in the real game.

    Attributes:
        saved: the moment after it, where one is kept.
        condition: number of the world's condition that the picture was drawn under.
    """

    frame: NDArray[np.uint8]
    reward: float
    terminated: bool
    truncated: bool
    real: NDArray[np.uint8] | None = None
    real_reward: float = 0.0
    saved: StageState | None = None
    condition: int = 0


class Stage:
    """Steps a world, and the real game along with it while `beside` is true.

    Args:
        env: the world.
    """

    def __init__(self, env: WorldEnv) -> None:
        self.env = env
        self.beside = False
        """whether episodes begin at situations of the real game, which then takes part; set before `begin`"""
        self._real: RealGame | None = None
        self._together = False  # whether the episode that is played has the real game beside it

    def begin(self, seed: int) -> Opening:
        """Begin an episode.

        Raises:
            MissingGame: if the real game is wanted and not installed.
            ValueError: if it has no episode that is long enough.
        """
        self._together = False
        if not self.beside:
            frame, info = self.env.reset(seed=seed)
            return Opening(frame, self.env.recording_start(info))
        if self._real is None:
            self._real = RealGame(self.env.place, self.env.world.contexts.frames.shape[1])
        frames, actions = self._real.begin(seed)
        options = {"frames": frames, "actions": actions}
        frame, info = self.env.reset(seed=seed, options=options)
        self._together = True
        return Opening(frame, {"options": options, **self.env.recording_start(info)}, frames[-1])

    def step(self, action: Action, passes: int, condition: int | None = None) -> Outcome:
        """One step of both, the world's drawn with so many passes and under a condition, another if one is given."""
        self.env.set_passes(passes)
        if condition is not None:
            self.env.set_condition(condition)
        under = int(self.env.condition)
        frame, reward, terminated, truncated, _ = self.env.step(action)
        if not self._together or self._real is None:
            return Outcome(frame, reward, terminated, truncated, condition=under)
        real = self._real.step(action if isinstance(action, int) else np.array(action, np.float32))
        return Outcome(frame, reward, terminated, truncated, real.frame, real.reward, condition=under)

    def save(self) -> StageState:
        """This moment."""
        real = self._real.save() if self._together and self._real is not None else None
        return StageState(self.env.snapshot(), real, self.env.passes)

    def restore(self, saved: StageState) -> None:
        """Go on from a moment; without the real game where that could not be saved."""
        self.env.set_passes(saved.passes)  # those of its frames in flight
        self.env.restore(saved.world)
        self._together = saved.real is not None and self._real is not None
        if self._together and self._real is not None:
            self._real.restore(saved.real)

    def close(self) -> None:
        """Close the real game; the world is its owner's."""
        if self._real is not None:
            self._real.close()
            self._real = None
