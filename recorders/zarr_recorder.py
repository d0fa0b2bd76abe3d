"""Records episodes into Zarr: lossless, written in the background, safe to kill at any moment."""

import atexit
import os
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from . import notes
from .background import BackgroundWriter
from .block import Block
from .collection import first_segment
from .lane import EndedEpisode, Lane
from .layout import RecordingError, alike, commit_rows, describe
from .leftovers import RepairReport, finish_segment, repair_storage
from .recorder import RecorderStats
from .schema import Extra, Schema
from .segment_writer import SegmentWriter
from .spaces import Space
from .storage import storage_at

FSYNC = ("none", "episode", "flush")


class ZarrRecorder:
    """Records into a collection of segments, each a Zarr v3 group with a journal beside it.

        with ZarrRecorder("data/pong", env.observation_space, env.action_space) as recorder:
            recorder.begin(seed=0)
            recorder.add(observation, action, reward, terminated, truncated)
            recorder.end(final_observation)

    What `end` or `flush` returned for survives the death of this process, and of the machine where `fsync` asks for
    it. Of what came after, at most the open buffer is lost: 32 rows per lane, and what waits in the queue. Recording
    into a collection that exists goes on in a new segment, after repairing what a killed recorder has left.

    Args:
        path: the collection's folder, created if need be, or the URL of one in an object store.
        observation_space: of what is recorded; any Gymnasium space.
        action_space: likewise.
        extras: name to dtype name, or `Extra`, of further values that `add` takes for every step.
        meta: anything JSON that holds for all of it, e.g. the game card.
        lanes: episodes that may be open at once, e.g. one per environment of a vector; each has its own segment.
        shared: let several recorders, in as many processes, record into the collection at the same time.
        fsync: "none" survives the death of the process; "episode": what `end` returned for also survives a power cut;
            "flush": so does every flush.
        queue: blocks of up to 32 rows between the caller and the writing thread; when all are full, `add` waits.
        seal: join chunk files into shards when closed: some thirty times fewer files, the same bytes.

    Raises:
        RecordingError: if an argument is out of range, somebody else is recording there, or it cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        observation_space: Space,
        action_space: Space,
        *,
        extras: Mapping[str, str | Extra] | None = None,
        meta: Mapping[str, Any] | None = None,
        lanes: int = 1,
        shared: bool = False,
        fsync: str = "none",
        queue: int = 8,
        seal: bool = True,
    ) -> None:
        if lanes < 1 or queue < 1 or fsync not in FSYNC:
            raise RecordingError(
                f"need lanes >= 1, queue >= 1 and fsync one of {FSYNC}, got {lanes}, {queue} and {fsync!r}"
            )
        self.schema = Schema(observation_space, action_space, extras)
        self.storage, self.seal = storage_at(path), seal
        self._stats = RecorderStats()
        try:
            self._lock = self.storage.lock(shared)
        except OSError as error:
            raise RecordingError(f"cannot record into {path}: {error.strerror or error}") from error
        try:
            repair_storage(self.storage, progress=False, seal=seal, alone=self.storage.locks and not shared)
            self._check_collection()
            own = {**self.schema.attributes(), "lanes": lanes}
            if taken := sorted((meta or {}).keys() & {*own, "lane"}):
                raise RecordingError(f"rename {taken} in meta: every recording notes these itself")
            attributes = {**notes.plain(meta or {}, "meta"), **own}
            self._lanes = [self._open_lane(attributes, lane, fsync) for lane in range(lanes)]
        except OSError as error:
            self._lock.release()
            raise RecordingError(f"cannot record into {path}: {error.strerror or error}") from error
        except BaseException:
            self._lock.release()
            raise
        self._free = deque(Block(self.schema.fields, commit_rows(self.schema.fields)) for _ in range(queue + lanes))
        self._writer: BackgroundWriter | None = BackgroundWriter(self.storage.url)
        self._pid = os.getpid()
        atexit.register(self.close)

    @property
    def segments(self) -> list[str]:
        """Names of the segments this recorder writes, one per lane."""
        return [lane.writer.name for lane in self._lanes]

    @property
    def extras(self) -> list[str]:
        """Names of what `add` takes for every step besides."""
        return list(self.schema.extras)

    def begin(self, *, lane: int = 0, seed: int | None = None, options: Mapping[str, Any] | None = None,
              arrays: Mapping[str, np.ndarray] | None = None, **meta: Any) -> str:  # fmt: skip
        """Start an episode.

        Args:
            lane: which stream of episodes.
            seed: what the environment was reset with.
            options: what `reset` was given, JSON and numpy arrays.
            arrays: numpy arrays that belong to the episode as a whole, e.g. a learned world's context clip.
            **meta: anything JSON that holds for the episode, e.g. a world's hash.

        Returns:
            The episode's id, unique in the collection.

        Raises:
            RecordingError: if an episode is open in the lane, notes are no JSON, or writing has failed.
        """
        writer, it = self._ready(lane)
        event, kept = it.begin(seed, options, arrays or {}, meta)
        if kept:
            packed = notes.pack(kept)
            writer.submit(lambda: it.writer.save(event["arrays"], packed))
        writer.submit(lambda: it.writer.begin(event))
        return it.id

    def add(self, observation: Any, action: Any, reward: float, terminated: bool, truncated: bool, *, lane: int = 0,
            **extras: Any) -> None:  # fmt: skip
        """Record one step. All is copied, so arrays may be used again.

        Args:
            observation: seen before the action.
            action: taken after seeing `observation`.
            reward: earned by the action; a finite number.
            terminated: whether the action ended the episode.
            truncated: whether the episode was cut after the action.
            lane: which stream of episodes.
            **extras: a value for every extra the recorder was made with.

        Raises:
            RecordingError: if no episode is open, something is not as announced, or writing has failed; the step is
                then not recorded.
        """
        _, it = self._ready(lane)
        self._make_room(it)
        self._put(it, it.step(observation, action, reward, terminated, truncated, extras))

    def end(self, final_observation: Any, *, lane: int = 0, wait: bool = True, **meta: Any) -> None:
        """Finish the episode.

        Args:
            final_observation: seen after the last action.
            lane: which stream of episodes.
            wait: return when the episode is committed; otherwise `flush` says so later.
            **meta: anything JSON that is known at the end only; joins what `begin` was given.

        Raises:
            RecordingError: if no episode is open, the observation is of another kind, or writing has failed. If it
                fails while waiting, the episode is in memory and `flush` goes on.
        """
        writer, it = self._ready(lane)
        self._make_room(it)
        row, ended = it.end(final_observation, meta)
        self._put(it, row)
        self._hand_over(it)
        writer.submit(partial(self._commit_end, it, ended))
        if wait:
            writer.wait()

    def flush(self) -> None:
        """Commit every row so far; also goes on after a failure.

        Raises:
            RecordingError: if writing fails (again).
        """
        if self._writer is not None:
            self._writer.retry()
        writer, _ = self._ready(0)
        for lane in self._lanes:
            self._hand_over(lane)
        writer.wait()

    def stats(self) -> RecorderStats:
        """What has been done so far."""
        rows = sum(lane.rows for lane in self._lanes)
        committed = sum(lane.writer.committed for lane in self._lanes)
        stats = self._stats
        return RecorderStats(rows, committed, stats.committed_episodes, stats.waits, stats.waited_s)

    def close(self) -> None:
        """Commit what is left, seal, and let go; an open episode is kept as unfinished. Twice is harmless.

        Raises:
            RecordingError: if what was left cannot be written; what was committed is intact.
        """
        if self._writer is None or os.getpid() != self._pid:
            return
        try:
            self.flush()
            self._writer.close()
            self._finish()
        except OSError as error:
            raise RecordingError(
                f"{self.storage.url} could not be closed properly: {error.strerror or error}; "
                "what was committed is intact, python -m recorders.repair does the rest"
            ) from error
        finally:
            self._writer.close()
            self._writer = None
            atexit.unregister(self.close)
            for lane in self._lanes:
                lane.writer.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_collection(self) -> None:
        """Refuse to add rows of another kind to a collection."""
        there = first_segment(self.storage)
        if there is not None and not alike(there.fields, self.schema.fields):
            held, new = describe(there.fields), describe(self.schema.fields)
            raise RecordingError(f"{self.storage.url} holds {held}, this recorder writes {new}: record elsewhere")

    def _open_lane(self, attributes: dict[str, Any], lane: int, fsync: str) -> Lane:
        return Lane(self.schema, SegmentWriter(self.storage, self.schema.fields, {**attributes, "lane": lane}, fsync))

    def _ready(self, lane: int) -> tuple[BackgroundWriter, Lane]:
        if self._writer is None:
            raise RecordingError("this recorder is closed: make another one")
        self._writer.check()
        if not 0 <= lane < len(self._lanes):
            raise RecordingError(f"lane must be 0 to {len(self._lanes) - 1}, got {lane}")
        return self._writer, self._lanes[lane]

    def _make_room(self, lane: Lane) -> None:
        """See to it that the lane has a block; wait for one if all are in the queue."""
        if lane.block is not None:
            return
        assert self._writer is not None
        if not self._free:
            before = time.perf_counter()
            self._writer.wait(until=lambda: bool(self._free))
            self._stats.waits += 1
            self._stats.waited_s += time.perf_counter() - before
        lane.block = self._free.popleft()

    def _put(self, lane: Lane, row: Mapping[str, Any]) -> None:
        assert lane.block is not None
        full = lane.room == 1
        lane.block.add(row)
        lane.rows += 1
        if full:
            self._hand_over(lane)

    def _hand_over(self, lane: Lane) -> None:
        """Give the lane's block to the writing thread."""
        block, lane.block = lane.block, None
        if block is None:
            return
        if not block.rows:
            self._free.append(block)
            return
        assert self._writer is not None
        self._writer.submit(lambda: self._write(lane, block))

    def _write(self, lane: Lane, block: Block) -> None:
        """On the writing thread: bring a block to storage and free it."""
        lane.writer.put(block)
        block.clear()
        self._free.append(block)

    def _commit_end(self, lane: Lane, ended: EndedEpisode) -> None:
        lane.writer.end(ended.event())
        self._stats.committed_episodes += 1

    def _finish(self) -> None:
        """Note what is unfinished, seal, and leave no segment without a step behind."""
        for lane in self._lanes:
            finish_segment(self.storage, lane.writer.name, lane.writer.journal, self.seal, RepairReport())
