"""What `python -m recorders.import from=episodes to=data/pong` does; nobody can import a module called `import`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from .cards import portable_meta
from .collection import segment_names
from .command import Command, command, settings
from .destination import new_recording
from .episode_data import Source, write_episode
from .foreign_npz import open_foreign_npz
from .layout import RecordingError
from .lerobot_reader import open_lerobot
from .minari_data import open_minari
from .npz_files import npz_paths, open_npz, read_metadata
from .progress import Progress
from .recording import open_recording
from .storage import storage_at
from .zarr_recorder import ZarrRecorder


@dataclass(kw_only=True)
class ImportConfig(Command):
    """What is imported and where to. On the command line `from=` is the same as `source=`."""

    source: str = ""
    """an .npz file, a folder of them, a Minari data set's id or folder, or the folder of a LeRobot export"""
    to: str = MISSING
    """folder of the recording; it must not hold one yet"""
    append: bool = False
    """add to a recording that exists"""
    allow_missing_last: bool = False
    """foreign .npz: take files without the observation after the last action; the one before is repeated"""
    root: str | None = None
    """Minari: folder that ids are looked up in; null takes Minari's own"""
    infos: list[str] | None = None
    """Minari: infos to keep with every step; null takes all that are one value per step, [] none"""


def import_episodes(config: ImportConfig) -> Source:
    """Import as `config` says, with a progress bar. A new recording appears whole or not at all.

    Returns:
        What was imported; its `notes` say what a user should know.

    Raises:
        RecordingError: if the source or the recording is not as it should be, or a package is missing.
    """
    source = open_source(config)
    if not segment_names(storage_at(config.to)):
        with new_recording(config.to) as folder:
            _record(source, folder)
    elif config.append:
        _check_alike(config.to, source)
        _record(source, config.to)
    else:
        raise RecordingError(f"{config.to} already holds a recording: choose another to, or append=true")
    return source


def _record(source: Source, folder: str) -> None:
    if not source.total:
        raise RecordingError(f"{source.name} holds no episode")
    meta = {**portable_meta(source.meta), "imported_from": source.name}
    with ZarrRecorder(folder, source.observation_space, source.action_space, extras=source.extras, meta=meta) as it:
        for data in Progress(source.episodes, f"importing {source.name}", source.total, unit="episode"):
            write_episode(it, data, source.observation_space, source.action_space)


def open_source(config: ImportConfig) -> Source:
    """Find out what `config.source` is, and open it.

    Raises:
        RecordingError: if it is nothing that can be imported.
    """
    path = Path(config.source)
    if not config.source:
        raise RecordingError("from= is missing: name an .npz file, a folder, or a Minari data set's id")
    if path.is_file() or any(path.glob("*.npz")):
        if read_metadata(npz_paths(path)[0]) is not None:
            return open_npz(path)
        return open_foreign_npz(path, config.allow_missing_last)
    if (path / "meta" / "info.json").is_file():
        return open_lerobot(path)
    if path.is_dir() and not (path / "data" / "metadata.json").is_file():
        raise RecordingError(f"{path} holds no .npz files, no Minari data set and no LeRobot data set")
    return open_minari(config.source, Path(config.root) if config.root else None, config.infos)


def _check_alike(path: str, source: Source) -> None:
    there = open_recording(path)
    for what in ("observation_space", "action_space"):
        if getattr(there, what) != getattr(source, what):
            raise RecordingError(
                f"{path} has the {what} {getattr(there, what)}, {source.name} has {getattr(source, what)}: "
                "import into another folder"
            )
    if sorted(there.extras) != sorted(source.extras):
        raise RecordingError(
            f"{path} has the extras {sorted(there.extras)}, {source.name} has {sorted(source.extras)}: "
            "import into another folder"
        )


def with_from(arguments: Sequence[str]) -> list[str]:
    """Command line arguments with `from=` spelled `source=`: no Python class can have a field called `from`."""
    return [f"source={word.removeprefix('from=')}" if word.startswith("from=") else word for word in arguments]


ConfigStore.instance().store(name="import", node=ImportConfig)


@command("import")
def _run(cfg: DictConfig) -> None:
    try:
        config = cast(ImportConfig, settings(cfg))
        source = import_episodes(config)
    except (ValueError, OSError) as error:
        print(f"recorders.import: {error}", file=sys.stderr)
        sys.exit(2)
    for note in source.notes:
        print(note, file=sys.stderr)
    print(f"imported {source.total} episodes into {config.to}")


def main() -> None:
    """Entry point; bad input ends with one line and exit code 2."""
    sys.argv[1:] = with_from(sys.argv[1:])
    _run()
