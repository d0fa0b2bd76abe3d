"""From a game to a world of it in one command: `python -m world_model.learn env=ALE/Freeway-v5 out=runs/freeway`.

Records the game (or takes a recording that is there, `data=`), chooses sizes that suit it, trains, and compares with
the game. Broken off, it goes on when it is run again. What it chooses is printed as the commands that do the same.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from recorders import Command, MissingGame, Recording, RecordingError, command, open_recording, settings

from .evaluate import evaluate, report_file
from .evaluate_config import EvaluateConfig
from .presets import PRESETS
from .targets import target_table
from .train import train
from .train_config import TrainConfig
from .train_state import TrainStateError
from .world_error import WorldError

FRAMES = 66
"""frames of all clips of a training step together"""


@dataclass(kw_only=True)
class LearnConfig(Command):
    """Which game, or which recording, and how much of both recording and learning."""

    env: str = ""
    """a Gymnasium id of a game with pictures and discrete actions"""
    data: str = ""
    """folder of a recording; empty: one is made, in `out`"""
    out: str = MISSING
    """folder for all of it; the world is in its `world`"""
    name: str = ""
    """name of the world; empty: the game's"""
    record: int = 100_000
    """steps to record"""
    workers: int = max(1, min(8, os.cpu_count() or 1))
    """games that are recorded at once"""
    steps: int = 3000
    """optimiser steps"""
    preset: str = "auto"
    """size of the network: tiny, base, large; auto: base where there is a GPU, else tiny"""
    evaluate: bool = True
    """whether a quick evaluation against the game follows"""
    seed: int = 0

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.data):
            raise ValueError("pass either env=<a Gymnasium id> or data=<a recording>")
        if self.preset not in ("auto", *PRESETS):
            raise ValueError(f"preset must be auto, {', '.join(PRESETS)}, got {self.preset!r}")


def learn(config: LearnConfig) -> Path:
    """Record if need be, train, evaluate.

    Returns:
        The world's folder.

    Raises:
        SystemExit: if recording failed, which has said why.
        MissingGame: if the game cannot be made for the evaluation.
        RecordingError: if the recording cannot be read.
        TrainStateError, WorldError: if what is in `out` is of something else.
        ValueError: if a setting makes no sense, or episodes are too short.
    """
    out = Path(config.out)
    data = config.data or _record(config, out / "recording")
    recording = open_recording(data)
    chosen = suited(recording, config.steps, config.preset)
    game = recording.meta.get("game", {}).get("id", "")
    chosen |= {"data": data, "out": str(out), "name": config.name or world_name(game), "trainer.seed": config.seed}
    _say("world_model.train", chosen)
    world = train(_config(TrainConfig(data=data, out=str(out)), chosen))
    if config.evaluate and config.env:
        _say("world_model.evaluate", {"world": str(world), "env": config.env, "quick": True})
        quick = EvaluateConfig(world=str(world), env=config.env, quick=True, horizon=min(16, chosen["trainer.frames"]))
        print(target_table(evaluate(quick)["targets"]))
        print(f"report: {report_file(quick, '.html')}")
    return world


def suited(recording: Recording, steps: int, preset: str = "auto") -> dict[str, Any]:
    """Settings of `world_model.train` for a recording.

    Clips are as long as most episodes allow, up to 22 frames; what hardly changes is shown as it was where most pixels
    of most pictures stay as they are.

    Raises:
        ValueError: if episodes are too short to learn from.
    """
    lengths = np.array([episode.stop - episode.start for episode in recording.episodes])
    held = np.repeat(lengths, lengths)  # by the frames that lie in episodes so long
    frames = int(min(22, np.quantile(held, 0.25) - 1, lengths.max() // 2 - 1)) if len(lengths) else 0
    if frames < 4:
        raise ValueError(f"{recording.path}: most frames lie in episodes of fewer than 6; record longer ones")
    size = preset if preset != "auto" else "base" if torch.cuda.is_available() else "tiny"
    still = 14 if still_share(recording) > 0.75 else 0
    return {"trainer.steps": steps, "trainer.frames": frames, "trainer.batch": max(1, round(FRAMES / frames)),
            "model.window": min(18, frames), "sampler.steps": 2, "sampler.reuse": True, "sampler.still": still,
            **{f"model.{name}": value for name, value in PRESETS[size].items()}}


def still_share(recording: Recording, pairs: int = 256) -> float:
    """Share of pixels that are the same in a frame and the next one: the median of pairs all over the recording."""
    rng, shares = np.random.default_rng(0), []
    longer = [episode for episode in recording.episodes if episode.steps >= 1]
    for _ in range(pairs if longer else 0):
        episode = longer[int(rng.integers(len(longer)))]
        first = int(rng.integers(episode.steps))
        before, after = recording.read(episode, first, first + 1).observations
        shares.append(float((before == after).all(-1).mean()))
    return float(np.median(shares)) if shares else 0.0


def world_name(game: str) -> str:
    """A name for the world of a game: `ALE/Freeway-v5` -> `Freeway-v0`."""
    return f"{(game.rpartition('/')[2] or 'World').rpartition('-v')[0] or 'World'}-v0"


def _record(config: LearnConfig, folder: Path) -> str:
    """The recording's folder; what was begun is added to, and it gets its name when it is whole."""
    part = folder.with_name(folder.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        there = sum(e.steps for e in open_recording(part).episodes) if part.exists() else 0
        if there < config.record:
            words = _say("recorders.collect", {
                "env": config.env, "out": str(part), "steps": config.record - there, "workers": config.workers,
                "seed": config.seed + there, "append": there > 0})  # fmt: skip
            code = subprocess.run([sys.executable, *words[1:]]).returncode
            if code:
                sys.exit(code)
        part.rename(folder)
    return str(folder)


def _config(defaults: Any, chosen: dict[str, Any]) -> Any:
    """Settings of another command with those chosen here."""
    config = OmegaConf.structured(defaults)
    for name, value in chosen.items():
        OmegaConf.update(config, name, value)
    return settings(cast(DictConfig, config))


def _say(module: str, chosen: dict[str, Any]) -> list[str]:
    """Print the command with these settings; returns its words."""
    words = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in chosen.items()]
    print(" ".join(words := ["python", "-m", module, *words]), flush=True)
    return words


ConfigStore.instance().store(name="learn", node=LearnConfig)


@command("learn")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        config = cast(LearnConfig, settings(cfg))
        world = learn(config)
        print(f"play it: python play.py world={world}")
    except (MissingGame, RecordingError, TrainStateError, WorldError, ValueError) as error:
        print(f"learn: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
