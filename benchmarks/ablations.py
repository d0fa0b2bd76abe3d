"""What each technique against drift is worth: `python -m benchmarks.ablations out=runs/ablations`.

Small worlds of a small real game (`benchmarks.catch_game`), one per technique and seed, all trained with the same
arithmetic (FLOP counted by torch, so techniques that cost more get fewer steps), judged against the game itself. Trains
what is not there yet: break it off and go on whenever you like. The table goes to `<out>/ablations.md`.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from torch.utils.flop_counter import FlopCounterMode

from recorders import Command, command, open_recording, settings
from world_model import SamplerConfig, WorldModelConfig, allocator, load_world
from world_model.clips import ClipSource
from world_model.levels import LevelConfig
from world_model.model import WorldModel
from world_model.optimizer import OptimizerConfig
from world_model.team import Team
from world_model.train import fit_to_recording, open_cache, train
from world_model.train_config import TrainConfig
from world_model.trainer import Trainer
from world_model.trainer_config import TrainerConfig

from .catch_judge import FIGURES, judge
from .catch_recording import record_catch

Change = Callable[[TrainerConfig], None]


def plain(config: TrainerConfig) -> None:
    """Diffusion forcing: noisy pasts, FoPP levels and independent ones; a tenth clean, which rewards are read off."""
    config.levels = LevelConfig(teacher=0, prefix=0.1, ad=0, fopp=0.45, independent=0.45)


def clean_past(config: TrainerConfig) -> None:
    """Clean pasts of random length and rows of the served plan, unlabelled noise on what is clean."""
    config.levels = LevelConfig(teacher=0, prefix=0.4, ad=0.4, fopp=0.2, independent=0)
    config.context_noise = 0.1


def skip_causal(config: TrainerConfig) -> None:
    """A clean and a noisy copy in one pass (ACDiT)."""
    config.levels = LevelConfig()
    config.context_noise = 0.1


def _upon_skip_causal(**changes: Any) -> Change:
    def change(config: TrainerConfig) -> None:
        skip_causal(config)
        for name, value in changes.items():
            part, _, inner = name.partition("__")
            setattr(getattr(config, part) if inner else config, inner or part, value)

    return change


ROWS: dict[str, Change] = {
    "plain": plain,
    "clean past + noise": clean_past,
    "skip-causal (S)": skip_causal,
    "S without context noise": _upon_skip_causal(context_noise=0.0),
    "S + error bank": _upon_skip_causal(errors__size=64),
    "S + chain of forward": _upon_skip_causal(chain=3, chain_share=0.3),
    "S + own pasts": _upon_skip_causal(own_share=0.7, own_after=0.3),
    "S + action dropout": _upon_skip_causal(action_dropout=0.1),
    "S + paired noise": _upon_skip_causal(noise_draws=16, undecided_share=0.5),
    "S + own pasts, paired noise, moments": _upon_skip_causal(own_share=0.7, own_after=0.3, noise_draws=16,
                                                             undecided_share=0.5, moments=24),
}
"""technique to its settings"""

OTHERWISE: dict[str, dict[str, Any]] = {
    "skip-causal (S)": {"still": 14},
    "S + action dropout": {"guidance": 1.5},
    "S + own pasts": {"still": 14},
}
"""technique to settings of the sampler with which its worlds are drawn once more"""


AMOUNTS = ("tera", "recorded", "starts", "free_steps")
"""settings that figures in one table must share"""


@dataclass(kw_only=True)
class AblationsConfig(Command):
    """How much is trained and judged."""

    out: str = MISSING
    """folder of recording, worlds and table"""
    rows: list[str] = field(default_factory=lambda: list(ROWS))
    """techniques"""
    seeds: int = 3
    tera: float = 6.0
    """10^12 floating-point operations per world"""
    recorded: int = 30_000
    """steps of the game to learn from"""
    starts: int = 64
    """held-out situations"""
    free_steps: int = 300
    """steps of each of 16 free runs"""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.rows) - ROWS.keys())
        if unknown:
            raise ValueError(f"no technique is called {unknown}; there are {list(ROWS)}")


def settings_of(row: str, seed: int, config: AblationsConfig) -> TrainConfig:
    """A training of a row, but for its number of steps."""
    trainer = TrainerConfig(
        batch=8, frames=10, precision="fp32", seed=seed, event_share=0.15, hard_share=0.4, moments=0, ghost_share=0.0,
        noise_draws=1, undecided_share=0.0, own_share=0.0, context_noise=0.0, average=0.99, save_seconds=120,
        report_seconds=1e9, optimizer=OptimizerConfig(matrix_lr=8e-3, lr=4e-3, warmup=30))
    ROWS[row](trainer)
    model = WorldModelConfig(height=24, width=24, patch=[8, 8], dim=64, layers=3, heads=2, window=10, channels=16,
                             canvas=4, kinds=4)
    out = Path(config.out)
    return TrainConfig(data=str(out / "recording"), out=str(out / _folder(row, seed)), cache=str(out / "cache"),
                       name="Catch-v0", model=model, trainer=trainer, sampler=SamplerConfig(steps=3, reuse=True),
                       device="cpu", threads=1, contexts=16)


def flops_per_step(run: TrainConfig, scratch: Path, steps: int = 24) -> float:
    """Mean floating-point operations of a training step, before and after own pasts begin, weighted."""
    counts: dict[float, float] = {}
    for share in {0.0, run.trainer.own_share}:
        trainer = TrainerConfig(**{**vars(run.trainer), "own_after": 0.0, "own_share": share, "workers": 0})
        probe = _trainer(run, trainer, scratch)
        with FlopCounterMode(display=False) as counter:
            for _ in range(steps):
                probe.train_step()
        counts[share] = counter.get_total_flops() / steps
    before = run.trainer.own_after
    return before * counts[0.0] + (1 - before) * counts[run.trainer.own_share]


def _trainer(run: TrainConfig, trainer: TrainerConfig, scratch: Path) -> Trainer:
    recording = open_recording(run.data)
    fit_to_recording(run.model, recording)
    source = ClipSource(open_cache(run.cache, recording, Team()), recording.episodes, run.model.reward_values,
                        run.model.actions, trainer.event_share, trainer.hard_share, trainer.seed)
    return Trainer(WorldModel(run.model), source, run.sampler, trainer, scratch)


def measure(row: str, seed: int, config: AblationsConfig) -> dict[str, Any]:
    """Train and judge one world, unless that has been done. Returns its figures."""
    run = settings_of(row, seed, config)
    done, amounts = Path(run.out) / "figures.json", {name: getattr(config, name) for name in AMOUNTS}
    if done.exists():
        known = cast(dict[str, Any], json.loads(done.read_text()))
        if known["amounts"] != amounts:
            raise ValueError(f"{done} is of {known['amounts']}, asked for are {amounts}: take another out=")
        return _drawn_otherwise(known, Path(run.out), config)
    cost = flops_per_step(run, Path(config.out) / "scratch")
    run.trainer.steps = round(config.tera * 1e12 / cost)
    folder = train(run)
    found: dict[str, Any] = {"row": row, "seed": seed, "steps": run.trainer.steps, "gflop_per_step": cost / 1e9,
                             "amounts": amounts, "settings": asdict(run.trainer)}
    found["figures"] = judge(load_world(folder), config.starts, config.free_steps)
    return _drawn_otherwise(found, Path(run.out), config)


def _drawn_otherwise(found: dict[str, Any], out: Path, config: AblationsConfig) -> dict[str, Any]:
    """Figures of a world as it is served, with those of its row in `OTHERWISE`; kept in its folder."""
    sampler = OTHERWISE.get(found["row"])
    if sampler and found.get("otherwise", {}).get("sampler") != sampler:
        drawn = judge(load_world(out / "world").with_sampler(**sampler), config.starts, config.free_steps)
        found["otherwise"] = {"sampler": sampler, "figures": drawn}
    (out / "figures.json").write_text(json.dumps(found, indent=1))
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: a row per technique, mean and standard deviation over the seeds of every figure."""
    lines = ["| technique | seeds | steps | " + " | ".join(FIGURES.values()) + " |",
             "|---|---|---|" + "---|" * len(FIGURES)]
    for row in dict.fromkeys(run["row"] for run in found):
        runs = [run for run in found if run["row"] == row]
        lines.append(_line(row, runs, [run["figures"] for run in runs]))
        if all("otherwise" in run for run in runs):
            told = ", ".join(f"{name} {value}" for name, value in runs[0]["otherwise"]["sampler"].items())
            lines.append(_line(f"{row}, drawn with {told}", runs, [run["otherwise"]["figures"] for run in runs]))
    return "\n".join(lines) + "\n"


def _line(name: str, runs: list[dict[str, Any]], figures: list[dict[str, float]]) -> str:
    steps = round(statistics.mean(run["steps"] for run in runs))
    cells = [_cell([found[figure] for found in figures]) for figure in FIGURES]
    return f"| {name} | {len(runs)} | {steps:,} | " + " | ".join(cells) + " |"


def _cell(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def _folder(row: str, seed: int) -> str:
    return "".join(c if c.isalnum() else "-" for c in row) + f"-{seed}"


ConfigStore.instance().store(name="ablations", node=AblationsConfig)


@command("ablations")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    config = cast(AblationsConfig, settings(cfg))
    allocator.keep_memory()
    out = Path(config.out)
    record_catch(out / "recording", config.recorded)
    found: list[dict[str, Any]] = []
    for seed in range(config.seeds):
        for row in config.rows:
            found.append(measure(row, seed, config))
            ordered = sorted(found, key=lambda run: config.rows.index(run["row"]))
            (out / "ablations.md").write_text(table(ordered))
            print(f"{row}, seed {seed}: {json.dumps(found[-1]['figures'])}", flush=True)
    print((out / "ablations.md").read_text())


if __name__ == "__main__":
    main()
