"""The file of a saved game: how it began, every step, every picture, and states to go on from."""

import json
import os
import tempfile
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from world_model import StateError, World, WorldState

from .keymap import as_action
from .timeline import Branch, Moment

VERSION = 1
_COLUMNS = [f.name for f in fields(Moment) if f.name not in ("picture", "real", "real_score")]


def write_game(path: Path, branch: Branch, states: dict[int, WorldState], passes: int) -> None:
    """Write a branch, some of its states, by step, and the present number of passes to one npz file.

    Raises:
        OSError: if it cannot be written.
    """
    start, arrays = _split(branch.start)
    last = states[max(states)]
    note = {"version": VERSION, "world": last.world, "seed": branch.seed, "steps": len(branch), "start": start,
            "score": branch.scores(len(branch))[0], "shape": list(branch.shape), "passes": passes}  # fmt: skip
    pictures = [branch.first, *(moment.picture for moment in branch.moments)]
    members = {"note": _bytes(json.dumps(note).encode()), "pictures": _bytes(b"".join(pictures)),
               "lengths": np.array([len(picture) for picture in pictures])}  # fmt: skip
    members |= {f"moment {name}": np.array([getattr(m, name) for m in branch.moments]) for name in _COLUMNS}
    members |= {f"start {name}": array for name, array in arrays.items()}
    with tempfile.TemporaryDirectory() as folder:
        for step, state in states.items():
            state.save(Path(folder) / "state")
            members[f"state {step}"] = _bytes((Path(folder) / "state").read_bytes())
    with path.open("wb") as file:
        np.savez(file, **members)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def read_note(path: Path, world: str) -> dict[str, Any]:
    """What the file says of itself.

    Raises:
        StateError: if it is damaged, of another version or of another world than that of the hash `world`.
    """
    note = json.loads(_members(path, "note")["note"].tobytes())
    found = note.get("world"), note.get("version")
    if found != (world, VERSION):
        raise StateError(f"{path} is a game of world {found[0]} in version {found[1]}, this is world {world} in "
                         f"version {VERSION}: play it with the world it was saved in")  # fmt: skip
    return dict(note)


def read_game(path: Path, world: World) -> tuple[Branch, dict[int, WorldState]]:
    """The branch and its states.

    Raises:
        StateError: if the file is damaged or of another world.
    """
    note, data = read_note(path, world.hash), _members(path)
    missing = {"pictures", "lengths", *(f"moment {name}" for name in _COLUMNS if name != "condition")} - data.keys()
    if missing:
        raise StateError(f"{path} lacks {sorted(missing)}: save another one in its place")
    whole, ends = data["pictures"].tobytes(), np.cumsum(data["lengths"])
    pictures = [whole[end - length : end] for end, length in zip(ends, data["lengths"], strict=True)]
    columns = {name: data[f"moment {name}"].tolist() for name in _COLUMNS if f"moment {name}" in data}
    columns["action"] = [as_action(action) for action in columns["action"]]
    columns.setdefault("condition", [0] * (len(pictures) - 1))  # early files have none
    moments = [Moment(picture=picture, **{name: column[i] for name, column in columns.items()})
               for i, picture in enumerate(pictures[1:])]  # fmt: skip
    start = _join(note["start"], {name[6:]: array for name, array in data.items() if name.startswith("start ")})
    branch = Branch(0, note["seed"], start, pictures[0], None, tuple(note["shape"]), moments=moments)
    states = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (name for name in data if name.startswith("state ")):
            (Path(folder) / "state").write_bytes(data[name].tobytes())
            states[int(name[6:])] = WorldState.load(Path(folder) / "state", world)
    return branch, states


def _members(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of the file, all of them if none is named.

    Raises:
        StateError: if it is damaged.
    """
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            return {name: file[name] for name in names or file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StateError(f"{path} is no saved game, or damaged ({error}): save another one in its place") from None


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def _split(start: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The notes of a start without the arrays among them, and those by their path."""
    rest: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, value in start.items():
        if isinstance(value, dict):
            rest[name], found = _split(value)
            arrays |= {f"{name}/{path}": array for path, array in found.items()}
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            rest[name] = value
    return rest, arrays


def _join(rest: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Inverse of `_split`."""
    for path, array in arrays.items():
        *folders, name = path.split("/")
        place = rest
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = array
    return rest
