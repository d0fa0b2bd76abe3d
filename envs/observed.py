"""The real game seen as a learned world shows itself: smaller, grey, several pictures at once."""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from .observations import Observations


class Observed(gymnasium.Wrapper, RecordConstructorArgs):
    """Observations of a game of pictures, uint8 [H, W, 3], as `WorldEnv` gives them with the same arguments.

    After `reset` the first picture stands for those before it.

    Args:
        env: the game.
        observations: `size`, `grayscale`, `obs_dtype`, `frame_stack`, see `WorldEnv`.

    Raises:
        ValueError: if an argument is not one of those.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], **observations: Any) -> None:
        RecordConstructorArgs.__init__(self, **observations)
        gymnasium.Wrapper.__init__(self, env)
        height, width, channels = env.observation_space.shape or ()
        self._observations = Observations((height, width, channels), **observations)
        self._last: deque[NDArray[np.uint8]] = deque(maxlen=self._observations.frame_stack)
        self.observation_space = self._observations.space

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode."""
        picture, info = self.env.reset(seed=seed, options=options)
        self._last.extend([picture] * self._observations.frame_stack)
        return self._seen(), info

    def step(self, action: Any) -> tuple[NDArray[Any], Any, bool, bool, dict[str, Any]]:
        """One step of the game."""
        picture, reward, terminated, truncated, info = self.env.step(action)
        self._last.append(picture)
        return self._seen(), reward, terminated, truncated, info

    def _seen(self) -> NDArray[Any]:
        return self._observations.of(torch.from_numpy(np.stack(self._last)[None]))[0].numpy()
