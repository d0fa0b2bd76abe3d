"""Worlds in other processes: Gymnasium's workers, Stable-Baselines3's, and those of PyTorch's DataLoader.

Each test is a script of its own, whose process has used torch's threads before it starts the others. Without the hook
in envs/learned_world.py those that fork wait forever for threads that they did not inherit.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BEGIN = """
import sys
import gymnasium as gym, numpy as np, torch
from torch.utils.data import DataLoader, IterableDataset
import foreframe
from envs import WorldEnv, WorldVectorEnv

WORLD = sys.argv[1]


class Rollout(IterableDataset):
    def __init__(self, env, seed):
        self.env, self.seed = env, seed

    def __iter__(self):
        yield self.env.reset(seed=self.seed)[0]
        for _ in range(2):
            yield self.env.step(2)[0]


def make():
    import foreframe  # a spawned process registers worlds anew
    return gym.make(foreframe.ANY_WORLD, world=WORLD)


def alone(seed):
    env = make()
    return [env.reset(seed=seed)[0], env.step(2)[0], env.step(2)[0]]


def main():
    torch.set_num_threads(4)
    expected = [alone(0), alone(1)]
    torch.randn(600, 600) @ torch.randn(600, 600)
"""
END = """
    for place in range(2):
        assert all((seen[t][place] == expected[place][t]).all() for t in range(3)), place
    print("the same")


if __name__ == "__main__":
    main()
"""
GYMNASIUM = """
    kwargs = {"context": CONTEXT, "shared_memory": True}
    envs = gym.make_vec(foreframe.ANY_WORLD, num_envs=2, vectorization_mode="async", vector_kwargs=kwargs, world=WORLD)
    envs.reset_async(seed=0)
    seen = [envs.reset_wait(timeout=200)[0]]
    for _ in range(2):
        envs.step_async(np.full(2, 2))
        seen.append(envs.step_wait(timeout=200)[0])
    envs.close()
"""
BASELINES = """
    from stable_baselines3.common.vec_env import SubprocVecEnv
    envs = SubprocVecEnv([make, make], start_method=CONTEXT)
    envs.seed(0)
    seen = [envs.reset()] + [envs.step(np.full(2, 2))[0] for _ in range(2)]
    envs.close()
"""
LOADER = """
    env = make()  # begun here, gone on with there
    env.reset(seed=5), env.step(1)
    seen = [[], [], []]
    for seed in range(2):
        loader = DataLoader(Rollout(env, seed), batch_size=None, num_workers=1, multiprocessing_context=CONTEXT)
        for t, observation in enumerate(loader):
            seen[t].append(observation.numpy())
"""
NATIVE = """
    envs = WorldVectorEnv(WORLD, 2)
    seen = [[], [], []]
    loader = DataLoader(Together(envs), batch_size=None, num_workers=1, multiprocessing_context=CONTEXT)
    for t, observations in enumerate(loader):
        seen[t] = observations.numpy()
    expected = [[frames[place] for frames in Together(envs)] for place in range(2)]
"""
TOGETHER = """
class Together(IterableDataset):
    def __init__(self, envs):
        self.envs = envs

    def __iter__(self):
        yield self.envs.reset(seed=0)[0]
        for _ in range(2):
            yield self.envs.step([2, 2])[0]
"""


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("body", [GYMNASIUM, BASELINES, LOADER, NATIVE], ids=["gymnasium", "sb3", "loader", "native"])
def test_worlds_run_in_other_processes_as_they_do_in_this_one(small_world, tmp_path, body, context):
    if body is BASELINES:
        pytest.importorskip("stable_baselines3")
    script = tmp_path / "script.py"
    begin = BEGIN.replace("\n\ndef make", TOGETHER + "\n\ndef make") if body is NATIVE else BEGIN
    script.write_text(begin + body.replace("CONTEXT", repr(context)) + END)
    done = subprocess.run([sys.executable, str(script), small_world], cwd=ROOT, capture_output=True, text=True,
                          timeout=500, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.stdout == "the same\n", done.stderr
