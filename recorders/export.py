"""Export recordings: `python -m recorders.export path=data/pong to=mp4 out=films episodes=[0,3]`."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from .cards import recording_card
from .command import Command, command, settings
from .companion import FOLDER
from .destination import building, local_path
from .episode import Episode
from .episode_data import read_episode
from .films import film_rate, write_film
from .layout import RecordingError
from .lerobot_data import LeRobotDataset
from .minari_data import MinariDataset, check_id
from .npz_files import write_npz
from .progress import Progress
from .recording import Recording, open_recording

_FILES = ("npz", "mp4", "gif")
_OPTIONS = {
    "fps": ("mp4", "gif", "lerobot"), "scale": ("mp4", "gif"), "picture": ("mp4", "gif"), "lossless": ("mp4",),
    "video": ("lerobot",), "task": ("lerobot",), "dataset_id": ("minari",),
    "data_format": ("minari",),
}  # fmt: skip


@dataclass(kw_only=True)
class ExportConfig(Command):
    """What is exported, to which format and where. docs/exporting.md says what each format keeps."""

    path: str = MISSING
    """folder of the recording"""
    to: str = MISSING
    """npz, minari, lerobot, mp4 or gif"""
    out: str = MISSING
    """folder to make; for npz, mp4 and gif of one episode also a file; for minari the folder that data sets lie in"""
    episodes: list[int] | None = None
    """numbers of episodes, from 0; null takes all"""
    overwrite: bool = False
    """replace an earlier export"""
    fps: float | None = None
    """mp4, gif, lerobot: pictures per second; null takes the recording's"""
    scale: int = 1
    """mp4, gif: pixels on a side that every pixel becomes"""
    picture: str | None = None
    """mp4, gif: which part of the observations to show, where there are several pictures"""
    lossless: bool = False
    """mp4: keep every pixel; fewer players show it"""
    video: bool = False
    """lerobot: pictures as films, smaller and lossy"""
    task: str | None = None
    """lerobot: what is done, in words; null takes the game's id"""
    data_format: str = "hdf5"
    """minari: hdf5, or parquet, which is smaller and slower"""
    dataset_id: str | None = None
    """minari: name for minari.load_dataset; null takes the recording's folder's, as in pong-v0"""


class _Exporter(Protocol):
    def add(self, number: int, episode: Episode) -> None: ...

    def close(self) -> None: ...


def export(config: ExportConfig) -> Path:
    """Export as `config` says, with a progress bar. The recording is not touched.

    Returns:
        What was made.

    Raises:
        RecordingError: if the recording, a setting or the place is not as it should be, or a package is missing.
    """
    _check(config)
    recording = open_recording(config.path)
    chosen = _chosen(recording, config)
    out = _place(config)
    if out.suffix[1:] == config.to and len(chosen) != 1:
        raise RecordingError(f"{out} is one file, {len(chosen)} episodes need a folder: choose out, or episodes=[0]")
    with building(out, config.overwrite, partial(_is_export, config.to)) as target:
        exporter = _exporter(config, recording, target)
        try:
            for number in Progress(chosen, f"exporting {config.path}", unit="episode"):
                exporter.add(number, recording.episodes[number])
        finally:
            exporter.close()
    return out


class _EpisodeFiles:
    """One file per episode, or a single one."""

    def __init__(self, target: Path, suffix: str, write: Callable[[Path, Episode], None]) -> None:
        self._target, self._suffix, self._write = target, suffix, write
        self._single = target.suffix == suffix
        if not self._single:
            target.mkdir()

    def add(self, number: int, episode: Episode) -> None:
        path = self._target if self._single else self._target / f"episode_{number:06d}{self._suffix}"
        self._write(path, episode)

    def close(self) -> None:
        pass


class _Dataset:
    """All episodes in one data set."""

    def __init__(self, recording: Recording, dataset: MinariDataset | LeRobotDataset) -> None:
        self._recording, self._dataset = recording, dataset

    def add(self, number: int, episode: Episode) -> None:
        self._dataset.add(read_episode(self._recording, episode))

    def close(self) -> None:
        self._dataset.close()


def _exporter(config: ExportConfig, recording: Recording, target: Path) -> _Exporter:
    if config.to in ("mp4", "gif"):
        write = partial(write_film, recording, fps=config.fps or film_rate(recording), scale=config.scale,
                        picture=config.picture, lossless=config.lossless)  # fmt: skip
        return _EpisodeFiles(target, f".{config.to}", lambda path, episode: write(episode, path))
    card = recording_card(recording)
    if config.to == "npz":
        return _EpisodeFiles(target, ".npz", lambda path, e: write_npz(path, read_episode(recording, e), card))
    if config.to == "minari":
        return _Dataset(recording, MinariDataset(target, _dataset_id(config), card, config.data_format))
    task = config.task or str((recording.meta.get("game") or {}).get("id") or "play")
    return _Dataset(recording, LeRobotDataset(target, card, config.fps or film_rate(recording), config.video, task))


def _check(config: ExportConfig) -> None:
    formats = ("npz", "minari", "lerobot", "mp4", "gif")
    if config.to not in formats:
        raise RecordingError(f"to must be one of {', '.join(formats)}, got {config.to!r}")
    for name, takers in _OPTIONS.items():
        if config.to not in takers and getattr(config, name) != getattr(ExportConfig, name):
            raise RecordingError(f"{name} is for {' and '.join(takers)}, not for {config.to}: leave it out")
    if config.scale < 1 or (config.fps is not None and not 0 < config.fps < 1001):
        raise RecordingError(f"need scale >= 1 and 0 < fps <= 1000, got scale={config.scale}, fps={config.fps}")


def _chosen(recording: Recording, config: ExportConfig) -> list[int]:
    total = len(recording.episodes)
    chosen = list(range(total)) if config.episodes is None else config.episodes
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= number < total for number in chosen):
        raise RecordingError(f"episodes must be different numbers from 0 to {total - 1}, got {chosen}")
    return chosen


def _place(config: ExportConfig) -> Path:
    if config.to != "minari":
        return local_path(config.out, "exports")
    check_id(_dataset_id(config))
    return local_path(config.out, "exports") / _dataset_id(config)


def _dataset_id(config: ExportConfig) -> str:
    return config.dataset_id or re.sub(r"[^-\w]", "-", Path(config.path).resolve().name) + "-v0"


def _is_export(to: str, path: Path) -> bool:
    """Whether a path holds what an earlier export to a format may have made, and nothing else."""
    if to in _FILES:
        if not path.is_dir():
            return path.suffix == f".{to}"
        return all(re.fullmatch(rf"episode_\d{{6,}}\.{to}", file.name) for file in path.iterdir())
    inside = {"minari": {"data", FOLDER}, "lerobot": {"meta", "data", "videos", FOLDER}}[to]
    return (path / FOLDER).is_dir() and all(file.name in inside for file in path.iterdir())


ConfigStore.instance().store(name="export", node=ExportConfig)


@command("export")
def main(cfg: DictConfig) -> None:
    """Entry point; bad input ends with one line and exit code 2."""
    try:
        config = cast(ExportConfig, settings(cfg))
        out = export(config)
    except (ValueError, OSError) as error:
        print(f"recorders.export: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"exported to {out}{_hint(config)}")


def _hint(config: ExportConfig) -> str:
    if config.to == "minari":
        return f"; with MINARI_DATASETS_PATH={config.out}: minari.load_dataset({_dataset_id(config)!r})"
    return f"; LeRobotDataset('local/{Path(config.out).name}', root={config.out!r})" if config.to == "lerobot" else ""


if __name__ == "__main__":
    main()
