"""RLlib's PPO on learned worlds: every env runner draws a vector world of its own as one batch.

    python examples/rllib_ppo.py                                   # on this machine, two runners
    python examples/rllib_ppo.py runners=16 address=auto           # on a running Ray cluster, see docs/clusters.md

Needs the extra `ray`.
RLlib makes vectors itself: the id begins with `foreframe:` so that every process registers it.
"""

import os
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a runner is a process: one thread each

import gymnasium as gym
import ray
from ray.rllib.algorithms.ppo import PPO, PPOConfig

ID = "foreframe:foreframe/World-v0"
SEEN: dict[str, Any] = {"size": (42, 42), "grayscale": True, "frame_stack": 4, "obs_dtype": "float32"}
"""of `gym.make`: pictures float32 in [0, 1], as RLlib's networks want them"""


def ppo_config(world: str = "Pong-v0", runners: int = 2, envs: int = 16, steps: int = 200, **seen: Any) -> PPOConfig:
    """Settings of PPO on a world.

    Args:
        world: a shipped world's name or a folder.
        runners: env runners, each a process; 0: in this one.
        envs: rollouts of each, drawn together.
        steps: after which an episode is cut.
        seen: how pictures are seen instead of `SEEN`.
    """
    env = {"world": world, "max_episode_steps": steps, **(seen or SEEN)}
    config = PPOConfig().environment(ID, env_config=env)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=envs, rollout_fragment_length=16,
                       gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT)
    batch = 16 * envs * max(runners, 1)
    config.training(train_batch_size_per_learner=batch, minibatch_size=min(batch, 128), num_epochs=2, lr=3e-4)
    return config


def main(words: list[str]) -> None:
    """Train for some iterations and print what the runners gave."""
    given = dict(word.split("=", 1) for word in words)
    address, iterations = given.pop("address", None), int(given.pop("iterations", 3))
    ray.init(address=address, log_to_driver=False)
    numbers = {name: int(value) if name != "world" else value for name, value in given.items()}
    algorithm: PPO = ppo_config(**numbers).build_algo()
    for _ in range(iterations):
        begun = time.perf_counter()
        found = algorithm.train()["env_runners"]
        steps = found["num_env_steps_sampled"]
        print(f"{steps:,.0f} steps, {steps / (time.perf_counter() - begun):.0f} a second with learning, "
              f"return {found.get('episode_return_mean', float('nan')):+.2f}", flush=True)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
