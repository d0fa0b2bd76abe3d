"""An agent that learns only inside a learned world, and what it is worth in the real game.

    python examples/train_in_dream.py                         # Pong-v0; goes on where it stopped when run again
    python examples/train_in_dream.py real=true out=runs/real # the same agent, in the real game itself

Episodes begin at the world's shipped clips of real play and are cut after `horizon` steps; with `doubt` above 0 also
where two rollouts of the same start and actions, with other noise, have come apart by more than that; with `mix` above
0 that share of them is played in the real game. Every `every` updates the agent plays whole real games, not learning
from them; `learning.png` has returns inside beside those outside.
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
import torch
from guard_rails import Doubted, Mixed
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
    """learn in the real game instead, in whole games, for comparison"""
    actions: str = "0,2,3"
    """those the agent chooses from, or nothing for all; the others of Pong push FIRE, which does nothing in play"""
    horizon: int = 200
    """steps after which an episode is cut"""
    doubt: float = 0.0
    """mean difference of two rollouts' observations, of 255, above which an episode is cut; 0 asks nobody"""
    mix: float = 0.0
    """share of the rollouts that are the real game's"""
    updates: int = 200
    every: int = 20
    """updates between two visits to the real game"""
    episodes: int = 3
    """played there each time"""
    last_episodes: int = 30
    """played there at the end"""
    most_steps: int = 27_000
    """of such an episode, as Atari's own limit has it"""
    envs: int = 32
    length: int = 32
    seed: int = 0
    beside: str = ""
    """folder of another run, which is drawn into the picture of this one"""


SEEN: dict[str, Any] = {"grayscale": True, "frame_stack": 2}
"""how pictures are seen, inside and outside"""


def choices(dream: Dream, count: int) -> np.ndarray:
    """The ids of the actions the agent chooses from, of `count`."""
    ids = np.array([int(word) for word in dream.actions.split(",")] if dream.actions else range(count))
    if not set(ids.tolist()) <= set(range(count)):
        sys.exit(f"train_in_dream: actions are ids from 0 to {count - 1} with commas between, got {dream.actions!r}")
    return ids


def chosen(envs: gym.vector.VectorEnv, dream: Dream) -> gym.vector.VectorEnv:
    """The vector with the agent's actions alone."""
    ids = choices(dream, int(envs.single_action_space.n))
    one = gym.spaces.Discrete(len(ids))
    return gym.wrappers.vector.TransformAction(envs, lambda rows: ids[rows], single_action_space=one,
                                               action_space=gym.vector.utils.batch_space(one, envs.num_envs))


def real_vector(dream: Dream, count: int) -> gym.vector.VectorEnv:
    """Rollouts of the real game."""
    def make() -> gym.Env[Any, Any]:
        return gym.wrappers.TimeLimit(foreframe.make_teacher(dream.world, **SEEN), dream.most_steps)

    return gym.vector.SyncVectorEnv([make] * count, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)


def vector(dream: Dream) -> gym.vector.VectorEnv:
    """Where the agent learns."""
    real = dream.envs if dream.real else round(dream.mix * dream.envs)
    if real == dream.envs:
        return chosen(real_vector(dream, real), dream)
    how, count = {**SEEN, "world": dream.world, "max_episode_steps": dream.horizon}, dream.envs - real
    if dream.doubt:
        inside: gym.vector.VectorEnv = Doubted(foreframe.ANY_WORLD, count, dream.doubt, **how)
    else:
        inside = gym.make_vec(foreframe.ANY_WORLD, num_envs=count, autoreset_mode="SameStep", **how)
    return chosen(Mixed(real_vector(dream, real), inside) if real else inside, dream)


def visit(agent: Agent | None, dream: Dream, episodes: int, seed: int) -> tuple[list[float], int]:
    """Returns of whole episodes in the real game, and all their steps; of random actions without an agent."""
    game, rng = foreframe.make_teacher(dream.world, **SEEN), np.random.default_rng(seed)
    ids, found, played = choices(dream, int(game.action_space.n)), [], 0
    for episode in range(episodes):
        seen, total, over, steps = game.reset(seed=seed + episode)[0], 0.0, False, 0
        while not over and steps < dream.most_steps:
            choice = int(agent.act(seen[None])[0]) if agent else int(rng.integers(len(ids)))
            seen, reward, terminated, truncated, _ = game.step(int(ids[choice]))
            total, over, steps = total + float(reward), terminated or truncated, steps + 1
        found.append(total)
        played += steps
    game.close()
    return found, played


def picture(logs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Whole real games, and rewards of 100 steps inside (means of ten updates) and outside, against steps learned from.

    Args:
        logs: of runs, by name.
        path: of the PNG.
    """
    figure, (games, points) = plt.subplots(2, 1, sharex=True, figsize=(7, 6))
    for name, log in logs.items():
        visits = [entry for entry in log if "outside" in entry]
        steps = [entry["steps"] for entry in visits]
        line = games.errorbar(steps, [np.mean(entry["outside"]) for entry in visits],
                              [np.std(entry["outside"]) for entry in visits], fmt="o-", capsize=3, label=name)
        paid = np.array([entry["inside_per_100"] for entry in log])
        smooth = [paid[max(0, i - 9) : i + 1].mean() for i in range(len(paid))]
        colour = line.lines[0].get_color()
        points.plot([entry["steps"] for entry in log], smooth, "--", color=colour, label=f"{name}: where it learns")
        points.plot(steps, [entry["outside_per_100"] for entry in visits], "o-", color=colour,
                    label=f"{name}: in the real game")
    games.set_ylabel("return of a real game")
    points.set_ylabel("reward of 100 steps")
    points.set_xlabel("steps that were learned from")
    for axes in (games, points):
        axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, none if it has not begun."""
    file = folder / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def doubted(envs: gym.vector.VectorEnv) -> int:
    """Episodes that were cut for doubt so far."""
    inside = envs.unwrapped
    return (inside.parts[1] if isinstance(inside, Mixed) else inside).cut


def learn(dream: Dream) -> Agent:
    """Learn, from where it stopped; every update leaves a line in `log.jsonl`."""
    out = Path(dream.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(envs=dream.envs, length=dream.length, updates=dream.updates, seed=dream.seed)
    learner, state, file = Learner(vector(dream), settings), out / "learner.pt", out / "log.jsonl"
    log = read_log(out)
    if state.exists():
        learner.load(state)
        log = log[: learner.updates]
    (out / "settings.json").write_text(json.dumps(asdict(dream), indent=1))
    while learner.updates < dream.updates:
        begun = time.perf_counter()
        returns = learner.update()
        entry: dict[str, Any] = {"steps": learner.steps, "inside_per_100": 100 * learner.paid,
                                 "inside": float(np.mean(returns)) if returns else None,
                                 "seconds": round(time.perf_counter() - begun, 2)}
        if dream.doubt:
            entry["doubted"] = doubted(learner.envs)
        if learner.updates % dream.every == 0:
            entry["outside"], played = visit(learner.agent, dream, dream.episodes, seed=500_000)
            entry["outside_per_100"] = 100 * sum(entry["outside"]) / played
        log.append(entry)
        print(json.dumps(entry), flush=True)
        file.write_text("".join(json.dumps(one) + "\n" for one in log))
        learner.save(state)
        if "outside" in entry or learner.updates == dream.updates:
            others = {dream.beside: read_log(Path(dream.beside))} if dream.beside else {}
            picture({dream.out: log, **others}, out / "learning.png")
    learner.envs.close()
    return learner.agent


def load_agent(out: Path) -> tuple[Agent, Dream, int]:
    """The agent of a run, what it learned where, and in how many steps.

    Raises:
        FileNotFoundError: if there is no run in `out`.
    """
    dream = Dream(**json.loads((out / "settings.json").read_text()))
    state = torch.load(out / "learner.pt", weights_only=True)
    game = foreframe.make_teacher(dream.world, **SEEN)
    agent = Agent(game.observation_space.shape, len(choices(dream, int(game.action_space.n))))
    agent.load_state_dict(state["agent"])
    game.close()
    return agent, dream, state["updates"] * dream.length * dream.envs


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
        returns, played = visit(player, dream, dream.last_episodes, seed=900_000)
        each = 100 * sum(returns) / played
        print(f"{name}: {interval(returns)} in {len(returns)} real games, {each:+.2f} in 100 steps")


if __name__ == "__main__":
    main(sys.argv[1:])
