"""Train a world from a recording: `python -m world_model.train data=data/pong out=runs/pong`.

Run it again with the same `out` to go on from the last checkpoint, after a kill too.
"""

import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from recorders import Command, Episode, Recording, RecordingError, open_recording, settings

from . import allocator
from .checkpoint import WorldError, load_world, save_world
from .clips import ClipSource
from .contexts import Contexts
from .flops import peak_flops, training_flops
from .model import WorldModel
from .model_config import WorldModelConfig
from .sampler import SamplerConfig
from .strip import save_strip
from .train_state import TrainStateError
from .trainer import Trainer
from .trainer_config import TrainerConfig


@dataclass(kw_only=True)
class TrainConfig(Command):
    """Which recording is learned, by what network, for how long."""

    data: str = MISSING
    """folder of a recording"""
    out: str = MISSING
    """folder of the run: checkpoint, log, sample strips and the world itself under `world/`"""
    name: str = "World-v0"
    """name of the world, as in gymnasium.make("foreframe/<name>")"""
    heldout: float = 0.05
    """share of the episodes, the last ones, kept from training and used for samples and contexts"""
    contexts: int = 64
    """starting clips shipped with the world"""
    init: str = ""
    """folder of a world whose weights are the starting point; empty: start from nothing"""
    device: str = "auto"
    threads: int = 0
    """CPU threads; 0 takes all"""
    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def train(config: TrainConfig) -> Path:
    """Train as `config` says, from the last checkpoint in `out` if there is one.

    Returns:
        The world's folder.
    """
    allocator.keep_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.trainer.seed)
    best = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(best if config.device == "auto" else config.device)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    recording = open_recording(config.data)
    fit_to_recording(config.model, recording)
    training, heldout = split(recording.episodes, config.heldout)
    source = ClipSource(recording, training, config.model.reward_values, config.model.num_actions,
                        config.trainer.event_share, config.trainer.hard_share, config.trainer.seed)
    model = WorldModel(config.model)
    model.scaler.mean.copy_(source.mean)
    if config.init:
        start_from(model, config.init)
    trainer = Trainer(model.to(device), source, config.sampler, config.trainer, out)
    clips = draw_contexts(source, heldout, config.contexts, config.model.window)

    def export(step: int) -> None:
        averaged = WorldModel(config.model)
        averaged.load_state_dict(trainer.average | {"scaler.mean": model.scaler.mean}, strict=False)
        save_world(out / "world", averaged, config.sampler, world_card(config, recording, step), clips)
        save_strip(out / "world", out / f"strip-{step:07d}.png", source, heldout)

    report_effort(config, trainer)
    trainer.run(export)
    export(trainer.step)
    return out / "world"


def fit_to_recording(config: WorldModelConfig, recording: Recording) -> None:
    """Take picture size, number of actions and reward values from the recording."""
    config.height, config.width = recording.frame_shape[:2]
    config.num_actions = int(recording.meta["game"]["action_space"]["n"])
    config.reward_values = sorted({float(r) for r in np.unique(recording.rewards)} | {0.0})
    config.__post_init__()


def start_from(model: WorldModel, folder: str) -> None:
    """Copy the weights of a world of the same sizes into `model`; its window may differ, which has no weights.

    Raises:
        ValueError: if its sizes differ.
    """
    other = load_world(folder, dtype="fp32").model
    if replace(other.config, window=model.config.window) != model.config:
        raise ValueError(f"init={folder} has other sizes: {asdict(other.config)}, this run has {asdict(model.config)}")
    model.load_state_dict(other.state_dict())


def split(episodes: list[Episode], share: float) -> tuple[list[Episode], list[Episode]]:
    """(training, held-out) episodes; the last ones are held out, at least one where there are two."""
    count = min(max(1, round(len(episodes) * share)), len(episodes) - 1) if share > 0 else 0
    return episodes[: len(episodes) - count], episodes[len(episodes) - count :] or episodes


def draw_contexts(source: ClipSource, episodes: list[Episode], count: int, frames: int) -> Contexts:
    """Starting clips evenly spread over the given episodes, the same ones every time.

    The first second or so of an episode is left out: games open with pictures that play never shows again.
    """
    opening = 20 if max(e.stop - e.start for e in episodes) > 40 + 2 * frames else 0
    usable = [e for e in episodes if e.stop - e.start > opening + 2 * frames]
    rng = np.random.default_rng(0)
    starts = [int(rng.integers(e.start + opening, e.stop - 2 * frames))
              for e in (usable[i % len(usable)] for i in range(count))]
    rows = np.array(starts)[:, None] + np.arange(frames)
    return Contexts(source.frames[rows], source.actions[rows][:, 1:])


def world_card(config: TrainConfig, recording: Recording, step: int) -> dict[str, Any]:
    """What `world.json` says of a world besides its sizes."""
    game = recording.meta["game"]
    return {
        "name": config.name,
        "fps": game["fps"],
        "actions": {"meanings": game["action_meanings"], "keys": game["keys"]},
        "game": game,
        "data": {"steps": int(sum(e.steps for e in recording.episodes)), "episodes": len(recording.episodes)},
        "trained": {"steps": step, "batch": config.trainer.batch, "frames": config.trainer.frames,
                    "torch": torch.__version__},
        "licence": "Apache-2.0",
    }


def report_effort(config: TrainConfig, trainer: Trainer) -> None:
    """Print FLOP per step, the time of one and the share of the processor's peak it reaches."""
    flops = training_flops(config.model, config.trainer.batch, config.trainer.frames)
    begun = time.perf_counter()
    trainer.train_step()
    trainer.train_step()
    seconds = (time.perf_counter() - begun) / 2
    peak = peak_flops(trainer.device, trainer.dtype)
    print(f"{sum(p.numel() for p in trainer.model.parameters()) / 1e6:.1f} M parameters, "
          f"{flops / 1e9:.0f} GFLOP per teacher step, {seconds:.2f} s per step (first ones), "
          f"{flops / seconds / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s ({trainer.dtype}, {trainer.device})", flush=True)


ConfigStore.instance().store(name="train", node=TrainConfig)


@hydra.main(version_base="1.3", config_path=None, config_name="train")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        config: TrainConfig = settings(cfg)
        print(f"world: {train(config)}")
    except (RecordingError, TrainStateError, WorldError, ValueError) as error:
        print(f"train: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
