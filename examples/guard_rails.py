"""What keeps an agent from learning its world's mistakes: episodes that are cut for doubt, and mixed ones."""

from typing import Any

import gymnasium as gym
import numpy as np


class Doubted(gym.vector.VectorEnv):
    """Rollouts in pairs, alike but for their noise; only the first of each is seen, and where they differ it is cut.

    Args:
        id: of the world.
        num_envs: pairs.
        doubt: mean difference of a pair's observations above which its episode is cut.
        kwargs: go to the world.
    """

    def __init__(self, id: str, num_envs: int, doubt: float, **kwargs: Any) -> None:
        self.envs = gym.make_vec(id, num_envs=2 * num_envs, autoreset_mode="Disabled", **kwargs).unwrapped
        self.num_envs, self.doubt = num_envs, doubt
        self.single_observation_space = self.envs.single_observation_space
        self.single_action_space = self.envs.single_action_space
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.metadata = {**self.envs.metadata, "autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
        self.cut, self.apart = 0, np.zeros(num_envs)
        """episodes that were cut for doubt, and how far apart each pair was after the last step"""

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all pairs."""
        seeds = None if seed is None else [seed + i for i in range(2 * self.num_envs)]
        _, infos = self.envs.reset(seed=seeds)
        for row in range(self.num_envs):
            observations = self._join(row, int(infos["context"][row]))
        return observations[: self.num_envs].copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of all pairs; what is over or doubted begins anew."""
        seen, rewards, terminated, truncated, _ = self.envs.step(np.tile(actions, 2))
        n = self.num_envs
        axes = tuple(range(1, seen.ndim))
        self.apart = np.abs(seen[:n].astype(np.float32) - seen[n:]).mean(axes)
        doubted = self.apart > self.doubt
        over, ended = terminated[:n] | truncated[:n], terminated[:n].copy()
        self.cut += int((doubted & ~over).sum())
        infos = {"final_obs": np.array([None] * n, object)}
        for row in np.flatnonzero(over | doubted | terminated[n:] | truncated[n:]):
            infos["final_obs"][row] = seen[row].copy()
            mask = np.zeros(2 * n, np.bool_)
            mask[[row, row + n]] = True
            _, found = self.envs.reset(options={"reset_mask": mask})
            seen = self._join(row, int(found["context"][row]), seen)
            truncated[row] = not ended[row]
        return seen[:n].copy(), rewards[:n], ended, truncated[:n], infos

    def _join(self, row: int, context: int, seen: np.ndarray | None = None) -> np.ndarray:
        """The second of a pair begins at the first one's clip, with noise of its own."""
        mask = np.zeros(2 * self.num_envs, np.bool_)
        mask[row + self.num_envs] = True
        return self.envs.reset(options={"reset_mask": mask, "context": context})[0]

    def close_extras(self, **kwargs: Any) -> None:
        """Close the world."""
        self.envs.close()


class Mixed(gym.vector.VectorEnv):
    """Two vectors side by side, such as the real game's rows and a learned world's: the first one's rows come first.

    Args:
        first: resets within the step (SameStep), as `second` does; their spaces have to be the same.
        second: see `first`.

    Raises:
        ValueError: if the rows of both see or do different things.
    """

    def __init__(self, first: gym.vector.VectorEnv, second: gym.vector.VectorEnv) -> None:
        for name in ("single_observation_space", "single_action_space"):
            if getattr(first, name) != getattr(second, name):
                raise ValueError(f"both vectors need the same {name}, got {getattr(first, name)} and "
                                 f"{getattr(second, name)}")
        self.parts, self.num_envs = (first, second), first.num_envs + second.num_envs
        self.single_observation_space = first.single_observation_space
        self.single_action_space = first.single_action_space
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.metadata = {**first.metadata, "autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all episodes; `options` are not for two kinds of environments and have to be left out."""
        if options:
            raise ValueError(f"two vectors side by side take no reset options, got {options}")
        return np.concatenate([part.reset(seed=seed)[0] for part in self.parts]), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of all rows."""
        split = self.parts[0].num_envs
        found = [part.step(some) for part, some in zip(self.parts, (actions[:split], actions[split:]), strict=True)]
        last = [infos.get("final_obs", np.array([None] * part.num_envs, object))
                for part, (*_, infos) in zip(self.parts, found, strict=True)]
        together = [np.concatenate(pair) for pair in zip(*(results[:4] for results in found), strict=True)]
        return (*together, {"final_obs": np.concatenate(last)})  # type: ignore[return-value]

    def close_extras(self, **kwargs: Any) -> None:
        """Close both."""
        for part in self.parts:
            part.close()
