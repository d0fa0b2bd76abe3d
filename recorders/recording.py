"""Reads recordings: the journal says what counts; frames come when asked for, all else is in memory."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .journal import NAME as JOURNAL
from .journal import read_events
from .layout import DATA, FORMAT, FRAMES, VERSION, Field, RecordingError


@dataclass(kw_only=True)
class Episode:
    """One episode of a recording.

    Attributes:
        segment: folder it lies in.
        start: first row of the whole recording that belongs to it.
        stop: row after its last one; it has `stop - start` observations and one action fewer.
        seed: what the environment was reset with, if known.
        return_: sum of its rewards.
        meta: what the recorder noted, e.g. reset options; `unfinished` is set if recording broke off.
    """

    segment: Path
    start: int
    stop: int
    seed: int | None
    return_: float
    meta: dict[str, Any] = field(default_factory=dict)
    _arrays: str | None = None

    @property
    def steps(self) -> int:
        """Number of actions."""
        return self.stop - self.start - 1

    def arrays(self) -> dict[str, np.ndarray]:
        """The numpy arrays that were recorded with the episode; empty if there are none."""
        if self._arrays is None:
            return {}
        with np.load(self.segment / self._arrays, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


class Recording:
    """A collection of recorded episodes, rows of all segments one after another.

    Attributes:
        path: the collection's folder.
        meta: what was noted for the first segment as a whole, e.g. the game card.
        episodes: in order of recording.
        actions: action taken after seeing the row's frame; padding in an episode's last row.
        rewards: float32, earned by the row's action.
        terminated: bool, whether the row's action ended the episode.
        truncated: bool, whether the episode was cut after the row's action.
    """

    def __init__(self, path: Path, segments: list["_Segment"]) -> None:
        self.path = path
        self.meta = segments[0].meta
        self._segments = segments
        self._offsets = np.cumsum([0, *[segment.rows for segment in segments]])
        self.episodes = [e for segment, offset in zip(segments, self._offsets[:-1], strict=True)
                         for e in segment.episodes(int(offset))]  # fmt: skip
        self.actions = self.extra("action")
        self.rewards = self.extra("reward")
        self.terminated = self.extra("terminated")
        self.truncated = self.extra("truncated")

    def __len__(self) -> int:
        """Number of rows, which is the number of frames."""
        return int(self._offsets[-1])

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame, [H, W, 3]."""
        return self._segments[0].fields[FRAMES].shape

    @property
    def actors(self) -> np.ndarray:
        """Index of who acted in each row, into `meta["behaviours"]`."""
        return self.extra("actor")

    def extra(self, name: str) -> np.ndarray:
        """All rows of one field, e.g. `"latency_ms"`.

        Raises:
            RecordingError: if there is no such field.
        """
        known = sorted(set(self._segments[0].fields) - {FRAMES})
        if name not in known:
            raise RecordingError(f"{self.path} has no field {name!r}; it has {known}")
        return np.concatenate([segment.read(name, 0, segment.rows) for segment in self._segments])

    def frames(self, start: int, stop: int) -> np.ndarray:
        """Frames of rows start to stop, uint8 [stop - start, H, W, 3].

        Raises:
            IndexError: if the rows are not all there.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"frames {start}:{stop} asked for, the recording has rows 0:{len(self)}")
        out = np.empty((stop - start, *self.frame_shape), np.uint8)
        for job in self._frame_jobs(start, stop, out):
            job()
        return out

    def load_frames(self, progress: bool = True) -> np.ndarray:
        """All frames, uint8 [rows, H, W, 3], decoded into memory by two threads.

        Args:
            progress: whether a bar is shown.
        """
        out = np.empty((len(self), *self.frame_shape), np.uint8)
        jobs = self._frame_jobs(0, len(self), out)
        with ThreadPoolExecutor(2) as pool:
            done = pool.map(lambda job: job(), jobs)
            for _ in tqdm(done, f"loading {self.path}", len(jobs), disable=not progress, unit="chunk"):
                pass
        return out

    def _frame_jobs(self, start: int, stop: int, out: np.ndarray) -> list[Callable[[], None]]:
        """Calls that each fill the part of `out` that comes from one chunk."""
        jobs: list[Callable[[], None]] = []
        for segment, offset in zip(self._segments, self._offsets[:-1].tolist(), strict=True):
            low, high = max(start - offset, 0), min(stop - offset, segment.rows)
            step = segment.fields[FRAMES].chunk
            for first in range(low - low % step, high, step):
                a, b = max(low, first), min(high, first + step)
                part = out[offset + a - start : offset + b - start]
                jobs.append(partial(segment.read_into, FRAMES, a, b, part))
        return jobs


_Event = dict[str, Any]


class _Segment:
    """One writer's part of a collection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta = _read_attributes(path)
        self.fields = {p.parent.name: _read_field(p) for p in sorted((path / DATA).glob("*/zarr.json"))}
        self._ends, self._open, self.rows = _read_index(path / JOURNAL)

    def episodes(self, offset: int) -> list[Episode]:
        """The segment's episodes, rows counted from `offset`."""
        events = list(self._ends)
        if self._open is not None:
            rewards = self.read("reward", self._open["start"], self.rows)[:-1]
            end = {"stop": self.rows, "return": float(rewards.sum()), "meta": {"unfinished": True}}
            events.append((self._open, end))
        return [_episode(self.path, begin, end, offset) for begin, end in events]

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows start to stop of one field."""
        field = self.fields[name]
        out = np.empty((stop - start, *field.shape), field.dtype)
        self.read_into(name, start, stop, out)
        return out

    def read_into(self, name: str, start: int, stop: int, out: np.ndarray) -> None:
        """Fill `out` with rows start to stop of one field."""
        field = self.fields[name]
        for index in range(start // field.chunk, -(-stop // field.chunk)):
            first = index * field.chunk
            a, b = max(start, first), min(stop, first + field.chunk)
            out[a - start : b - start] = self._chunk(name, index)[a - first : b - first]

    def _chunk(self, name: str, index: int) -> np.ndarray:
        path = self.fields[name].chunk_path(self.path / DATA, name, index)
        try:
            return self.fields[name].decode(path.read_bytes())
        except FileNotFoundError:
            raise RecordingError(f"{path} is missing: the recording is damaged or not copied whole") from None
        except (RuntimeError, ValueError) as error:
            raise RecordingError(f"{path} is damaged ({error}); restore it from a copy") from error


def open_recording(path: str | Path) -> Recording:
    """Open a collection of recorded episodes; it may be growing, and what is there now counts.

    Args:
        path: the folder given to the recorder, or one segment of it.

    Raises:
        RecordingError: if there is no recording, a newer program wrote it, it is empty or segments differ.
    """
    path = Path(path)
    folders = [path] if (path / JOURNAL).is_file() else sorted(file.parent for file in path.glob(f"seg-*/{JOURNAL}"))
    folders = [folder for folder in folders if folder.suffix != ".tmp"]
    if not folders:
        what = "does not exist" if not path.exists() else "holds no segment (seg-*/journal.jsonl)"
        raise RecordingError(f"{path} is not a recording: it {what}; python -m recorders.collect makes one")
    segments = [segment for segment in map(_Segment, folders) if segment.rows]
    if not segments:
        raise RecordingError(f"{path} holds no finished chunk yet: record at least one episode")
    for segment in segments[1:]:
        if segment.fields != segments[0].fields:
            raise RecordingError(
                f"in {path}, {segment.path.name} and {segments[0].path.name} differ in fields or frame size; "
                "keep recordings of different games in different folders"
            )
    return Recording(path, segments)


def _read_attributes(segment: Path) -> dict[str, Any]:
    try:
        meta = json.loads((segment / DATA / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError) as error:
        raise RecordingError(f"{segment / DATA} is not a readable Zarr v3 group ({error})") from error
    if meta.get("format") != FORMAT:
        raise RecordingError(f"{segment} is not a {FORMAT}: its format is {meta.get('format')!r}")
    if meta.get("version", 0) > VERSION:
        newer = f"{segment} has version {meta['version']}, this program reads up to {VERSION}"
        raise RecordingError(f"{newer}; update foreframe")
    return meta


def _read_field(path: Path) -> Field:
    meta = json.loads(path.read_text(encoding="utf-8"))
    chunk = meta["chunk_grid"]["configuration"]["chunk_shape"][0]
    return Field(shape=tuple(meta["shape"][1:]), dtype=meta["data_type"], chunk=chunk)


def _read_index(path: Path) -> tuple[list[tuple[_Event, _Event]], _Event | None, int]:
    """(begin, end) of finished episodes, the begin of a cut one if any of it is left, and rows in all."""
    ends: list[tuple[_Event, _Event]] = []
    begin, rows, finished = None, 0, 0
    for event in read_events(path):
        if event["event"] == "begin":
            begin = event
        elif event["event"] == "flush":
            rows = event["rows"]
        elif begin is not None:
            ends.append((begin, event))
            begin, finished = None, event["stop"]
    if begin is not None and rows - begin["start"] >= 2:
        return ends, begin, rows
    return ends, None, finished


def _episode(segment: Path, begin: _Event, end: _Event, offset: int) -> Episode:
    return Episode(
        segment=segment,
        start=begin["start"] + offset,
        stop=end["stop"] + offset,
        seed=begin["seed"],
        return_=end["return"],
        meta={**begin["meta"], **end["meta"]},
        _arrays=begin.get("arrays"),
    )
