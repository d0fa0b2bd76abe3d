"""Env runners on a Ray cluster against one process: `python -m benchmarks.ray_runners`. Needs the extra `ray`.

Starts a cluster of `nodes` nodes on this machine, one CPU each, with an RLlib env runner on every node that draws a
vector world of its own, and counts env steps a second, the policy network's included. Then the same in one process.
Nodes on one machine share its processor: what is shown is that it works and what it costs, not what it would bring.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from recorders import Command, command, settings
from recorders.software import processor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))


@dataclass(kw_only=True)
class RayRunnersConfig(Command):
    """How many nodes, what they draw, how often."""

    world: str = "Pong-v0"
    nodes: int = 2
    envs: int = 16
    """rollouts per runner, one batch"""
    steps: int = 64
    """of each rollout per measurement"""
    repeats: int = 5


ConfigStore.instance().store(name="ray_runners", node=RayRunnersConfig)


def measure(config: RayRunnersConfig, runners: int) -> list[float]:
    """Env steps a second of all runners together, in order; runners=0 draws in this process."""
    from rllib_ppo import ppo_config

    algorithm = ppo_config(config.world, runners, config.envs).build_algo()
    group, count = algorithm.env_runner_group, config.steps * config.envs
    found = []
    for repeat in range(config.repeats + 1):
        begun = time.perf_counter()
        taken = group.foreach_env_runner(lambda runner: sum(map(len, runner.sample(num_timesteps=count))),
                                         local_env_runner=not runners)
        if repeat:  # the first one warms up
            found.append(sum(taken) / (time.perf_counter() - begun))
    algorithm.stop()
    return sorted(found)


@command("ray_runners")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    config = cast(RayRunnersConfig, settings(cfg))
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(config.nodes - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    print(f"{processor()}, {os.cpu_count()} CPUs, ray {ray.__version__}")
    print(f"{config.world}, {config.envs} rollouts a runner, bf16 where the processor multiplies it, decode included")
    nodes = [node for node in ray.nodes() if node["Alive"]]
    for name, runners in ((f"{len(nodes)} nodes, a runner each", config.nodes), ("one process", 0)):
        rates = measure(config, runners)
        middle, spread = rates[len(rates) // 2], f"{rates[0]:.0f} to {rates[-1]:.0f}"
        print(f"{name}: {middle:.0f} env-steps/s (of {config.repeats}: {spread})", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
