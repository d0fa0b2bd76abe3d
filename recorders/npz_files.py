"""Recordings as NumPy files: one `.npz` per episode, without loss and without pickle."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .cards import episode_card, episode_notes, extras_of
from .episode_data import EpisodeData, Source
from .layout import RecordingError
from .leaves import from_columns, leaf_spaces, to_columns
from .spaces import space_from_card

FORMAT = "foreframe-episode"
_PLAIN = ("rewards", "terminated", "truncated")


def write_npz(path: Path, data: EpisodeData, card: dict[str, Any]) -> None:
    """Write one episode.

    Arrays: `observations` [T + 1, ...] and `actions` [T, ...] (`observations.key` for a Dict or Tuple; text, and JSON
    of Sequence and the like, as arrays of strings), `rewards` float64 [T], `terminated` and `truncated` bool [T],
    `extras.name` [T, ...], `arrays.name`, and `metadata`, JSON.

    Args:
        path: the file.
        data: the episode.
        card: what `recording_card` says about its recording.
    """
    observation_space, action_space = map(space_from_card, (card["observation_space"], card["action_space"]))
    arrays: dict[str, Any] = {name: getattr(data, name) for name in _PLAIN}
    arrays |= to_columns("observations", observation_space, data.observations)
    arrays |= to_columns("actions", action_space, data.actions)
    arrays |= {f"extras.{name}": values for name, values in data.extras.items()}
    noted, kept = episode_card(data)
    arrays |= {f"arrays.{name}": values for name, values in kept.items()}
    metadata = {"format": FORMAT, "version": 1, "episode": noted, "recording": card}
    arrays["metadata"] = json.dumps(metadata)
    stored = {name: _plain(values) for name, values in arrays.items()}
    np.savez_compressed(path, allow_pickle=False, **stored)


def open_npz(path: Path) -> Source:
    """Open a file that `write_npz` wrote, or a folder of them.

    Raises:
        RecordingError: if there is none, one is of another program or damaged, or they are not of one recording.
    """
    paths = npz_paths(path)
    cards = [read_metadata(file) for file in paths]
    for file, card in zip(paths, cards, strict=True):
        if card is None:
            raise RecordingError(f"{file} is not an export of Foreframe but others in {path} are: import them apart")
    first = cards[0]["recording"]  # type: ignore[index]
    for file, card in zip(paths, cards, strict=True):
        if any(card["recording"][key] != first[key] for key in ("observation_space", "action_space", "extras")):  # type: ignore[index]
            raise RecordingError(f"{file} and {paths[0]} differ in spaces or extras: import them apart")
    return Source(
        name=str(path),
        observation_space=space_from_card(first["observation_space"]),
        action_space=space_from_card(first["action_space"]),
        extras=extras_of(first),
        meta=first["meta"],
        episodes=_read(paths),
        total=len(paths),
    )


def npz_paths(path: Path) -> list[Path]:
    """The file itself, or the `.npz` files in a folder, by name.

    Raises:
        RecordingError: if there is none.
    """
    paths = [path] if path.is_file() else sorted(path.glob("*.npz"))
    if not paths:
        raise RecordingError(f"{path} holds no .npz file")
    return paths


def read_arrays(path: Path, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of a file, all or those named.

    Raises:
        RecordingError: if it is no `.npz` file, damaged, or holds pickled objects.
    """
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array, not several with names")
        with stored:
            return {name: stored[name] for name in (stored.files if names is None else names) if name in stored}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RecordingError(f"{path} is not a readable .npz file without pickled objects ({error})") from None


def read_metadata(path: Path) -> dict[str, Any] | None:
    """What `write_npz` noted in a file; None if another program wrote it.

    Raises:
        RecordingError: if the file cannot be read, or a newer program wrote it.
    """
    found = read_arrays(path, ["metadata"]).get("metadata")
    try:
        card = json.loads(str(found)) if found is not None and found.dtype.kind == "U" else None
    except ValueError:
        return None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        return None
    if card["version"] != 1:
        raise RecordingError(f"{path} has version {card['version']}, this program reads 1: update foreframe")
    return card


def _read(paths: list[Path]) -> Iterator[EpisodeData]:
    for path in paths:
        card = read_metadata(path)
        assert card is not None
        try:
            yield _episode(read_arrays(path), card)
        except (KeyError, ValueError) as error:
            raise RecordingError(f"{path} lacks or distorts an array ({error}): export it again") from None


def _episode(arrays: dict[str, np.ndarray], card: dict[str, Any]) -> EpisodeData:
    recording, episode = card["recording"], card["episode"]
    spaces = [space_from_card(recording[key]) for key in ("observation_space", "action_space")]
    for name, space in zip(("observations", "actions"), spaces, strict=True):
        for column in leaf_spaces(name, space):
            arrays[column]  # a KeyError names it
    kept = {name.removeprefix("arrays."): a for name, a in arrays.items() if name.startswith("arrays.")}
    return EpisodeData(
        observations=from_columns("observations", spaces[0], arrays),
        actions=from_columns("actions", spaces[1], arrays),
        rewards=arrays["rewards"],
        terminated=arrays["terminated"],
        truncated=arrays["truncated"],
        extras={name: _text_as_objects(arrays[f"extras.{name}"]) for name in recording["extras"]},
        **episode_notes(episode, kept),
    )


def _text_as_objects(values: np.ndarray) -> np.ndarray:
    """Text as `Recording` has it: Python strings in an array of objects."""
    return np.array(values.tolist(), object) if values.dtype.kind == "U" else values


def _plain(values: Any) -> np.ndarray:
    """An array without Python objects; strings become NumPy's own, as wide as the longest.

    Raises:
        RecordingError: if a string ends with NUL, which NumPy would cut off.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return values
    texts = [values] if isinstance(values, str) else [str(value) for value in values]
    if any(text.endswith("\0") for text in texts):
        raise RecordingError("a text ends with a NUL character, which .npz files cannot hold")
    return np.array(values if isinstance(values, str) else texts, dtype=str)
