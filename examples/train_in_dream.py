"""An agent that learns only inside a learned world, and what it is worth in the real game.

    python examples/train_in_dream.py                         # Pong-v0; goes on where it stopped when run again
    python examples/train_in_dream.py real=true out=runs/real # the same agent, in the real game itself

Episodes begin at the world's shipped clips of real play and are cut after `horizon` steps; with `doubt` above 0 also
where two rollouts of the same start and actions, with other noise, have come apart by more than that. Every `every`
updates the agent plays in the real game, from the reset on; `learning.png` has returns inside beside those outside.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib as mpl
import numpy as np
from ppo import Agent, Learner, Settings

import foreframe

mpl.use("Agg")
from matplotlib import pyplot as plt


@dataclass
class Dream:
    """What is learned where."""

    world: str = "Pong-v0"
    out: str = "runs/dream"
    real: bool = False
    """learn in the real game instead, for comparison"""
    horizon: int = 200
    """steps after which an episode is cut"""
    doubt: float = 0.0
    """mean difference of two rollouts' observations, of 255, above which an episode is cut; 0 asks nobody"""
    updates: int = 200
    every: int = 20
    """updates between two visits to the real game"""
    episodes: int = 3
    """played there each time"""
    last_episodes: int = 30
    """played there at the end"""
    most_steps: int = 4000
    """of such an episode"""
    envs: int = 32
    length: int = 32
    seed: int = 0


SEEN: dict[str, Any] = {"size": (52, 40), "grayscale": True, "frame_stack": 2}
"""how pictures are seen, inside and outside"""


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
        self.cut = 0
        """episodes that were cut for doubt"""

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
        doubted = np.abs(seen[:n].astype(np.int16) - seen[n:]).mean(axes) > self.doubt
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


def vector(dream: Dream) -> gym.vector.VectorEnv:
    """Where the agent learns."""
    mode = gym.vector.AutoresetMode.SAME_STEP
    if dream.real:
        def make() -> gym.Env[Any, Any]:
            return gym.wrappers.TimeLimit(foreframe.make_teacher(dream.world, **SEEN), dream.horizon)

        return gym.vector.SyncVectorEnv([make] * dream.envs, autoreset_mode=mode)
    how = {**SEEN, "world": dream.world, "max_episode_steps": dream.horizon}
    if dream.doubt:
        return Doubted(foreframe.ANY_WORLD, dream.envs, dream.doubt, **how)
    return gym.make_vec(foreframe.ANY_WORLD, num_envs=dream.envs, autoreset_mode="SameStep", **how)


def visit(agent: Agent | None, dream: Dream, episodes: int, seed: int) -> list[float]:
    """Returns of whole episodes in the real game; of random actions without an agent."""
    game, found = foreframe.make_teacher(dream.world, **SEEN), []
    game.action_space.seed(seed)
    for episode in range(episodes):
        seen, total, over, steps = game.reset(seed=seed + episode)[0], 0.0, False, 0
        while not over and steps < dream.most_steps:
            action = int(agent.act(seen[None])[0]) if agent else int(game.action_space.sample())
            seen, reward, terminated, truncated, _ = game.step(action)
            total, over, steps = total + float(reward), terminated or truncated, steps + 1
        found.append(total)
    game.close()
    return found


def picture(log: list[dict[str, Any]], path: Path) -> None:
    """Returns inside and outside against steps."""
    figure, (inside, outside) = plt.subplots(2, 1, sharex=True, figsize=(7, 6))
    steps = [entry["steps"] for entry in log]
    inside.plot(steps, [entry["inside"] for entry in log])
    inside.set_ylabel("return of an episode inside")
    visits = [entry for entry in log if "outside" in entry]
    outside.errorbar([entry["steps"] for entry in visits], [np.mean(entry["outside"]) for entry in visits],
                     [np.std(entry["outside"]) for entry in visits], fmt="o-", capsize=3)
    outside.set_ylabel("return of a real game")
    outside.set_xlabel("steps that were learned from")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def learn(dream: Dream) -> Agent:
    """Learn, from where it stopped; every update leaves a line in `log.jsonl`."""
    out = Path(dream.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(envs=dream.envs, length=dream.length, updates=dream.updates, seed=dream.seed)
    learner, state, file = Learner(vector(dream), settings), out / "learner.pt", out / "log.jsonl"
    log = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if state.exists():
        learner.load(state)
        log = log[: learner.updates]
    (out / "settings.json").write_text(json.dumps(asdict(dream), indent=1))
    while learner.updates < dream.updates:
        begun = time.perf_counter()
        returns = learner.update()
        entry: dict[str, Any] = {"steps": learner.steps, "inside": float(np.mean(returns)) if returns else None,
                                 "seconds": round(time.perf_counter() - begun, 2)}
        if isinstance(learner.envs, Doubted):
            entry["doubted"] = learner.envs.cut
        if learner.updates % dream.every == 0:
            entry["outside"] = visit(learner.agent, dream, dream.episodes, seed=500_000)
        log.append(entry)
        print(json.dumps(entry), flush=True)
        file.write_text("".join(json.dumps(one) + "\n" for one in log))
        learner.save(state)
        picture(log, out / "learning.png")
    learner.envs.close()
    return learner.agent


def interval(returns: list[float]) -> str:
    """Mean and the interval that holds 95% of the means of resamples."""
    rng = np.random.default_rng(0)
    means = rng.choice(returns, (2000, len(returns))).mean(1)
    return f"{np.mean(returns):+.2f} ({np.percentile(means, 2.5):+.2f} to {np.percentile(means, 97.5):+.2f})"


def main(words: list[str]) -> None:
    """Learn, then compare with random actions over 30 real games."""
    dream = Dream()
    for word in words:
        name, _, value = word.partition("=")
        if not hasattr(dream, name):
            sys.exit(f"train_in_dream: no setting is called {name!r}; there are {list(vars(dream))}")
        kind = type(getattr(dream, name))
        setattr(dream, name, value == "true" if kind is bool else kind(value))
    agent = learn(dream)
    for name, player in (("random actions", None), ("the agent", agent)):
        returns = visit(player, dream, dream.last_episodes, seed=900_000)
        print(f"{name}: {interval(returns)} in {len(returns)} real games")


if __name__ == "__main__":
    main(sys.argv[1:])
