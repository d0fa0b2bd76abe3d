"""Measure a world against the real game: `python -m world_model.evaluate world=envs/worlds/Pong-v0 env=ALE/Pong-v5`.

From held-out situations the same actions go to the real game and to the world. Every figure stands beside two naive
baselines: the last real frame repeated, and the same network given another situation's actions.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from tqdm import tqdm

from recorders import Command, GameConfig, MissingGame, behaviour_for, game_from_card, make_game, settings

from . import allocator
from .chart import save_chart
from .checkpoint import WorldError, load_world, write_card
from .control import held_actions
from .metrics import Rollouts, compare, free_run_figures
from .rollout import World
from .scenarios import Scenario, collect_scenarios

PONG = "ALE/Pong-v5"


@dataclass(kw_only=True)
class EvaluateConfig(Command):
    """What is measured and how much of it."""

    world: str = MISSING
    """folder of a world"""
    env: str = PONG
    """the real game's Gymnasium id"""
    out: str = ""
    """where the report goes; empty: into the world's folder"""
    starts: int = 200
    """held-out situations"""
    horizon: int = 64
    """steps compared"""
    control_starts: int = 50
    """situations from which an action is held"""
    free_steps: int = 10_000
    """length of the free run"""
    seed: int = 1_000_000
    """first episode seed of the real game; training recordings use others"""
    steps: int | None = None
    """denoising passes per frame; null takes the world's own"""
    device: str = "cpu"
    batch: int = 50
    """situations drawn together"""


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Run all measurements, write `evaluation.json` and `evaluation.png`, and put a summary into the card.

    Returns:
        The report.
    """
    allocator.keep_memory()
    world = load_world(config.world, config.device).with_sampler(config.steps)
    game = make_game(_game_of(world, config.env))
    context = world.model.config.window
    scenarios = collect_scenarios(game, config.env, world.action_meanings, count=config.starts, context=context,
                                  horizon=config.horizon, seed=config.seed)
    begun = time.perf_counter()
    report: dict[str, Any] = {
        "world": world.card["name"], "hash": world.hash, "env": config.env, "starts": len(scenarios),
        "denoising_passes": world.sampler.steps, "seed": config.seed,
        "horizons": horizon_report(world, scenarios, config),
    }
    if config.env == PONG:
        report["control"] = held_actions(world, game, scenarios[: config.control_starts])
        report["free_run"] = free_run(world, scenarios, config)
    report["seconds"] = round(time.perf_counter() - begun, 1)
    out = Path(config.out or config.world)
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    save_chart(report, out / "evaluation.png")
    if not config.out:
        write_card(Path(config.world), {k: v for k, v in world.card.items() if k != "metrics"} | {
            "metrics": summary(report)})
    return report


def horizon_report(world: World, scenarios: list[Scenario], config: EvaluateConfig) -> dict[str, Any]:
    """The world and its baselines over the horizons."""
    real = (np.stack([s.real_frames for s in scenarios]), np.stack([s.rewards for s in scenarios]),
            np.stack([s.terminated for s in scenarios]))
    actions = np.stack([s.actions for s in scenarios])
    shuffled = np.roll(actions, 1, axis=0)
    last = np.stack([s.frames[-1] for s in scenarios])
    still = np.repeat(last[:, None], actions.shape[1], 1), np.zeros_like(real[1]), np.zeros_like(real[2])
    pong = config.env == PONG
    return {
        "world": compare(roll_out(world, scenarios, actions, config.batch), real, pong),
        "shuffled_actions": compare(roll_out(world, scenarios, shuffled, config.batch), real, pong),
        "repeat_last": compare(still, real, pong),
    }


def roll_out(world: World, scenarios: list[Scenario], actions: np.ndarray, batch: int,
             progress: bool = True) -> Rollouts:
    """Drawn frames [B, T, H, W, 3], rewards [B, T] and "ended by now" [B, T] of the world from each situation."""
    parts = []
    bar = tqdm(total=len(scenarios) * actions.shape[1], desc="world", disable=not progress, unit="step")
    for begin in range(0, len(scenarios), batch):
        chosen = scenarios[begin : begin + batch]
        state = world.start_batch(np.stack([s.frames for s in chosen]), np.stack([s.past_actions for s in chosen]),
                                  list(range(begin, begin + len(chosen))))
        steps = []
        for t in range(actions.shape[1]):
            steps.append(world.step_batch(state, actions[begin : begin + len(chosen), t]))
            bar.update(len(chosen))
        parts.append([np.stack(x, 1) for x in zip(*steps, strict=True)])
    bar.close()
    frames, rewards, ends = (np.concatenate(x) for x in zip(*parts, strict=True))
    return frames, rewards, np.maximum.accumulate(ends, axis=1)


def free_run(world: World, starts: list[Scenario], config: EvaluateConfig) -> dict[str, Any]:
    """One long run played by the recorder's behaviours inside the world; where a game ends the next start follows."""
    rng, player = np.random.default_rng(config.seed), behaviour_for(config.env, world.action_meanings)
    frames: list[np.ndarray] = []
    rewards: list[float] = []
    state, games = None, 0
    for _ in tqdm(range(config.free_steps), desc="free run", unit="step"):
        if state is None:
            start, games = starts[games % len(starts)], games + 1
            state, frame = world.start(start.frames, start.past_actions, seed=config.seed + games), start.frames[-1]
            player.reset(rng)
        frame, reward, ended = world.step(state, player.act(frame, rng))
        frames.append(frame)
        rewards.append(reward)
        state = None if ended else state
    return free_run_figures(np.stack(frames), np.array(rewards)) | {"games": games}


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The figures that go into the card."""
    whole = report["horizons"]["world"]
    curves = whole["curves"]
    short = {name: dict(zip(map(str, curves["horizon"]), np.round(values, 3).tolist(), strict=True))
             for name, values in curves.items() if name != "horizon"}
    result = {"starts": report["starts"], "denoising_passes": report["denoising_passes"], **short}
    result |= {name: whole[name] for name in whole if name.startswith("reward_")}
    for name in ("control", "free_run"):
        if name in report:
            result[name] = report[name]
    return result


def _game_of(world: World, env: str) -> GameConfig:
    card = world.card["game"]
    if card["id"] != env:
        raise WorldError(f"this world was learned from {card['id']}, not from {env}; pass env={card['id']}")
    return game_from_card(card)


ConfigStore.instance().store(name="evaluate", node=EvaluateConfig)


@hydra.main(version_base="1.3", config_path=None, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        config: EvaluateConfig = settings(cfg)
        report = evaluate(config)
        print(json.dumps(summary(report), indent=1))
        print(f"report: {Path(config.out or config.world) / 'evaluation.json'}")
    except (MissingGame, WorldError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
