"""The PPO of the examples: its estimates, that it learns, that it runs in a world."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from example_modules import load_example

from envs import WorldVectorEnv


@pytest.fixture(scope="module")
def ppo():
    return load_example("ppo")


class Lamp(gym.Env):
    """One of two lamps is lit; naming it gives 1. Ends after 4 steps, or is cut there."""

    observation_space = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, cut=False):
        self.cut = cut

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.picture(), {}

    def picture(self):
        self.lit = int(self.np_random.integers(2))
        seen = np.zeros((1, 36, 36), np.uint8)
        seen[:, :, 18 * self.lit : 18 * self.lit + 18] = 255
        return seen

    def step(self, action):
        right, self.steps = float(action == self.lit), self.steps + 1
        over = self.steps == 4
        return self.picture(), right, over and not self.cut, over and self.cut, {}


def lamps(count, **kwargs):
    mode = gym.vector.AutoresetMode.SAME_STEP
    return gym.vector.SyncVectorEnv([lambda: Lamp(**kwargs)] * count, autoreset_mode=mode)


def test_advantages_are_discounted_sums_of_errors_up_to_an_end(ppo):
    settings = ppo.Settings(gamma=0.5, lam=0.5)
    one = torch.ones(3, 1)
    batch = ppo.Batch(one, one, one, values=torch.tensor([[1.0], [2.0], [4.0]]), rewards=one,
                      done=torch.tensor([[False], [True], [False]]), returns=[], paid=1.0)
    found = ppo.advantages(batch, torch.tensor([6.0]), settings)[:, 0]
    last, middle = 1 + 0.5 * 6 - 4, 1 - 2
    assert found.tolist() == [1 + 0.5 * 2 - 1 + 0.25 * middle, middle, last]


@pytest.mark.parametrize("cut", [False, True])
def test_it_learns_to_name_the_lamp(ppo, cut):
    settings = ppo.Settings(envs=8, length=16, updates=15, gamma=0.5)
    learner = ppo.Learner(lamps(8, cut=cut), settings)
    returns = [np.mean(learner.update()) for _ in range(settings.updates)]
    assert returns[0] < 3 and returns[-1] > 3.8


def test_what_is_saved_goes_on_as_it_would_have(ppo, tmp_path):
    settings = ppo.Settings(envs=2, length=4, updates=4, minibatches=1)
    learner = ppo.Learner(lamps(2), settings)
    learner.update()
    learner.save(tmp_path / "learner.pt")
    other = ppo.Learner(lamps(2), settings)
    other.load(tmp_path / "learner.pt")
    assert (other.updates, other.steps) == (1, 8)
    pairs = zip(learner.agent.state_dict().values(), other.agent.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert other.optimizer.state_dict()["state"].keys() == learner.optimizer.state_dict()["state"].keys()
    assert [path.name for path in tmp_path.iterdir()] == ["learner.pt"]


def test_it_learns_inside_a_world(ppo, small_world):
    how = {"size": (36, 36), "grayscale": True, "frame_stack": 2, "max_episode_steps": 5}
    envs = WorldVectorEnv(small_world, num_envs=2, autoreset_mode="SameStep", **how)
    learner = ppo.Learner(envs, ppo.Settings(envs=2, length=8, updates=2, minibatches=2))
    assert [len(learner.update()) for _ in range(2)] == [2, 4] and learner.steps == 32
    assert learner.agent.act(envs.reset(seed=0)[0]).shape == (2,)
