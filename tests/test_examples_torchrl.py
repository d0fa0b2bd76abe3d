"""Worlds work in TorchRL as they are: its wrapper, its checks, its collector."""

import gymnasium as gym
import pytest
import torch

import foreframe

torchrl = pytest.importorskip("torchrl", reason="needs the extra torchrl")
pytestmark = pytest.mark.filterwarnings("ignore")  # TorchRL's own


def wrapped(world, **kwargs):
    from torchrl.envs.libs.gym import GymWrapper

    return GymWrapper(gym.make(foreframe.ANY_WORLD, world=world, max_episode_steps=7, **kwargs))


def test_specs_hold(small_world):
    from torchrl.envs.utils import check_env_specs

    env = wrapped(small_world)
    check_env_specs(env)
    env.close()


def test_a_wrapped_world_draws_what_it_draws_alone(small_world):
    env = wrapped(small_world)
    alone = gym.make(foreframe.ANY_WORLD, world=small_world, max_episode_steps=7)
    env.set_seed(3)  # resets, so the first episode that is played is the second
    alone.reset(seed=3)
    seen, truth = env.reset(), alone.reset()[0]
    key = "pixels" if "pixels" in list(seen.keys()) else "observation"
    assert (seen[key].numpy() == truth).all()
    for action in (0, 2, 5):
        seen["action"] = env.action_spec.encode(torch.tensor(action)) if env.action_spec.shape else torch.tensor(action)
        seen = env.step(seen)["next"]
        truth, reward, *_ = alone.step(action)
        assert (seen[key].numpy() == truth).all()
        assert float(seen["reward"]) == reward
    env.close()
    alone.close()


def test_a_collector_collects_across_episodes(small_world):
    from torchrl import collectors

    make = getattr(collectors, "Collector", None) or collectors.SyncDataCollector
    collector = make(lambda: wrapped(small_world), None, frames_per_batch=20, total_frames=40)
    batches = list(collector)
    collector.shutdown()
    assert [batch.numel() for batch in batches] == [20, 20]
    done = torch.cat([batch["next", "done"].flatten() for batch in batches])
    assert done.sum() == 5  # every seventh step
