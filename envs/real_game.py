"""The real game beside its world: begun at the same situation, stepped with the same actions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorders import action_meanings, behaviour_for

from .starts import Clip
from .teacher import make_teacher

TRIES = 40
"""episodes looked at for one that is long enough"""


@dataclass
class RealStep:
    """What the real game did.

    Attributes:
        frame: uint8 [H, W, 3].
        reward: 0 after the end.
        over: whether the episode has ended; the picture stays then.
    """

    frame: NDArray[np.uint8]
    reward: float
    over: bool


class RealGame:
    """The real game behind a world.

    Args:
        world: a shipped world's name, or the folder of a trained one.
        context: frames of the situations that it begins at.

    Raises:
        MissingGame: if the game is not installed; the message says what to install.
        WorldError: if the world's card does not say which game it was learned from.
    """

    def __init__(self, world: str, context: int) -> None:
        self._game = make_teacher(world)
        self._context = context
        self._player = behaviour_for(self._game.game.id, action_meanings(self._game),  # type: ignore[attr-defined]
                                     self._game.observation_space.shape or (), self._game.action_space)
        self._last = RealStep(np.zeros(self._game.observation_space.shape or (), np.uint8), 0.0, True)

    @property
    def can_go_back(self) -> bool:
        """Whether its states can be saved; only ALE games' can."""
        return hasattr(self._game.unwrapped, "clone_state")

    def begin(self, seed: int) -> Clip:
        """Play to some situation, which `seed` decides.

        Returns:
            what led there: frames uint8 [k, H, W, 3], the last of them what is seen now, and the actions [k - 1].

        Raises:
            ValueError: if no episode is as long.
        """
        rng = np.random.default_rng([seed, 7])
        for attempt in range(TRIES):
            frames, actions, over = [self._game.reset(seed=seed + 10_000 * attempt)[0]], [], False
            self._player.reset(rng)
            wanted = self._context + int(rng.integers(0, 120)) // (attempt + 1)
            while len(frames) < wanted and not over:
                actions.append(self._player.act(frames[-1], rng))
                frame, _, terminated, truncated, _ = self._game.step(actions[-1])
                frames.append(frame)
                over = terminated or truncated
            if not over:
                self._last = RealStep(frames[-1], 0.0, False)
                past = np.array(actions[len(actions) - self._context + 1:])
                return np.stack(frames[-self._context:]), past if past.ndim > 1 else past.astype(np.int64)
        raise ValueError(f"no episode of the real game reached {self._context} frames in {TRIES} tries")

    def step(self, action: int | np.ndarray) -> RealStep:
        """One step; after the end nothing happens any more."""
        if not self._last.over:
            frame, reward, terminated, truncated, _ = self._game.step(action)
            self._last = RealStep(frame, float(reward), terminated or truncated)
            return self._last
        return RealStep(self._last.frame, 0.0, True)

    def save(self) -> Any:
        """The game's state, random numbers included, to `restore`; None where it cannot be saved."""
        return (self._game.unwrapped.clone_state(include_rng=True), self._last) if self.can_go_back else None  # type: ignore[attr-defined]

    def restore(self, saved: Any) -> None:
        """Go on from what `save` returned."""
        state, self._last = saved
        self._game.unwrapped.restore_state(state)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Give back what the game holds."""
        self._game.close()
