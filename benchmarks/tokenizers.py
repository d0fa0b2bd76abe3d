"""AR-VAEs side by side.

    python -m benchmarks.tokenizers vaes=[runs/doom-vae/vae] data=data/doom cache=runs/doom-vae/cache

For each: numbers per frame, PSNR and SSIM on the episodes that it held out, milliseconds to encode a frame alone and to
decode the next one of a stream, early and late in it: the same if the cache is bounded.
"""

import platform
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from recorders import Command, RecordingError, TrainingCache, command, open_recording, processor, settings
from world_model import WorldError, allocator
from world_model.ar_vae import ArVae
from world_model.clips import ClipSource
from world_model.train import actions_of
from world_model.train_vae import measure
from world_model.vae_file import load_vae


@dataclass(kw_only=True)
class TokenizersConfig(Command):
    """Which AR-VAEs, on which recording."""

    vaes: list[str] = field(default_factory=list)
    """folders of AR-VAEs"""
    data: str = MISSING
    """folder of the recording that they were trained on"""
    cache: str = MISSING
    """folder for its unpacked frames, as `world_model.train_vae` has it"""
    frames: int = 400
    """length of the stream"""
    clips: int = 32
    """held-out clips of eight frames, in the middle of a stream, that are compared"""
    threads: int = 1
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if not self.vaes or self.frames < 40 or self.clips < 1:
            raise ValueError(f"need vaes=[folders], frames >= 40 and clips >= 1, got {self.vaes}, {self.frames}, "
                             f"{self.clips}")  # fmt: skip


ConfigStore.instance().store(name="tokenizers", node=TokenizersConfig)


def run(config: TokenizersConfig) -> list[str]:
    """The table, a line each."""
    allocator.keep_memory()
    torch.set_num_threads(config.threads)
    recording = open_recording(config.data)
    cache = TrainingCache.build(recording, config.cache)
    source = ClipSource(cache, recording.episodes, [0.0], actions_of(recording))
    lines = [f"{processor()}, {platform.system()}, {config.threads} threads, one stream, {config.dtype}",
             "| AR-VAE | tokens x numbers | parameters | PSNR, dB | SSIM | encode, ms p50 / p99 | "
             "decode, ms p50 / p99 | decode, frames 8-28 | the last 20 |", "|---" * 9 + "|"]
    for folder in config.vaes:
        vae, card = load_vae(folder, dtype=config.dtype)
        held = [e for e in recording.episodes if e.id in set(card["heldout"])]
        if not held:
            raise ValueError(f"{folder} held out no episode of {config.data}: give the recording it learned from")
        found = measure(vae, source, held, clips=config.clips)
        first = max(held, key=lambda episode: episode.steps).start
        encode, decode = _stream(vae, source.frames[first : first + 64], config.frames)
        sizes, count = vae.config, sum(p.numel() for p in vae.parameters())
        lines.append(f"| {folder} | {sizes.tokens} x {sizes.channels} | {count / 1e6:.1f} M | {found['psnr']:.1f} | "
                     f"{found['ssim']:.3f} | {_told(encode)} | {_told(decode)} | {np.median(decode[8:28]):.1f} | "
                     f"{np.median(decode[-20:]):.1f} |")
    return lines


@torch.inference_mode()
def _stream(vae: ArVae, frames: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of each encoding and each decoding of a stream."""
    encode, decode, cache = [], [], None
    for t in range(length):
        frame = torch.from_numpy(frames[t % len(frames)].copy())[None, None]
        begun = time.perf_counter()
        tokens = vae.encode(frame)
        between = time.perf_counter()
        drawn, cache = vae.decode(tokens, cache)
        vae.shown(drawn)
        encode.append(between - begun)
        decode.append(time.perf_counter() - between)
    return 1000 * np.array(encode), 1000 * np.array(decode)


def _told(times: np.ndarray) -> str:
    return " / ".join(f"{value:.1f}" for value in np.percentile(times[4:], [50, 99]))


@command("tokenizers")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        print("\n".join(run(cast(TokenizersConfig, settings(cfg)))))
    except (RecordingError, WorldError, ValueError) as error:
        print(f"tokenizers: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
