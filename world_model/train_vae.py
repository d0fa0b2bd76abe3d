"""Train an AR-VAE on a recording: `python -m world_model.train_vae data=data/doom out=runs/doom-vae`.

Run it again with the same `out` to go on from the last checkpoint, after a kill too.
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from PIL import Image

from recorders import Command, Episode, RecordingError, command, open_recording, settings

from . import allocator
from .ar_vae import ArVae
from .clips import ClipSource
from .heldout import note_split, split_for
from .metrics import psnr, ssim
from .sampler import SamplerConfig
from .team import Team
from .train import actions_of, open_cache
from .train_state import Origin, TrainStateError, run_folder
from .trainer import Trainer
from .trainer_config import TrainerConfig
from .vae_config import VaeConfig
from .vae_file import save_vae
from .vae_objective import VaeLossConfig, VaeObjective
from .world_error import WorldError


def _trainer() -> TrainerConfig:
    return TrainerConfig(steps=6000, batch=3, frames=9, moments=0, hard_share=0.0, average=0.998)


@dataclass(kw_only=True)
class TrainVaeConfig(Command):
    """Which recording is learned, by what AR-VAE, for how long."""

    data: str = MISSING
    """folder of a recording"""
    out: str = MISSING
    """folder of the run: checkpoint, log, samples and the AR-VAE itself under `vae/`"""
    heldout: float = 0.05
    """share of the episodes, the last ones, kept from training and used for the samples"""
    cache: str = ""
    """folder for the recording's unpacked frames; empty: `cache` under `out`"""
    device: str = "auto"
    threads: int = 0
    """CPU threads; 0 takes all"""
    vae: VaeConfig = field(default_factory=VaeConfig)
    loss: VaeLossConfig = field(default_factory=VaeLossConfig)
    trainer: TrainerConfig = field(default_factory=_trainer)
    """of its settings those apply that say how long, on how many clips and how fast"""

    def __post_init__(self) -> None:
        clip, window = self.trainer.frames + 1, self.vae.window
        if clip < window:
            raise ValueError(f"clips of {clip} frames never fill the decoder's window of {window}: it would look "
                             f"untrained far back; set trainer.frames={window - 1} or more, or vae.window={clip}")


def train_vae(config: TrainVaeConfig) -> Path:
    """Train as `config` says, from the last checkpoint in `out` if there is one.

    Returns:
        The AR-VAE's folder.

    Raises:
        RecordingError, TrainStateError, ValueError: if something given cannot be used.
    """
    allocator.keep_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.trainer.seed)
    team, device = Team.join(config.device)
    try:
        return _train(config, team, device)
    finally:
        team.leave()


def _train(config: TrainVaeConfig, team: Team, device: torch.device) -> Path:
    out, recording = run_folder(config.out), open_recording(config.data)
    config.vae.height, config.vae.width = recording.frame_shape[:2]
    config.vae.__post_init__()
    training, heldout = split_for(out, recording.episodes, config.heldout)
    cache = open_cache(config.cache or out / "cache", recording, team)
    source = ClipSource(cache, training, [0.0], actions_of(recording), config.trainer.event_share,
                        seed=config.trainer.seed)
    vae = ArVae(config.vae)
    vae.scaler.mean.copy_(source.mean)
    vae.to(device)
    origin = Origin(recording.meta.get("game", {}).get("id", ""), [e.id for e in recording.episodes],
                    asdict(config.vae))
    objective = VaeObjective(vae, source, config.loss, config.trainer.seed)
    trainer = Trainer(vae, source, SamplerConfig(), config.trainer, out, team, origin, objective)
    shown = heldout or training

    def export(step: int) -> None:
        weights = trainer.averaged()
        if not team.leads:
            return
        averaged = ArVae(config.vae)
        averaged.load_state_dict(weights | {"scaler.mean": vae.scaler.mean})
        found = measure(averaged.eval(), source, shown, out / f"sample-{step:07d}.png")
        save_vae(out / "vae", averaged, {"game": origin.game, "steps": step, "heldout": [e.id for e in heldout],
                                         "metrics": found})
        print(f"\nstep {step}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()), flush=True)

    if team.leads:
        note_split(out, training, heldout)
    trainer.run(export)
    export(trainer.step)
    team.wait()
    return out / "vae"


@torch.inference_mode()
def measure(vae: ArVae, source: ClipSource, episodes: list[Episode], picture: Path | None = None, clips: int = 16,
            frames: int = 8) -> dict[str, float]:  # fmt: skip
    """How like the originals frames are after encoding and decoding, in the middle of a stream.

    The frames before them fill the decoder's window where episodes are long enough for that, and are not counted.

    Args:
        vae: on the CPU.
        source: of frames.
        episodes: where clips are taken from, evenly spread.
        picture: where to write some of them, the originals above.
        clips: how many stretches are compared.
        frames: of each that count, at most.

    Returns:
        Means over frames: `psnr` in dB, of 8-bit pictures, and `ssim`. Nothing if there are no episodes.
    """
    if not episodes:
        return {}
    length = min(vae.config.window - 1 + frames, max(e.stop - e.start for e in episodes))
    rng, usable = np.random.default_rng(2), [e for e in episodes if e.stop - e.start >= length]
    firsts = [int(rng.integers(e.start, e.stop - length + 1)) for e in (usable[i % len(usable)] for i in range(clips))]
    real = np.stack([source.frames[first : first + length] for first in firsts])
    drawn = np.concatenate([_again(vae, real[i : i + 4]) for i in range(0, len(real), 4)])
    real, drawn = real[:, -frames:], drawn[:, -frames:]
    if picture is not None:
        rows = [np.concatenate(some[:, -1][:8], 1) for some in (real, drawn)]
        Image.fromarray(np.concatenate(rows, 0)).save(picture)
    ours, theirs = (x.reshape(-1, *x.shape[2:]) for x in (drawn, real))
    return {"psnr": float(psnr(ours, theirs).mean()), "ssim": float(ssim(ours, theirs).mean())}


def _again(vae: ArVae, frames: np.ndarray) -> np.ndarray:
    return vae.shown(vae.decode(vae.encode(torch.from_numpy(frames)))[0]).numpy()


ConfigStore.instance().store(name="train_vae", node=TrainVaeConfig)


@command("train_vae")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        print(f"AR-VAE: {train_vae(cast(TrainVaeConfig, settings(cfg)))}")
    except (RecordingError, TrainStateError, WorldError, ValueError) as error:
        print(f"train_vae: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
