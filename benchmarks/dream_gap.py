"""Where a dream pays an agent otherwise than the game: `python -m benchmarks.dream_gap out=runs/dream`.

An agent of `examples/train_in_dream.py` plays on in pairs of rollouts that differ in their noise alone, from shipped
clips on, and whole real games. Prints what it wins and loses in 100 steps, by how deep in the dream it is (what a
`horizon` cuts off) and by how far a pair has come apart at most so far (what `doubt` cuts off), with 95% of resamples
of whole rollouts. Nothing is learned.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
from gymnasium.spaces import Discrete
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from recorders import Command, command, settings
from recorders.software import processor
from world_model import allocator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))


@dataclass(kw_only=True)
class DreamGapConfig(Command):
    """Whose agent, how deep, how often."""

    out: str = MISSING
    """folder of a run of `examples/train_in_dream.py`"""
    pairs: int = 32
    """rollouts, each with a twin"""
    depths: list[int] = field(default_factory=lambda: [50, 100, 200, 400])
    """edges of the rows by depth"""
    doubts: list[float] = field(default_factory=lambda: [0.1, 0.2, 0.4, 0.8])
    """mean differences of a pair, of 255, up to which steps count"""
    games: int = 10
    """real ones"""
    seed: int = 0


ConfigStore.instance().store(name="dream_gap", node=DreamGapConfig)


def rates(rewards: np.ndarray, counted: np.ndarray, rng: np.random.Generator) -> str:
    """Points won, lost and their difference in 100 of the counted steps; rewards and counted are [T, rows]."""
    found = []
    for gained in (rewards > 0, rewards < 0, rewards):
        sums, steps = (gained * counted).sum(0), counted.sum(0)
        draws = rng.integers(sums.size, size=(2000, sums.size))
        shares = 100 * sums[draws].sum(1) / np.maximum(steps[draws].sum(1), 1)
        low, high = np.percentile(shares, [2.5, 97.5])
        found.append(f"{100 * sums.sum() / max(steps.sum(), 1):+.2f} ({low:+.2f} to {high:+.2f})")
    return " | ".join(found)


def dreamed(config: DreamGapConfig, agent: Any, dream: Any, seen_as: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and distances of pairs, both [T, pairs]; nan after a rollout's first end."""
    from guard_rails import Doubted
    from train_in_dream import choices

    import foreframe

    envs = Doubted(foreframe.ANY_WORLD, config.pairs, doubt=255.0, world=dream.world, **seen_as)
    ids = choices(dream, int(cast(Discrete, envs.single_action_space).n))
    seen, over, found = envs.reset(seed=config.seed)[0], np.zeros(config.pairs, np.bool_), []
    for _ in range(config.depths[-1]):
        seen, rewards, terminated, truncated, _ = envs.step(ids[agent.act(seen)])
        found.append((np.where(over, np.nan, rewards), np.where(over, np.nan, envs.apart)))
        over |= terminated | truncated
    envs.close()
    return np.stack([one[0] for one in found]), np.stack([one[1] for one in found])


def played(config: DreamGapConfig, agent: Any, dream: Any, seen_as: dict[str, Any]) -> np.ndarray:
    """Rewards of whole real games [T, games], nan after the end of the shorter ones."""
    from train_in_dream import choices

    import foreframe

    game, found = foreframe.make_teacher(dream.world, **seen_as), []
    ids = choices(dream, int(cast(Discrete, game.action_space).n))
    for number in range(config.games):
        rewards: list[float] = []
        seen, over = game.reset(seed=700_000 + config.seed + number)[0], False
        while not over and len(rewards) < dream.most_steps:
            seen, reward, terminated, truncated, _ = game.step(int(ids[agent.act(seen[None])[0]]))
            rewards.append(float(reward))
            over = terminated or truncated
        found.append(rewards)
    game.close()
    table = np.full((max(map(len, found)), len(found)), np.nan)
    for column, rewards in enumerate(found):
        table[: len(rewards), column] = rewards
    return table


def report(config: DreamGapConfig, rewards: np.ndarray, apart: np.ndarray, real: np.ndarray) -> None:
    """Print both tables."""
    rng = np.random.default_rng(config.seed)
    going, steps = ~np.isnan(rewards), np.arange(len(rewards))[:, None]
    paid, worst = np.nan_to_num(rewards), np.fmax.accumulate(np.nan_to_num(apart), axis=0)
    head = "won in 100 steps (95%) | lost | difference"
    print(f"| where | {head} | pairs apart by, median |\n|---|---|---|---|---|")
    for begin, end in zip([0, *config.depths], config.depths, strict=False):
        here = going & (steps >= begin) & (steps < end)
        distance = np.median(apart[here]) if here.any() else np.nan
        print(f"| inside, steps {begin} to {end} | {rates(paid, here, rng)} | {distance:.2f} |")
    print(f"| real game | {rates(np.nan_to_num(real), ~np.isnan(real), rng)} | |\n")
    print(f"| cut where pairs were apart by more than | steps left | {head} |\n|---|---|---|---|---|")
    for limit in [*config.doubts, 255.0]:
        kept = going & (worst <= limit)
        print(f"| {limit:g} | {100 * kept.sum() / going.sum():.0f}% | {rates(paid, kept, rng)} |")


@command("dream_gap")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    config = cast(DreamGapConfig, settings(cfg))
    allocator.keep_memory()
    from train_in_dream import SEEN, load_agent

    agent, dream, steps = load_agent(Path(config.out))
    print(f"{processor()}, {dream.world}, an agent after {steps:,} steps of learning in {config.out}")
    print(f"{config.pairs} pairs from shipped clips, {config.games} real games, seed {config.seed}\n", flush=True)
    rewards, apart = dreamed(config, agent, dream, SEEN)
    report(config, rewards, apart, played(config, agent, dream, SEEN))


if __name__ == "__main__":
    main()
