"""Reads recordings: the journals say what counts; frames come when asked for, all else is in memory."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .clip import Clip
from .collection import check_alike, open_segments
from .episode import Episode
from .layout import FRAMES, OUTCOME, Field, RecordingError
from .progress import Progress
from .segment_reader import SegmentReader
from .spaces import Space, from_rows, space_from_card
from .storage import Storage, each, storage_at


class Recording:
    """A collection of recorded episodes, rows of all segments one after another.

    Attributes:
        path: the collection's folder or URL.
        meta: what was noted for the first segment as a whole, e.g. the game card.
        episodes: in order of recording, segment by segment.
        rewards: float64 [rows], earned by the row's action.
        terminated: bool [rows], whether the row's action ended the episode.
        truncated: bool [rows], whether the episode was cut after the row's action.
    """

    def __init__(self, path: str, storage: Storage, segments: list[SegmentReader], salvage: bool = False) -> None:
        self.path, self._salvage = path, salvage
        self.meta = segments[0].meta
        self._storage, self._segments = storage, segments
        self._index()

    def __len__(self) -> int:
        """Number of rows, which is the number of observations."""
        return int(self._offsets[-1])

    def __getitem__(self, episode: int) -> Clip:
        """A whole episode."""
        return self.read(episode)

    @property
    def fields(self) -> dict[str, Field]:
        """The arrays of a row, by name."""
        return self._segments[0].fields

    @property
    def segments(self) -> list[SegmentReader]:
        """The writers' parts, in order."""
        return list(self._segments)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame, [H, W, 3].

        Raises:
            RecordingError: if observations are no pictures.
        """
        self._known(FRAMES)
        return self.fields[FRAMES].shape

    @property
    def fps(self) -> float | None:
        """Steps per second at the game's true speed, if noted."""
        for card in (self.meta, self.meta.get("world"), self.meta.get("game")):
            if isinstance(card, dict) and card.get("fps"):
                return float(card["fps"])
        return None

    @cached_property
    def observation_space(self) -> Space:
        """What observations are in.

        Raises:
            RecordingError: if it was not noted, as before version 1.
        """
        return space_from_card(self._space("observation_space"))

    @cached_property
    def action_space(self) -> Space:
        """What actions are in.

        Raises:
            RecordingError: if it was not noted, as before version 1.
        """
        return space_from_card(self._space("action_space"))

    @property
    def actions(self) -> Any:
        """Actions of all rows, each taken after seeing its observation; padding in an episode's last row."""
        return self.extra("action") if "action" in self.fields else self._values("action", 0, len(self))

    @property
    def actors(self) -> np.ndarray:
        """Index of who acted in each row, into `meta["behaviours"]`."""
        return self.extra("actor")

    @property
    def extras(self) -> list[str]:
        """Names of what was recorded with each step besides."""
        own = {*OUTCOME, FRAMES}
        return [n for n in self.fields if n not in own and n.partition(".")[0] not in ("action", "observation")]

    def extra(self, name: str) -> np.ndarray:
        """All rows of one field, e.g. `"latency_ms"`.

        Raises:
            RecordingError: if there is no such field.
        """
        self._known(name)
        return np.concatenate(each(self._storage, lambda segment: segment.column(name), self._segments))

    def read(self, episode: int | Episode, start: int = 0, stop: int | None = None) -> Clip:
        """Steps of an episode.

        Args:
            episode: one of `episodes`, or its place in it.
            start: number of the first step.
            stop: number of the step after the last; None goes to the end.

        Raises:
            IndexError: if there is no such episode, or it has no such steps.
        """
        it = episode if isinstance(episode, Episode) else self._episode(episode)
        stop = it.steps if stop is None else stop
        if not 0 <= start <= stop <= it.steps:
            raise IndexError(f"steps {start}:{stop} asked for, episode {it.id} has 0:{it.steps}")
        first = self._first_row(it)
        a, b = first + start, first + stop
        name = FRAMES if FRAMES in self.fields else "observation"
        columns = {key: self._rows(key, a, b) for key in [*OUTCOME, *self.extras]}
        return Clip(self._values(name, a, b + 1), self._values("action", a, b), columns.pop("reward"),
                    columns.pop("terminated"), columns.pop("truncated"), columns, start)  # fmt: skip

    def frames(self, start: int, stop: int) -> np.ndarray:
        """Frames of rows start to stop, uint8 [stop - start, H, W, 3].

        Raises:
            IndexError: if the rows are not all there.
            RecordingError: if observations are no pictures.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"frames {start}:{stop} asked for, the recording has rows 0:{len(self)}")
        out = np.empty((stop - start, *self.frame_shape), np.uint8)
        self._do(self._jobs(FRAMES, start, stop, out))
        return out

    def load_frames(self, progress: bool = True, out: np.ndarray | None = None) -> np.ndarray:
        """All frames, uint8 [rows, H, W, 3], decoded into memory by two threads or more.

        Args:
            progress: whether a bar is shown.
            out: where to; a new array when None.
        """
        out = np.empty((len(self), *self.frame_shape), np.uint8) if out is None else out
        jobs = self._jobs(FRAMES, 0, len(self), out)
        with ThreadPoolExecutor(max(2, self._storage.concurrent)) as pool:
            done = pool.map(lambda job: job(), jobs)
            for _ in Progress(done, f"loading {self.path}", len(jobs), disable=not progress, unit="chunk"):
                pass
        return out

    def select(self, where: Callable[[Episode], bool] | None = None, **values: Any) -> list[Episode]:
        """Episodes for which `where` holds and whose attributes or notes have the given values.

        recording.select(lambda episode: episode.steps >= 64, terminated=True, world_hash="4f1c")
        """
        found = [e for e in self.episodes if all(_note(e, key) == value for key, value in values.items())]
        return found if where is None else [episode for episode in found if where(episode)]

    def refresh(self) -> bool:
        """Look for what has been recorded since; returns whether there is more.

        Raises:
            RecordingError: if a segment of another kind has come.
        """
        known = {segment.name for segment in self._segments}
        new = [s for s in open_segments(self._storage, known, self._salvage) if s.rows]
        check_alike(self.path, [*self._segments, *new])
        changed = each(self._storage, SegmentReader.refresh, self._segments)
        if not new and not any(changed):
            return False
        self._segments = sorted([*self._segments, *new], key=lambda segment: segment.name)
        self._index()
        return True

    def follow(self, poll_s: float = 0.2, timeout_s: float | None = None) -> Iterator[tuple[Episode, Clip]]:
        """Steps as they are committed, by whoever is recording: first what is there, then what comes.

        Args:
            poll_s: seconds between two looks.
            timeout_s: end when nothing has come for so long; None goes on for ever.
        """
        seen: dict[str, int] = {}
        last = time.monotonic()
        while True:
            for episode in self.episodes:
                known = seen.get(episode.id, 0)
                if episode.steps > known:
                    seen[episode.id] = episode.steps
                    yield episode, self.read(episode, known, episode.steps)
                    last = time.monotonic()
            if self.refresh():
                continue
            if timeout_s is not None and time.monotonic() - last > timeout_s:
                return
            time.sleep(poll_s)

    def _index(self) -> None:
        """Number the rows of all segments."""
        self._offsets = np.cumsum([0, *[segment.rows for segment in self._segments]])
        self.episodes = [e for segment, offset in zip(self._segments, self._offsets[:-1].tolist(), strict=True)
                         for e in segment.episodes(offset)]  # fmt: skip
        self.rewards, self.terminated, self.truncated = (self.extra(name) for name in OUTCOME)
        for episode in self.episodes:
            if episode.steps:
                episode.terminated = bool(self.terminated[episode.stop - 2])
                episode.truncated = bool(self.truncated[episode.stop - 2])

    def _first_row(self, episode: Episode) -> int:
        """Where an episode begins now; rows move when an earlier segment grows."""
        for segment, offset in zip(self._segments, self._offsets[:-1].tolist(), strict=True):
            if segment.name == episode.segment and (segment is episode._reader or episode._reader is None
                                                    or episode._reader.place == segment.place):
                return offset + episode.first
        raise RecordingError(f"{self.path} has no episode {episode.id}: it is of another recording")

    def _episode(self, place: int) -> Episode:
        if not -len(self.episodes) <= place < len(self.episodes):
            raise IndexError(f"episode {place} asked for, {self.path} has {len(self.episodes)}")
        return self.episodes[place]

    def _values(self, name: str, start: int, stop: int) -> Any:
        """Values of a space in rows start to stop."""
        if name in self.fields and not self.fields[name].is_text:
            return self._rows(name, start, stop)
        space = self.action_space if name == "action" else self.observation_space
        names = [key for key in self.fields if key == name or key.startswith(name + ".")]
        return from_rows(name, space, {key: self._rows(key, start, stop) for key in names})

    def _rows(self, name: str, start: int, stop: int) -> np.ndarray:
        out = self.fields[name].zeros(stop - start)
        self._do(self._jobs(name, start, stop, out))
        return out

    def _do(self, jobs: list[Callable[[], None]]) -> None:
        each(self._storage, lambda job: job(), jobs)

    def _jobs(self, name: str, start: int, stop: int, out: np.ndarray) -> list[Callable[[], None]]:
        """Calls that each fill the part of `out` that comes from one chunk."""
        jobs: list[Callable[[], None]] = []
        for segment, (offset, end) in zip(self._segments, pairwise(self._offsets.tolist()), strict=True):
            low, high = max(start - offset, 0), min(stop, end) - offset
            if low >= high:
                continue
            step = segment.fields[name].chunk
            for first in range(low - low % step, high, step):
                a, b = max(low, first), min(high, first + step)
                jobs.append(partial(segment.read_into, name, a, b, out[offset + a - start : offset + b - start]))
        return jobs

    def _known(self, name: str) -> None:
        if name not in self.fields:
            raise RecordingError(f"{self.path} has no field {name!r}; it has {sorted(self.fields)}")

    def _space(self, key: str) -> Any:
        card = self.meta.get(key) or (self.meta.get("game") or {}).get(key)
        if not isinstance(card, dict) or "type" not in card:
            raise RecordingError(f"{self.path} does not say what its {key} is; "
                                 "python -m recorders.merge can note it: +action_space={type:Discrete,n:6,start:0}")
        return card


def open_recording(path: str | Path, salvage: bool = False) -> Recording:
    """Open a collection of recorded episodes; it may be growing, and what is there now counts.

    Args:
        path: the folder or URL given to the recorder, or one segment of it.
        salvage: where a journal is damaged, take what it says before the damage instead of refusing it.

    Raises:
        RecordingError: if there is no recording, a newer program wrote it, it is empty or damaged, or segments differ.
    """
    storage = storage_at(path)
    try:
        segments = open_segments(storage, salvage=salvage)
        if not segments:
            there = storage.list("") or Path(path).is_dir()
            what = "holds no segment (seg-*/journal.jsonl)" if there else "does not exist"
            raise RecordingError(f"{path} is not a recording: it {what}; python -m recorders.collect makes one")
        segments = [segment for segment in segments if segment.rows]
        if not segments:
            raise RecordingError(f"{path} holds no finished chunk yet: record at least one episode")
        check_alike(str(path), segments)
        return Recording(str(path), storage, segments, salvage)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error


def _note(episode: Episode, key: str) -> Any:
    if key != "meta" and hasattr(episode, key):
        return getattr(episode, key)
    return episode.meta.get(key)
