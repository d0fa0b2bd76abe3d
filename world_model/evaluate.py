"""Measure a world against the real game: `python -m world_model.evaluate world=envs/worlds/Pong-v0`.

From held-out situations the same actions go to the real game and to the world. Every figure stands beside naive
baselines: the last real frame repeated, the same network given another situation's actions, the real game itself; and
beside a second world with `beside=`. docs/evaluation.md says what each figure means and what each part costs.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from recorders import MissingGame, command, settings

from . import allocator
from .bench import Bench
from .chart import chart
from .checkpoint import load_world, write_card
from .evaluate_config import EvaluateConfig
from .measurements import Measurements
from .report_page import page
from .report_parts import ReportParts, to_json, write
from .rollout import World
from .targets import target_rows, target_table
from .world_error import WorldError

REPORT, PICTURE, PAGE = ".json", ".png", ".html"
"""endings of the three files"""

_NOT_IN_KEY = ("world", "beside", "out", "resume", "device", "defaults", "hydra", "passes")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Run all measurements, write `evaluation.json`, `.png` and `.html`, and put a summary into the card.

    A quick one is called `evaluation-quick` and leaves the card alone; so does any with a folder of its own (`out`).
    Finished parts are in `evaluation.json.part` until the report is there; a later call with the same settings and
    worlds goes on from them.

    Returns:
        The report.

    Raises:
        WorldError: if a world cannot be read, or is not one of `config.env`.
        MissingGame: if the real game is not installed.
        ValueError: if the two worlds are of different pictures or actions, the game's episodes are too short, or `out`
            cannot be a folder.
    """
    allocator.keep_memory()
    world, second = _worlds(config)
    _make_folder(config)
    parts = ReportParts(report_file(config, REPORT + ".part"), _key(config, world, second), config.resume)
    begun = time.perf_counter()
    bench = Bench(world, config)
    report: dict[str, Any] = {
        "world": world.card["name"], "hash": world.hash, "env": bench.env, "frame_shape": list(world.observation_shape),
        "denoising_passes": world.sampler.steps, "seed": config.seed, "quick": config.quick,
        "amounts": config.amounts(), **Measurements(world, bench, parts).all(),
    }  # fmt: skip
    if second is not None:
        report["beside"] = {"world": second.card["name"], "hash": second.hash,
                            **Measurements(second, bench, parts, "beside ").all()}
    report["targets"] = target_rows(report)
    report["seconds"] = parts.seconds | {"this call": round(time.perf_counter() - begun, 1)}
    _write(report, config)
    parts.close()
    if not config.out and not config.quick:
        found = summary(report)
        metrics = world.card.get("metrics", {}) | {config.condition: found} if world.conditions else found
        write_card(Path(config.world), world.card | {"metrics": metrics})
    return report


def report_file(config: EvaluateConfig, ending: str) -> Path:
    """Where one of the three files goes."""
    game = f"-{config.condition}" if config.condition else ""
    return Path(config.out or config.world) / f"evaluation{game}{'-quick' if config.quick else ''}{ending}"


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The figures that go into the card: the world's horizon curves and events, control and the free run's main row."""
    whole, run = report["horizons"]["world"], report["free_run"]["world"]
    inverse = report["control"].get("inverse_dynamics", {})
    kept = {name: value["last"] | {"by_tenth": value["by_tenth"]} for name, value in run.items()
            if isinstance(value, dict) and "last" in value}
    return {
        "starts": report["amounts"]["starts"], "denoising_passes": report["denoising_passes"],
        **whole["curves"],
        **{name: found["f1"] for name, found in whole.items() if "f1" in found},
        "inverse_dynamics": {name: inverse[name] for name in ("real", "world", "ratio") if name in inverse},
        "held": {name: held["obeyed"] for name, held in report["control"].get("held", {}).items()},
        "free_run": {"steps": run["steps"], "score": run["drift"]["score"], **kept},
        "targets": {row["name"]: row["met"] for row in report["targets"] if row["target"] is not None},
    }  # fmt: skip


def _make_folder(config: EvaluateConfig) -> None:
    try:
        report_file(config, REPORT).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out={config.out} cannot be a folder ({error.strerror}); pass another") from error


def _worlds(config: EvaluateConfig) -> tuple[World, World | None]:
    worlds = [load_world(folder, config.device).with_sampler(config.steps)
              for folder in (config.world, config.beside) if folder]
    if config.condition and not any(world.conditions for world in worlds):
        raise WorldError(f"{worlds[0].card['name']} holds one game, got condition={config.condition!r}: pass none")
    worlds = [_of_one_game(world, config.condition) for world in worlds]
    for world in worlds:
        learned, asked = world.game["id"], config.env or worlds[0].game["id"]
        if learned != asked:
            raise WorldError(f"this world was learned from {learned}, not from {asked}; pass env={learned}")
    sizes = [(world.observation_shape, world.actions.describe()) for world in worlds]
    if len(set(sizes)) > 1:
        raise ValueError("both worlds must draw the same pictures from the same actions; " + ", ".join(
            f"{folder} has pictures of {list(shape)} and actions {actions}"
            for folder, (shape, actions) in zip((config.world, config.beside), sizes, strict=True)))
    return worlds[0], worlds[1] if len(worlds) > 1 else None


def _of_one_game(world: World, condition: str) -> World:
    if not world.conditions:
        return world
    if condition not in world.conditions:
        raise WorldError(f"{world.card['name']} holds {world.conditions}, got condition={condition!r}: pass one")
    return world.under(condition)


def _key(config: EvaluateConfig, world: World, second: World | None) -> dict[str, Any]:
    """What finished parts depend on."""
    chosen = {name: value for name, value in asdict(config).items() if name not in _NOT_IN_KEY}
    samplers = [asdict(w.sampler) for w in (world, second) if w is not None]
    return chosen | config.amounts() | {"hashes": [world.hash, second.hash if second else None], "samplers": samplers}


def _write(report: dict[str, Any], config: EvaluateConfig) -> None:
    """The three files. Pictures go from the report into the page."""
    strips = {}
    for title, part in (("Real above drawn, after 1, 4, 8, 16, 32, 64 steps", report["horizons"]),
                        ("Free runs: the real game's above the world's, evenly spread", report["free_run"]),
                        ("The second world, as above", report.get("beside", {}).get("horizons", {})),
                        ("The second world's free run, as above", report.get("beside", {}).get("free_run", {}))):
        if "strip" in part:
            strips[title] = part.pop("strip")
    text = to_json(report)
    write(report_file(config, REPORT), text)
    picture = chart(json.loads(text))
    report_file(config, PICTURE).write_bytes(picture)
    write(report_file(config, PAGE), page(json.loads(text), picture, strips))


ConfigStore.instance().store(name="evaluate", node=EvaluateConfig)


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        config = cast(EvaluateConfig, settings(cfg))
        report = evaluate(config)
        print(target_table(report["targets"]))
        print(f"report: {report_file(config, PAGE)}")
    except (MissingGame, WorldError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
