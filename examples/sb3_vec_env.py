"""A world that draws all its rollouts as one batch, as Stable-Baselines3 wants its environments.

python examples/sb3_vec_env.py            # PPO on Pong-v0 for a moment; needs the extra `rl`

model = PPO("CnnPolicy", NativeVecEnv("foreframe/Pong-v0", 16, size=(64, 64), frame_stack=2))
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import foreframe  # noqa: F401  (registers the worlds)

Indices = int | Sequence[int] | None


class NativeVecEnv(VecEnv):
    """`gym.make_vec(id, ...)` behind Stable-Baselines3's interface; `kwargs` go to the environment.

    SB3 resets episodes within the step that ends them, and wants the last observation as `terminal_observation`.
    """

    def __init__(self, id: str, num_envs: int, **kwargs: Any) -> None:
        self.envs = gym.make_vec(id, num_envs=num_envs, autoreset_mode="SameStep", **kwargs)
        self._actions = np.zeros(num_envs, np.int64)
        super().__init__(num_envs, self.envs.single_observation_space, self.envs.single_action_space)

    def reset(self) -> np.ndarray:
        """Observations of all environments; `seed` before it decides everything."""
        observations, _ = self.envs.reset(seed=self._seeds)
        self._reset_seeds()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all environments."""
        observations, rewards, terminated, truncated, found = self.envs.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            infos[i] = {"terminal_observation": found["final_obs"][i],
                        "TimeLimit.truncated": bool(truncated[i] and not terminated[i])}
        return observations, rewards.astype(np.float32), terminated | truncated, infos

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """An attribute, the same for all."""
        return [getattr(self.envs.unwrapped, attr_name)] * len(self._get_indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of all."""
        setattr(self.envs.unwrapped, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Call a method once, for all."""
        return [getattr(self.envs.unwrapped, method_name)(*args, **kwargs)] * len(self._get_indices(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: Indices = None) -> list[bool]:
        """Nothing is."""
        return [False] * len(self._get_indices(indices))

    def get_images(self) -> list[np.ndarray | None]:
        """The last picture of each."""
        return list(self.envs.render() or [None] * self.num_envs)


def main() -> None:
    """PPO inside Pong-v0 for 2,048 steps, to see that it goes."""
    envs = NativeVecEnv("foreframe/Pong-v0", 16, size=(52, 40), max_episode_steps=200)
    envs.seed(0)
    PPO("CnnPolicy", envs, n_steps=64, n_epochs=2, verbose=1).learn(2048)
    envs.close()


if __name__ == "__main__":
    main()
