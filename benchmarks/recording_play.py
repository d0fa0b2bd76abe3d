"""Games played once into memory, so that every contender records and returns the very same steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from recorders import FrameConfig, action_meanings, behaviour_for, game_for, make_game


@dataclass(frozen=True)
class PlayedEpisode:
    """One episode; observations uint8 [T + 1, H, W, 3], all else [T]."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def steps(self) -> int:
        """Number of actions."""
        return len(self.actions)


@dataclass(frozen=True)
class Play:
    """What was played, and in which spaces.

    Attributes:
        game: its Gymnasium id.
        observation_space: of the frames.
        action_space: discrete.
        episodes: in order; the last one is cut when the steps are done.
    """

    game: str
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Discrete
    episodes: list[PlayedEpisode]

    @property
    def steps(self) -> int:
        """Number of actions in all."""
        return sum(episode.steps for episode in self.episodes)

    def clips(self, count: int, length: int, seed: int) -> list[tuple[int, int]]:
        """Random places for clips of `length` frames: (episode, first step), each step as likely as any other.

        Raises:
            ValueError: if no episode is that long.
        """
        places = [(index, start) for index, episode in enumerate(self.episodes)
                  for start in range(episode.steps - length + 1)]  # fmt: skip
        if not places:
            raise ValueError(f"no episode has {length} steps: take more steps")
        return [places[i] for i in np.random.default_rng(seed).integers(len(places), size=count)]


def play(game: str, size: list[int], steps: int, seed: int = 0) -> Play:
    """Play `steps` actions of a game in frames of `size` (height and width).

    Raises:
        MissingGame: if the game is not installed.
    """
    config = game_for(game)
    config.frame = FrameConfig(size=size, crop=None)
    env = make_game(config)
    assert isinstance(env.observation_space, gymnasium.spaces.Box)
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    player = behaviour_for(game, action_meanings(env), env.observation_space.shape)
    rng = np.random.default_rng(seed)
    episodes: list[PlayedEpisode] = []
    while (left := steps - sum(episode.steps for episode in episodes)) > 0:
        observation, _ = env.reset(seed=seed + len(episodes))
        player.reset(rng)
        episodes.append(_episode(observation, env, player, rng, left))
    env.close()
    return Play(game, env.observation_space, env.action_space, episodes)


def _episode(observation: np.ndarray, env: gymnasium.Env[Any, Any], player: Any, rng: np.random.Generator,
             limit: int) -> PlayedEpisode:  # fmt: skip
    observations: list[np.ndarray] = [observation]
    rows: list[tuple[int, float, bool, bool]] = []
    ended = False
    while not ended and len(rows) < limit:
        action = player.act(observation, rng)
        observation, reward, terminated, truncated, _ = env.step(action)
        truncated = truncated or (len(rows) == limit - 1 and not terminated)  # some formats end no other way
        observations.append(observation)
        rows.append((action, float(reward), terminated, truncated))
        ended = terminated or truncated
    actions, rewards, terminations, truncations = (np.array(column) for column in zip(*rows, strict=True))
    return PlayedEpisode(np.stack(observations), actions, rewards, terminations, truncations)


class Replay(gymnasium.Env[np.ndarray, Any]):
    """The play as an environment, for recorders that wrap one; it ignores seed and action."""

    def __init__(self, played: Play) -> None:
        self.observation_space, self.action_space = played.observation_space, played.action_space
        self._episodes: Iterator[PlayedEpisode] = iter(played.episodes)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """The next episode."""
        self._episode, self._t = next(self._episodes), 0
        return self._episode.observations[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """The next step, whatever the action."""
        t, episode = self._t, self._episode
        self._t += 1
        return (episode.observations[t + 1], float(episode.rewards[t]), bool(episode.terminated[t]),
                bool(episode.truncated[t]), {})
