"""A world drawn otherwise, with fewer passes say: `python -m benchmarks.samplers world=envs/worlds/Pong-v0`.

Measures the world at several counts of denoising passes and with several `sampler.still`, and others beside it as they
are (students of `world_model.distill`), all from the same held-out starts of the real game. Every error stands as a
ratio to that of the world as it is served. Prints the table and writes it to `out=`, if that is given.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from recorders import Command, MissingGame, command, settings
from world_model import World, WorldError, allocator, load_world
from world_model.bench import Bench
from world_model.evaluate_config import EvaluateConfig
from world_model.horizons import errors_of, measures_of, roll_out
from world_model.intervals import Figure, figure, mean, median
from world_model.targets import shown

AT = (8, 16, 32, 64)
"""steps at which errors are compared"""
SHARES = ("ssim", "valid", "ball_recall", "score_right", "lives_right")
"""figures of which 1 is right; so are those that end in `_within_1`, `_within_2`"""
ALLOWED = 1.1
"""ratio up to which an error counts as kept"""

Samples = dict[str, np.ndarray]
"""float [B] by name and step: errors of single starts, 0 where all is right; nan where there is none"""


@dataclass(kw_only=True)
class SamplersConfig(Command):
    """Which worlds, drawn how."""

    world: str = MISSING
    """folder of the world that the others are held against, as it is served"""
    passes: list[int] = field(default_factory=lambda: [4, 2, 1])
    """counts of passes at which it is drawn besides"""
    still: list[int] = field(default_factory=list)
    """values of `sampler.still` with which it is drawn besides"""
    beside: list[str] = field(default_factory=list)
    """folders of further worlds of the game"""
    out: str = ""
    """file of the table"""
    starts: int = 100
    """held-out situations"""
    horizon: int = 32
    """steps from each"""
    batch: int = 50
    """situations drawn together"""
    seed: int = 1_000_000
    """first episode seed of the real game"""
    device: str = "cpu"


def samples_of(world: World, bench: Bench, batch: int) -> Samples:
    """Errors of single starts, by name and step; those of pictures as root mean squares of pixels."""
    drawn = roll_out(world, bench.scenarios, bench.actions, batch, desc=_how(world))
    errors = errors_of(drawn, bench.real, bench.over, bench.reader)
    found: Samples = {}
    for i, step in enumerate(errors.horizons):
        if step in AT:
            found |= {f"{name} {step}": as_error(name, values[:, i]) for name, values in errors.values.items()}
            given, real = drawn.rewards[:, :step].sum(1), bench.real.rewards[:, :step].sum(1)
            found[f"return {step}"] = np.abs(given - real).astype(np.float64)
    if bench.reader is not None:
        valid = bench.reader.read(drawn.frames.reshape(-1, *drawn.frames.shape[2:]))["valid"].reshape(bench.over.shape)
        found["valid"] = mean(np.where(bench.over, np.nan, ~valid))
    return found


def as_error(name: str, values: np.ndarray) -> np.ndarray:
    """A measure [B] turned so that 0 is right and more is worse."""
    if name == "psnr":
        return 255 * 10 ** (-values / 20)
    return 1 - values if name in SHARES or "_within_" in name else values


def ratio(ours: np.ndarray, reference: np.ndarray, middle: bool) -> Figure:
    """Error over error, of the same starts: means, or medians. Where they are equal it is 1, over a 0 very large."""
    statistic = median if middle else mean

    def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        top, bottom = statistic(a), statistic(b)
        return np.where(top == bottom, 1.0, top / np.maximum(bottom, 1e-9))  # finite: resamples count

    return figure(divide, ours, reference)


def lost(found: Figure) -> bool:
    """Whether an error grew by more than a tenth, and not by chance: its interval lies above 1."""
    return found["value"] > ALLOWED and not found["low"] <= 1


def table(columns: dict[str, Samples], medians: set[str]) -> str:
    """Markdown: the first column's errors, the others' ratios to them, those that are lost marked, and their count."""
    (first, reference), *others = columns.items()
    lines = ["| error | " + " | ".join([first, *(f"{name}, ratio" for name, _ in others)]) + " |",
             "|---|" + "---|" * len(columns)]
    counts = dict.fromkeys((name for name, _ in others), 0)
    for name, values in reference.items():
        middle = name.split()[0] in medians
        cells = [shown(figure(median if middle else mean, values))]
        for other, samples in others:
            found = ratio(samples[name], values, middle)
            counts[other] += lost(found)
            cells.append(f"**{shown(found)}**" if lost(found) else shown(found))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("| lost | | " + " | ".join(f"{count} of {len(reference)}" for count in counts.values()) + " |")
    return "\n".join(lines) + "\n"


def compare(config: SamplersConfig) -> str:
    """The table of all worlds and samplers that `config` names.

    Raises:
        WorldError: if a world cannot be read, or is not of the first one's game.
        MissingGame: if the real game is not installed.
    """
    first = load_world(config.world, config.device)
    others = [_fitting(load_world(folder, config.device), folder, first) for folder in config.beside]
    asked = EvaluateConfig(world=config.world, starts=config.starts, horizon=config.horizon, seed=config.seed)
    bench = Bench(first, asked)
    worlds = [first, *(first.with_sampler(n) for n in config.passes if n != first.sampler.steps),
              *(first.with_sampler(still=n) for n in config.still if n != first.sampler.still), *others]
    names = [Path(config.world).name] * (len(worlds) - len(others)) + config.beside
    columns: dict[str, Samples] = {}
    for name, world in zip(names, worlds, strict=True):
        title = f"{name}, {_how(world)}"
        while title in columns:
            title += " again"
        columns[title] = samples_of(world, bench, config.batch)
    medians = {name for name, measure in measures_of(bench.reader).items() if measure.median}
    return (f"{config.starts} starts of {bench.env}, {config.horizon} steps; in brackets 95% of resamples; "
            f"bold: more than {ALLOWED - 1:.0%} worse, interval above 1\n\n" + table(columns, medians))


def _fitting(world: World, folder: str, first: World) -> World:
    """The world, if it is of the first one's game.

    Raises:
        WorldError: if it is not.
    """
    kinds = [(w.card["game"]["id"], w.observation_shape, w.num_actions) for w in (first, world)]
    if kinds[0] != kinds[1]:
        raise WorldError(f"beside={folder} must be of the game, pictures and actions {kinds[0]}, it is of {kinds[1]}")
    return world


def _how(world: World) -> str:
    return f"{world.sampler.steps} passes, still {world.sampler.still}"


ConfigStore.instance().store(name="samplers", node=SamplersConfig)


@command("samplers")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    config = cast(SamplersConfig, settings(cfg))
    allocator.keep_memory()
    try:
        text = compare(config)
    except (WorldError, MissingGame, ValueError) as error:
        sys.exit(f"samplers: {error}")
    if config.out:
        Path(config.out).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
