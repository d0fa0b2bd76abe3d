"""What more training would bring: `python -m benchmarks.compute_curve run=runs/breakout`.

Measures the worlds that `world_model.train` with `keep=true` left under `worlds/`, all from the same held-out starts
of the real game, and prints (and writes to `<run>/compute_curve.md`) a row for each: optimiser steps, arithmetic so
far, and the errors that the evaluation reports. The arithmetic is that of teacher steps, `world_model.flops`; steps on
the world's own past cost more.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from recorders import Command, MissingGame, command, settings
from world_model import World, WorldError, allocator, load_world
from world_model.bench import Bench
from world_model.evaluate_config import EvaluateConfig
from world_model.flops import training_flops
from world_model.horizons import curves, errors_of, outcome_figures, roll_out
from world_model.targets import shown


@dataclass(kw_only=True)
class ComputeCurveConfig(Command):
    """Which run, how many situations."""

    run: str = MISSING
    """folder of a training run"""
    beside: list[str] = field(default_factory=list)
    """folders of further worlds of the game"""
    starts: int = 48
    """held-out situations"""
    horizon: int = 32
    """steps from each"""
    batch: int = 24
    """situations drawn together"""
    passes: int | None = None
    """denoising passes that all worlds are drawn with; each its own number when null"""
    still: int | None = None
    """`sampler.still` that all worlds are drawn with; each its own when null"""
    seed: int = 1_000_000
    """first episode seed of the real game"""


ConfigStore.instance().store(name="compute_curve", node=ComputeCurveConfig)


def row(world: World, bench: Bench, batch: int) -> dict[str, Any]:
    """Figures of one world by name and step."""
    drawn = roll_out(world, bench.scenarios, bench.actions, batch)
    found = curves(errors_of(drawn, bench.real, bench.over, bench.reader), bench.reader)
    figures = {f"{name} {step}": shown(value) for name, by_step in found.items() for step, value in by_step.items()
               if step in ("8", "16", "32", "64")}
    if bench.reader is not None:
        valid = bench.reader.read(drawn.frames.reshape(-1, *drawn.frames.shape[2:]))["valid"]
        figures["valid, share"] = shown(float(np.mean(valid.reshape(bench.over.shape)[~bench.over])))
    near = min(16, bench.actions.shape[1])
    outcomes = outcome_figures(drawn, bench.real, bench.over)
    figures[f"reward F1 {near}, ±1"] = shown(outcomes[f"reward_slack1_{near}"]["f1"])
    return figures


def cost(world: World) -> tuple[int, float]:
    """Optimiser steps and floating-point operations so far; nan where the card does not say."""
    trained = world.card.get("trained", {})
    steps = int(trained.get("steps", 0))
    if not {"batch", "frames"} <= trained.keys():
        return steps, float("nan")
    return steps, steps * training_flops(world.model.config, trained["batch"], trained["frames"])


def table(rows: list[tuple[str, int, float, dict[str, Any]]]) -> str:
    """Markdown, a column per world."""
    names = list(dict.fromkeys(name for *_, figures in rows for name in figures))
    lines = ["| | " + " | ".join(name for name, *_ in rows) + " |", "|---|" + "---|" * len(rows),
             "| steps | " + " | ".join(f"{steps:,}" for _, steps, *_ in rows) + " |",
             "| 10^15 FLOP | " + " | ".join(f"{flop / 1e15:.2f}" for _, _, flop, _ in rows) + " |"]
    lines += [f"| {name} | " + " | ".join(str(figures.get(name, "")) for *_, figures in rows) + " |" for name in names]
    return "\n".join(lines) + "\n"


@command("compute_curve")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    config = cast(ComputeCurveConfig, settings(cfg))
    allocator.keep_memory()
    folders = [*sorted((Path(config.run) / "worlds").glob("*")), *map(Path, config.beside)]
    try:
        if not folders:
            raise WorldError(f"no world under {config.run}/worlds: train with keep=true, or pass beside=[...]")
        first = load_world(folders[0])
        asked = EvaluateConfig(world=str(folders[0]), starts=config.starts, horizon=config.horizon, seed=config.seed)
        bench = Bench(first, asked)
        rows = []
        for folder in folders:
            world = load_world(folder).with_sampler(config.passes, still=config.still)
            drawn = {"passes, still": f"{world.sampler.steps}, {world.sampler.still}"}
            rows.append((folder.name, *cost(world), drawn | row(world, bench, config.batch)))
    except (WorldError, MissingGame, ValueError) as error:
        sys.exit(f"compute_curve: {error}")
    text = table(rows)
    (Path(config.run) / "compute_curve.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
