"""An action held for several steps of a game that runs faster than it needs to be played."""

from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs


class RepeatAction(gymnasium.Wrapper, RecordConstructorArgs):
    """One step is several of the game with the same action: rewards are added up, the last picture is seen.

    Args:
        env: the game.
        times: steps of the game in one; an end cuts them short.

    Raises:
        ValueError: if times is below 1.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], times: int) -> None:
        if times < 1:
            raise ValueError(f"times must be at least 1, got {times}")
        RecordConstructorArgs.__init__(self, times=times)
        gymnasium.Wrapper.__init__(self, env)
        self.times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Hold an action."""
        total = 0.0
        for _ in range(self.times):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info
