"""Programs that record without end, report what is committed, and are killed."""

import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recorders import ZarrRecorder

from .crash_checks import ENDED
from .crash_episodes import ACTIONS, EXTRAS, OBSERVATIONS, Name, Rows

MESSAGE = struct.Struct("<iiii")  # run, lane, number, rows or ENDED; run -1: a recorder was opened
LANES = 4
OPENING, RECORDING, CLOSING = range(3)


class Report:
    """How a writer tells the world outside what it did; outlives it.

    Attributes:
        counters: int64, shared memory: phase, then for each lane the rows whose `add` or `end` returned.
    """

    def __init__(self) -> None:
        self.counters = np.frombuffer(mmap.mmap(-1, 8 * (1 + LANES)), np.int64)
        self.reading, self._writing = os.pipe()

    def enter(self, phase: int) -> None:
        """Say what the writer is about to do."""
        self.counters[0] = phase

    def added(self, lane: int) -> None:
        """One more row was accepted."""
        self.counters[1 + lane] += 1

    def committed(self, name: Name, rows: int) -> None:
        """So many rows of an episode are safe, or `ENDED`."""
        os.write(self._writing, MESSAGE.pack(name.run, name.lane, name.number, rows))

    def opened(self) -> None:
        """A recorder was made; what killed writers left is repaired."""
        os.write(self._writing, MESSAGE.pack(-1, 0, 0, 0))

    def keep_one_end(self, writing: bool) -> None:
        """After a fork: close the end of the pipe that the other process uses."""
        os.close(self.reading if writing else self._writing)


class Lane:
    """One environment's episodes, one after another.

    Args:
        recorder: where they are recorded.
        report: what is told.
        run: whose life this is.
        lane: which environment.
        number: of its first episode.
    """

    def __init__(self, recorder: Any, report: Report, run: int, lane: int, number: int = 0) -> None:
        self.recorder, self.report = recorder, report
        self.name = Name(run, lane, number)
        self.rows: Rows | None = None
        self.t = 0
        self.pending: list[Name] = []

    def step(self, wait: bool = True) -> bool:
        """Begin, add one step, or end the episode; whether it ended."""
        if self.rows is None:
            self.rows, self.t = self.name.rows(), 0
            self.recorder.begin(lane=self.name.lane, seed=self.name.seed, options=self.name.options,
                                arrays=self.name.arrays, **self.name.meta)
        if self.t < self.name.steps:
            self.rows.add(self.recorder, self.t, self.name.lane)
            self.t += 1
            self.report.added(self.name.lane)
            return False
        self._end(wait)
        return True

    def flushed(self) -> None:
        """Report what a flush made safe."""
        for name in self.pending:
            self.report.committed(name, ENDED)
        self.pending.clear()
        if self.rows is not None and self.t > 1:  # one observation is no step yet and does not show
            self.report.committed(self.name, self.t)

    def _end(self, wait: bool) -> None:
        assert self.rows is not None
        self.recorder.end(self.rows.observations[-1], lane=self.name.lane, wait=wait, length=self.name.steps)
        self.report.added(self.name.lane)
        if wait:
            self.report.committed(self.name, ENDED)
        else:
            self.pending.append(self.name)
        self.rows = None
        self.name = Name(self.name.run, self.name.lane, self.name.number + 1)


def record_single(path: Path, run: int, report: Report, **options: Any) -> None:
    """One environment at full speed; a flush now and then."""
    rng = np.random.default_rng(run)
    recorder = _opened(path, report, **options)
    lane = Lane(recorder, report, run, 0)
    while True:
        lane.step(wait=bool(rng.random() < 0.7))
        if rng.random() < 0.004:
            recorder.flush()
            lane.flushed()


def record_vector(path: Path, run: int, report: Report, **options: Any) -> None:
    """Four environments; episodes end at different times and their lanes begin again at once or after a pause."""
    rng = np.random.default_rng(run)
    recorder = _opened(path, report, lanes=LANES, **options)
    lanes = [Lane(recorder, report, run, lane) for lane in range(LANES)]
    pause = [0] * LANES
    while True:
        for index, lane in enumerate(lanes):
            if pause[index]:
                pause[index] -= 1
            elif lane.step(wait=bool(rng.random() < 0.5)):
                pause[index] = int(rng.choice([0, 0, 3, 40]))
        if rng.random() < 0.01:
            recorder.flush()
            for lane in lanes:
                lane.flushed()


def record_beside_others(path: Path, run: int, report: Report, **options: Any) -> None:
    """Like `record_single`, with other processes in the same collection."""
    record_single(path, run, report, shared=True, **options)


def record_and_close(path: Path, run: int, report: Report, **options: Any) -> None:
    """Short segments, closed one after another, so that much of the time goes into sealing."""
    rng = np.random.default_rng(run)
    number = 0
    while True:
        recorder = _opened(path, report, **options)
        lane = Lane(recorder, report, run, 0, number)
        for _ in range(int(rng.integers(1, 4))):
            while not lane.step(wait=bool(rng.random() < 0.5)):
                pass
        cut = lane.name.steps // 2 if rng.random() < 0.3 else 0  # close cuts an open episode short
        for _ in range(cut):
            lane.step()
        report.enter(CLOSING)
        recorder.close()
        lane.flushed()
        number = lane.name.number + 1


def _opened(path: Path, report: Report, **options: Any) -> ZarrRecorder:
    report.enter(OPENING)
    recorder = ZarrRecorder(path, OBSERVATIONS, ACTIONS, extras=EXTRAS, meta={"behaviours": ["a"]}, **options)
    report.opened()
    report.enter(RECORDING)
    return recorder


PROGRAMS: dict[str, Callable[..., None]] = {
    "single": record_single,
    "vector": record_vector,
    "processes": record_beside_others,
    "sealing": record_and_close,
}
