"""Writes a recording: lossless, append-only, and safe to kill at any moment."""

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .journal import NAME as JOURNAL
from .journal import Journal
from .layout import (
    ARRAYS,
    CAPACITY,
    DATA,
    FORMAT,
    FRAMES,
    VERSION,
    Field,
    RecordingError,
    create_group,
    frames_chunk,
)


class RolloutWriter:
    """Records episodes into a new segment of a collection.

    An episode whose `end` returned survives a kill at any moment; of the open one at most the frames of one
    chunk (32 for small frames) are lost. Several processes may write to one collection, each its own segment.

        with RolloutWriter("data/pong", frame_shape=(104, 80, 3), extras={"actor": "uint8"}) as writer:
            writer.begin(seed=0)
            writer.add(observation, action, reward, terminated, truncated, actor=0)
            writer.end(final_observation)

    Args:
        path: the collection's folder, created if need be.
        frame_shape: shape of an observation; its dtype is uint8.
        action_shape: shape of an action, () for a discrete one.
        action_dtype: numpy name of the actions' number format.
        extras: name to numpy dtype name of further scalars that `add` takes for every step.
        meta: anything JSON that holds for the whole segment, e.g. the game card.
        fsync: also survive a power cut, at the price of slower `end`.

    Raises:
        RecordingError: if an extra's name is taken or `path` is a file.
    """

    def __init__(
        self,
        path: str | Path,
        frame_shape: Sequence[int],
        action_shape: Sequence[int] = (),
        action_dtype: str = "int64",
        extras: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        fsync: bool = False,
    ) -> None:
        shape = tuple(int(n) for n in frame_shape)
        self.fields = {
            FRAMES: Field(shape=shape, dtype="uint8", chunk=frames_chunk(shape)),
            "action": Field(shape=tuple(action_shape), dtype=str(np.dtype(action_dtype))),
            "reward": Field(shape=(), dtype="float32"),
            "terminated": Field(shape=(), dtype="bool"),
            "truncated": Field(shape=(), dtype="bool"),
        }
        self._extras = dict(extras or {})
        if taken := sorted(self.fields.keys() & self._extras.keys()):
            raise RecordingError(f"rename the extras {taken}: every recording has {sorted(self.fields)}")
        self.fields |= {name: Field(shape=(), dtype=str(np.dtype(d))) for name, d in self._extras.items()}
        self.fsync = fsync
        self.segment = _create_segment(Path(path), self.fields, dict(meta or {}), fsync)
        self._journal = Journal(self.segment / JOURNAL, fsync)
        self._rows = {name: np.zeros((f.chunk, *f.shape), f.dtype) for name, f in self.fields.items()}
        self._dirty: set[Path] = set()
        self._n = self._flushed = self._start = self._episodes = 0
        self._return = 0.0
        self._open = self._closed = False

    def begin(self, seed: int | None = None, arrays: Mapping[str, np.ndarray] | None = None, **meta: Any) -> int:
        """Start an episode.

        Args:
            seed: what the environment was reset with.
            arrays: numpy arrays that belong to the episode as a whole, e.g. a learned world's context clip.
            **meta: anything JSON that holds for the episode, e.g. reset options, a world's hash.

        Returns:
            The episode's number in this segment.

        Raises:
            RecordingError: if an episode is open or the writer is closed.
        """
        if self._closed:
            raise RecordingError("this writer is closed: make another one")
        if self._open:
            raise RecordingError("an episode is open: call end before begin")
        event: dict[str, Any] = {"event": "begin", "episode": self._episodes, "start": self._n, "seed": seed}
        if arrays:
            event["arrays"] = self._save_arrays(arrays)
        self._journal.append({**event, "meta": meta})
        self._start, self._return, self._open = self._n, 0.0, True
        return self._episodes

    def add(
        self,
        observation: np.ndarray,
        action: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        **extras: Any,
    ) -> None:
        """Record one step.

        Args:
            observation: uint8 [H, W, 3], seen before the action.
            action: taken after seeing `observation`.
            reward: earned by the action.
            terminated: whether the action ended the episode.
            truncated: whether the episode was cut after the action.
            **extras: a value for every extra the writer was made with.

        Raises:
            RecordingError: if no episode is open, or observation or extras are not as announced.
        """
        self._check(observation, extras)
        self._put(observation, action, reward, terminated, truncated, extras)
        self._return += float(reward)

    def end(self, final_observation: np.ndarray, **meta: Any) -> tuple[int, int]:
        """Finish the episode; when this returns, it is safe.

        Args:
            final_observation: uint8 [H, W, 3], seen after the last action.
            **meta: anything JSON that is known at the end only; joins what `begin` was given.

        Returns:
            The episode's rows in this segment, start and stop; `stop - start - 1` actions.

        Raises:
            RecordingError: if no episode is open or the observation has another shape or dtype.
        """
        self._check(final_observation, dict.fromkeys(self._extras, 0))
        padding = np.zeros(self.fields["action"].shape, self.fields["action"].dtype)
        self._put(final_observation, padding, 0.0, False, False, dict.fromkeys(self._extras, 0))
        self._flush()
        self._sync()
        event = {"event": "end", "episode": self._episodes, "start": self._start, "stop": self._n}
        self._journal.append({**event, "return": self._return, "meta": meta})
        self._episodes += 1
        self._open = False
        return self._start, self._n

    def close(self) -> None:
        """Write what is buffered and close; an episode that was not ended is kept as unfinished."""
        if self._closed:
            return
        if self._open:
            self._flush()
        self._journal.close()
        self._closed = True

    def __enter__(self) -> "RolloutWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, observation: np.ndarray, extras: Mapping[str, Any]) -> None:
        if not self._open:
            raise RecordingError("a step needs an open episode: call begin first")
        expected = self.fields[FRAMES].shape
        if observation.shape != expected or observation.dtype != np.uint8:
            raise RecordingError(
                f"observations are uint8 {list(expected)}, got {observation.dtype} {list(observation.shape)}"
            )
        if extras.keys() != self._extras.keys():
            raise RecordingError(f"every step needs the extras {sorted(self._extras)}, got {sorted(extras)}")
        if self._n >= CAPACITY:
            raise RecordingError(f"a segment holds {CAPACITY} rows: close this writer and open another one")

    def _put(self, observation: np.ndarray, action: Any, reward: float, terminated: bool, truncated: bool,
             extras: Mapping[str, Any]) -> None:  # fmt: skip
        """Buffer one row; write every chunk it completes."""
        row = {FRAMES: observation, "action": action, "reward": reward, "terminated": terminated,
               "truncated": truncated, **extras}  # fmt: skip
        for name, field in self.fields.items():
            self._rows[name][self._n % field.chunk] = row[name]
        self._n += 1
        if self._n % self.fields[FRAMES].chunk == 0:
            self._flush()

    def _flush(self) -> None:
        """Bring all buffered rows to disk, then say so in the journal."""
        if self._flushed == self._n:
            return
        for name in self.fields:
            self._write_chunk(name)
        self._flushed = self._n
        self._journal.append({"event": "flush", "rows": self._n})

    def _write_chunk(self, name: str) -> None:
        """Write the chunk that holds the latest row, whole or in part; a part is written again later."""
        field, rows = self.fields[name], self._rows[name]
        index, filled = (self._n - 1) // field.chunk, (self._n - 1) % field.chunk + 1
        if filled < field.chunk:
            rows[filled:] = 0
        path = field.chunk_path(self.segment / DATA, name, index)
        holds_committed_rows = index * field.chunk < self._start
        _write_file(path, field.encode(rows), fsync=self.fsync and holds_committed_rows)
        self._dirty.add(path)

    def _sync(self) -> None:
        """With `fsync`, wait until the episode's files and their folders are on the disk."""
        if self.fsync:
            for path in sorted(self._dirty | {path.parent for path in self._dirty}):
                fsync_path(path)
        self._dirty.clear()

    def _save_arrays(self, arrays: Mapping[str, np.ndarray]) -> str:
        folder = self.segment / ARRAYS
        folder.mkdir(exist_ok=True)
        name = f"{self._episodes:06d}.npz"
        with open(folder / (name + ".tmp"), "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
        os.rename(folder / (name + ".tmp"), folder / name)
        if self.fsync:
            fsync_path(folder / name)
            fsync_path(folder)
        return f"{ARRAYS}/{name}"


def _create_segment(collection: Path, fields: dict[str, Field], meta: dict[str, Any], fsync: bool) -> Path:
    """Make a segment under another name and rename it into place, so that it appears whole."""
    if collection.is_file():
        raise RecordingError(f"{collection} is a file; a recording needs a folder")
    collection.mkdir(parents=True, exist_ok=True)
    segment = collection / f"seg-{time.time_ns():x}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    building = segment.with_name(segment.name + ".tmp")
    building.mkdir()
    create_group(building / DATA, fields, {"format": FORMAT, "version": VERSION, **meta})
    (building / JOURNAL).touch()
    if fsync:
        for path in [building, *building.rglob("*")]:
            fsync_path(path)
    building.rename(segment)
    if fsync:
        fsync_path(collection)
    return segment


def _write_file(path: Path, data: bytes, fsync: bool) -> None:
    """Write beside and rename, so that readers see the old chunk or the new one, never a part."""
    building = f"{path}.tmp"
    with open(building, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        if fsync:
            os.fsync(file.fileno())
    os.rename(building, path)


def fsync_path(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
