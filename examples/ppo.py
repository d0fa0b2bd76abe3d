"""Proximal policy optimisation in one file, on any Gymnasium vector of pictures and discrete actions.

    python examples/ppo.py id=foreframe/Pong-v0 updates=50
    python examples/ppo.py id=ALE/Pong-v5                       # any other vector too; needs ale-py

Schulman et al. 2017, arXiv:1707.06347, with the details of Huang et al. 2022 (the 37 implementation details).
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

import foreframe  # noqa: F401  (registers the worlds)


@dataclass
class Settings:
    """What is learned, and how. Times are in steps of all environments together unless said otherwise."""

    id: str = "foreframe/Pong-v0"
    env: dict[str, Any] = field(default_factory=lambda: {"grayscale": True, "frame_stack": 2, "max_episode_steps": 200})
    envs: int = 32
    length: int = 32
    """steps of each environment per update"""
    updates: int = 100
    looks: int = 4
    """updates at the beginning that also measure how bright which pixel is, and how much that changes"""
    epochs: int = 3
    minibatches: int = 4
    lr: float = 5e-4
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.1
    entropy: float = 0.01
    value: float = 0.5
    largest_gradient: float = 0.5
    seed: int = 0


class Agent(nn.Module):
    """Pictures uint8 [B, C, H, W] or [B, H, W, C] to action logits [B, n] and values [B].

    Each pixel is seen as its distance from its own mean in its own deviations: a ball of two pixels that crosses a wide
    empty field is otherwise next to nothing.
    """

    def __init__(self, shape: tuple[int, ...], actions: int) -> None:
        super().__init__()
        self.last = shape[-1] == 3  # colours last
        channels, height, width = (shape[-1], *shape[:2]) if self.last else shape
        self.body = nn.Sequential(nn.Conv2d(channels, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(),
                                  nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten())
        wide = self.body(torch.zeros(1, channels, height, width)).shape[1]
        self.body.extend([nn.Linear(wide, 256), nn.ReLU()])
        self.policy, self.critic = nn.Linear(256, actions), nn.Linear(256, 1)
        gains = [(layer, 2**0.5) for layer in self.body if isinstance(layer, nn.Conv2d | nn.Linear)]
        for layer, gain in [*gains, (self.policy, 0.01), (self.critic, 1.0)]:
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
        for name in ("sums", "squares"):
            self.register_buffer(name, torch.zeros(channels, height, width, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def look(self, pictures: Tensor) -> None:
        """Measure the pixels of some pictures [B, ...] more."""
        x = self._channels_first(pictures).double()
        self.sums += x.sum(0)
        self.squares += x.square().sum(0)
        self.count += len(x)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values."""
        mean = self.sums / self.count.clamp(min=1)
        deviation = (self.squares / self.count.clamp(min=1) - mean.square()).clamp(min=0).sqrt() + 8
        x = (self._channels_first(pictures).float() - mean.float()) / deviation.float()
        features = self.body(x.clamp(-5, 5))
        return self.policy(features), self.critic(features)[:, 0]

    def _channels_first(self, pictures: Tensor) -> Tensor:
        return pictures.permute(0, 3, 1, 2) if self.last else pictures

    @torch.no_grad()
    def act(self, pictures: np.ndarray) -> np.ndarray:
        """Actions drawn from the policy."""
        return torch.distributions.Categorical(logits=self(torch.from_numpy(pictures))[0]).sample().numpy()


@dataclass
class Batch:
    """`length` steps of all environments: everything [T, N, ...]."""

    seen: Tensor
    actions: Tensor
    logs: Tensor
    values: Tensor
    rewards: Tensor
    done: Tensor
    returns: list[float]
    """of the episodes that ended"""
    paid: float
    """mean reward of a step"""


def collect(envs: gym.vector.VectorEnv, agent: Agent, seen: np.ndarray, running: np.ndarray,
            settings: Settings) -> tuple[Batch, np.ndarray]:
    """Play a batch from the observations `seen`; `running` are the returns so far. Gives the last observations too."""
    steps: dict[str, list[Any]] = {name: [] for name in ("seen", "actions", "logs", "values", "rewards", "done")}
    returns: list[float] = []
    paid = 0.0
    for _ in range(settings.length):
        with torch.no_grad():
            logits, values = agent(torch.from_numpy(seen))
        chosen = torch.distributions.Categorical(logits=logits)
        actions = chosen.sample()
        following, rewards, terminated, truncated, infos = envs.step(actions.numpy())
        running += rewards
        paid += float(rewards.mean()) / settings.length
        rewards = rewards.copy()
        for i in np.flatnonzero(terminated | truncated):
            returns.append(float(running[i]))
            running[i] = 0.0
            if truncated[i] and not terminated[i]:  # cut, not over: what would have come is estimated
                with torch.no_grad():
                    rewards[i] += settings.gamma * float(agent(torch.from_numpy(infos["final_obs"][i][None]))[1])
        found = (torch.from_numpy(seen), actions, chosen.log_prob(actions), values, torch.from_numpy(rewards).float(),
                 torch.from_numpy(terminated | truncated))
        for name, value in zip(steps, found, strict=True):
            steps[name].append(value)
        seen = following
    return Batch(**{name: torch.stack(values) for name, values in steps.items()}, returns=returns, paid=paid), seen


def advantages(batch: Batch, last: Tensor, settings: Settings) -> Tensor:
    """Generalised advantage estimates [T, N] (arXiv:1506.02438); `last` are the values [N] after the batch."""
    found, ahead = torch.zeros_like(batch.rewards), torch.zeros_like(last)
    following = last
    for t in reversed(range(len(found))):
        going = 1 - batch.done[t].float()
        error = batch.rewards[t] + settings.gamma * following * going - batch.values[t]
        ahead = error + settings.gamma * settings.lam * going * ahead
        found[t], following = ahead, batch.values[t]
    return found


def improve(agent: Agent, optimizer: torch.optim.Optimizer, batch: Batch, gains: Tensor, settings: Settings) -> None:
    """Several epochs of clipped policy gradients on one batch."""
    seen, actions, logs = batch.seen.flatten(0, 1), batch.actions.flatten(), batch.logs.flatten()
    targets, gains = (gains + batch.values).flatten(), gains.flatten()
    for _ in range(settings.epochs):
        for part in torch.randperm(len(actions)).chunk(settings.minibatches):
            logits, values = agent(seen[part])
            chosen = torch.distributions.Categorical(logits=logits)
            ratio, gain = (chosen.log_prob(actions[part]) - logs[part]).exp(), gains[part]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
            policy = -torch.minimum(ratio * gain, clipped * gain).mean()
            error = (values - targets[part]).square().mean()
            loss = policy + settings.value * error - settings.entropy * chosen.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), settings.largest_gradient)
            optimizer.step()


class Learner:
    """Learns in a vector that resets within the step (SameStep), one update after the other; can be saved."""

    def __init__(self, envs: gym.vector.VectorEnv, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.envs, self.settings, self.updates = envs, settings, 0
        self.paid = 0.0
        """mean reward of a step in the last update"""
        self.agent = Agent(envs.single_observation_space.shape, int(envs.single_action_space.n))
        self.optimizer = torch.optim.Adam(self.agent.parameters(), settings.lr, eps=1e-5)
        self._seen, self._running = envs.reset(seed=settings.seed)[0], np.zeros(settings.envs)

    @property
    def steps(self) -> int:
        """Of all environments so far."""
        return self.updates * self.settings.length * self.settings.envs

    def update(self) -> list[float]:
        """Play a batch and learn from it; the returns of the episodes that ended in it."""
        self.optimizer.param_groups[0]["lr"] = self.settings.lr * (1 - self.updates / self.settings.updates)
        batch, self._seen = collect(self.envs, self.agent, self._seen, self._running, self.settings)
        if self.updates < self.settings.looks:
            self.agent.look(batch.seen.flatten(0, 1))
        with torch.no_grad():
            last = self.agent(torch.from_numpy(self._seen))[1]
        improve(self.agent, self.optimizer, batch, advantages(batch, last, self.settings), self.settings)
        self.updates, self.paid = self.updates + 1, batch.paid
        return batch.returns

    def save(self, path: Path) -> None:
        """Write what `load` needs, complete or not at all."""
        state = {"updates": self.updates, "agent": self.agent.state_dict(), "optimizer": self.optimizer.state_dict(),
                 "rng": torch.get_rng_state()}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote, with new episodes."""
        state = torch.load(path, weights_only=True)
        self.updates = state["updates"]
        self.agent.load_state_dict(state["agent"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])


def main(words: list[str]) -> None:
    """Learn, and print the mean return of what ended in each update."""
    settings = Settings()
    for word in words:
        name, _, value = word.partition("=")
        if not hasattr(settings, name) or name == "env":
            sys.exit(f"ppo: no setting is called {name!r}; there are {[key for key in vars(settings) if key != 'env']}")
        setattr(settings, name, type(getattr(settings, name))(value))
    if settings.id.startswith("foreframe/"):
        envs = gym.make_vec(settings.id, num_envs=settings.envs, autoreset_mode="SameStep", **settings.env)
    else:
        import ale_py

        gym.register_envs(ale_py)
        envs = gym.make_vec(settings.id, num_envs=settings.envs, img_height=104, img_width=80, stack_num=2,
                            autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    learner, begun = Learner(envs, settings), time.perf_counter()
    while learner.updates < settings.updates:
        returns = learner.update()
        shown = f"{np.mean(returns):+.2f} over {len(returns)}" if returns else "none ended"
        speed = learner.steps / (time.perf_counter() - begun)
        print(f"{learner.steps:8,} steps   {speed:5.0f} steps/s   return {shown}", flush=True)
    envs.close()


if __name__ == "__main__":
    main(sys.argv[1:])
