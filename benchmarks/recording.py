"""Recording and reading of random clips, ours against others': `python -m benchmarks.recording`.

Real Atari frames are played once into memory. Then every contender records them: at full speed, which gives the time of
`add`, steps per second in all (ends of episodes and closing included), bytes and files; and at 60 steps per second, as
a person plays. Random clips are read through torch's DataLoader; `exact` says that clips compared with the play were
equal bit by bit. Minari records with `pip install "minari[create]"` only.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from recorders import Command, command, processor, settings

from .recording_contenders import Absent, Clip, Contender, Reader, Writer
from .recording_ours import OURS
from .recording_play import Play, play
from .recording_stores import OTHERS

CONTENDERS = [*OURS, *OTHERS]
EXACT = 20
"""Clips per contender that are compared with the play."""


@dataclass(kw_only=True)
class RecordingConfig(Command):
    """What is recorded and how long is measured."""

    games: list[str] = field(default_factory=lambda: ["ALE/Pong-v5", "ALE/Seaquest-v5"])
    """Gymnasium ids"""
    sizes: list[list[int]] = field(default_factory=lambda: [[64, 64], [210, 160]])
    """heights and widths of frames"""
    steps: int = 4000
    """actions per game and size"""
    seed: int = 0
    """of play and clips"""
    clip: int = 16
    """frames of a clip"""
    workers: list[int] = field(default_factory=lambda: [0, 2])
    """processes of the DataLoader"""
    seconds: float = 3.0
    """spent on each figure of reading, and on recording at `rate`"""
    rate: float = 60.0
    """steps per second of the paced recording"""
    only: str = ""
    """part of the names of the contenders wanted"""
    folder: str | None = None
    """where to record; null takes a folder for temporary files; everything is deleted afterwards"""

    def __post_init__(self) -> None:
        if min(self.steps, self.clip) < 1 or self.seconds <= 0 or self.rate <= 0 or min(self.workers, default=0) < 0:
            raise ValueError("steps and clip must be at least 1, seconds and rate above 0, workers at least 0")
        if not any(self.only in contender.name for contender in CONTENDERS):
            raise ValueError(f"only={self.only} leaves none of {[contender.name for contender in CONTENDERS]}")


ConfigStore.instance().store(name="recording", node=RecordingConfig)


class Clips(Dataset[Clip]):
    """Clips at given places; every loader process opens the recording for itself."""

    def __init__(self, contender: Contender, path: Path, places: list[tuple[int, int]], length: int) -> None:
        self._contender, self._path, self._places, self._length = contender, path, places, length
        self._reader: Reader | None = None

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._places)

    def __getitem__(self, index: int) -> Clip:
        if self._reader is None:
            self._reader = self._contender.read(self._path)
        return self._reader(*self._places[index], self._length)


def record(writer: Writer, played: Play, rate: float | None = None, limit_s: float = float("inf")) -> list[float]:
    """Record the play, or as much as fits into `limit_s` at `rate` steps per second; microseconds of each `add`."""
    times: list[float] = []
    begun = time.perf_counter()
    for episode in played.episodes:
        writer.begin()
        t = 0
        for t in range(episode.steps):
            if rate is not None:
                time.sleep(max(0.0, begun + len(times) / rate - time.perf_counter()))
            row = (episode.observations[t], int(episode.actions[t]), float(episode.rewards[t]),
                   bool(episode.terminated[t]), bool(episode.truncated[t]))  # fmt: skip
            before = time.perf_counter()
            writer.add(*row)
            times.append(1e6 * (time.perf_counter() - before))
            if time.perf_counter() - begun > limit_s:
                break
        writer.end(episode.observations[t + 1])
        if time.perf_counter() - begun > limit_s:
            break
    writer.close()
    return times


def footprint(folder: Path) -> tuple[int, int, int]:
    """Bytes in files, bytes they occupy on disk, and number of files."""
    files = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return sum(file.st_size for file in files), sum(512 * file.st_blocks for file in files), len(files)


def clips_per_second(clips: Clips, workers: int, seconds: float) -> float:
    """Clips per second through a DataLoader, as tensors in batches of 16, its start not counted."""
    loader = DataLoader(clips, batch_size=16, num_workers=workers)
    batches = iter(cast(Iterable[tuple[torch.Tensor, ...]], loader))
    next(batches)
    begun, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch[0])
        if time.perf_counter() - begun > seconds:
            break
    return count / (time.perf_counter() - begun)


def exact(clips: Clips, played: Play, places: list[tuple[int, int]], length: int) -> bool:
    """Whether the first clips are the play's, bit by bit."""
    for index, (episode, start) in enumerate(places[:EXACT]):
        frames, actions, rewards = clips[index]
        truth, rows = played.episodes[episode], slice(start, start + length)
        wanted = (truth.observations[rows], truth.actions[rows], truth.rewards[rows])
        if not all(np.array_equal(has, want) for has, want in zip((frames, actions, rewards), wanted, strict=True)):
            return False
    return True


def measure(contender: Contender, played: Play, config: RecordingConfig, folder: Path) -> dict[str, Any]:
    """All figures of one contender.

    Raises:
        Absent: if it cannot run here.
    """
    writer = contender.write(folder / "full", played)
    wall, cpu = time.perf_counter(), time.process_time()
    fast = record(writer, played)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    places = played.clips(100_000, config.clip, config.seed)
    clips = Clips(contender, folder / "full", places, config.clip)
    row: dict[str, Any] = {"exact": exact(clips, played, places, config.clip)}
    paced = record(contender.write(folder / "paced", played), played, config.rate, config.seconds)
    row |= {"add_us": percentiles(fast), "paced_us": percentiles(paced)}
    row |= {"steps_per_s": played.steps / wall, "steps_per_cpu_s": played.steps / max(cpu, 1e-9)}
    size, disk, files = footprint(folder / "full")
    row |= {"bytes_per_step": size / played.steps, "disk_per_step": disk / played.steps, "files": files}
    for workers in config.workers:
        fresh = Clips(contender, folder / "full", places, config.clip)
        row[f"clips_per_s_{workers}"] = clips_per_second(fresh, workers, config.seconds)
    return row


def percentiles(times: list[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum."""
    return float(np.median(times)), float(np.percentile(times, 99)), max(times)


def line(name: str, row: dict[str, Any]) -> str:
    """One contender's figures as a line below `header`."""
    adds = "".join(f"{us:8.0f}" for us in (*row["add_us"], *row["paced_us"]))
    rates = f"{row['steps_per_s']:9.0f}{row['steps_per_cpu_s']:9.0f}"
    sizes = f"{row['bytes_per_step']:10.0f}{row['disk_per_step']:10.0f}{row['files']:7d}"
    clips = "".join(f"{value:10.0f}" for key, value in row.items() if key.startswith("clips_per_s"))
    return f"{name:14s}{adds}{rates}{sizes}{clips}{'yes' if row['exact'] else 'NO':>7s}"


def header(config: RecordingConfig) -> str:
    """What the columns of `line` are."""
    adds = "".join(f"{name:>8s}" for name in ("p50", "p99", "max") * 2)
    clips = "".join(f"{f'{workers} workers':>10s}" for workers in config.workers)
    above = f"{'':14s}{'add, us, full speed':>24s}{f'at {config.rate:g} steps/s':>24s}{'steps per s':>18s}"
    above += f"{'bytes per step':>20s}{'':7s}{f'clips of {config.clip} per s':>{10 * len(config.workers)}s}"
    return f"{above}\n{'':14s}{adds}{'wall':>9s}{'CPU':>9s}{'in files':>10s}{'on disk':>10s}{'files':>7s}{clips}  exact"


def report(config: RecordingConfig) -> dict[str, Any]:
    """Print one table per game and size; all figures as returned by `measure`."""
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
          f"torch {torch.__version__}")
    figures: dict[str, Any] = {}
    for game in config.games:
        for size in config.sizes:
            played = play(game, list(size), config.steps, config.seed)
            label = f"{game} {size[0]}x{size[1]}"
            print(f"\n{label}: {played.steps} steps, {len(played.episodes)} episodes\n{header(config)}")
            figures[label] = _report_one(played, config)
    return figures


def _report_one(played: Play, config: RecordingConfig) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for contender in tqdm([c for c in CONTENDERS if config.only in c.name], leave=False):
        folder = Path(tempfile.mkdtemp(prefix="recording-", dir=config.folder))
        try:
            rows[contender.name] = measure(contender, played, config, folder)
            tqdm.write(line(contender.name, rows[contender.name]))
        except Absent as why:
            rows[contender.name] = {"absent": str(why)}
            tqdm.write(f"{contender.name:14s} {why}")
        finally:
            shutil.rmtree(folder)
    return rows


@command("recording")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    report(cast(RecordingConfig, settings(cfg)))


if __name__ == "__main__":
    main()
