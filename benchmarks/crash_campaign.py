"""Kills writers at random instants while a reader looks on, and checks after each kill; needs `os.fork`."""

import os
import pickle
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from recorders import ZarrRecorder

from .crash_checks import ENDED, Claims, Findings, leftovers, look
from .crash_episodes import ACTIONS, EXTRAS, OBSERVATIONS, Name
from .crash_writers import CLOSING, LANES, MESSAGE, OPENING, PROGRAMS, Report


def look_in_fork(work: Callable[[], Findings], tally: "Tally") -> Findings:
    """Do `work` in a child process, so that this one stays without threads and can be forked again.

    What it finds, and what it breaks of, joins the tally.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _die_with(lambda: _send(writing, _found_or_broken(work)))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    found, broken = pickle.loads(data) if data else (Findings(), "a checking process died")
    tally.lost += found.lost
    tally.wrong += found.wrong
    tally.broken += [broken] if broken else []
    return cast(Findings, found)


@dataclass
class Tally:
    """Sums over a campaign; `lost`, `wrong`, `bad_reads` and `broken` must stay empty.

    Attributes:
        kills: writers that were killed.
        episodes: reported as ended and committed.
        steps: actions in them.
        worst_loss: most rows that a killed writer had added to a lane and that were not there.
        reads: looks of the reader while writers wrote.
        left_tmp: kills after which a half-written file lay about.
        while_opening: kills while a recorder was made, which includes repairs.
        while_closing: kills while a recorder was closed, which includes sealing.
        repairs: recorders made on top of what a killed writer left.
        broken: whatever else went wrong.
    """

    kills: int = 0
    episodes: int = 0
    steps: int = 0
    worst_loss: int = 0
    reads: int = 0
    left_tmp: int = 0
    while_opening: int = 0
    while_closing: int = 0
    repairs: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    bad_reads: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing failed."""
        return not (self.lost or self.wrong or self.bad_reads or self.broken)

    def table(self) -> dict[str, int]:
        """All figures, failures counted."""
        return {name: len(value) if isinstance(value, list) else value for name, value in asdict(self).items()}


class Life:
    """One writer from its start to its kill, `delay_s` after its first recorder was made; `early`: after its start."""

    def __init__(self, program: Callable[..., None], path: Path, run: int, errors: Path, delay_s: float,
                 early: bool = False) -> None:  # fmt: skip
        self.run, self.errors = run, errors / f"run-{run}.txt"
        self.report = Report()
        self.opened = 0
        self._delay_s = delay_s
        self.deadline = time.monotonic() + (delay_s if early else 60.0)  # else counted from the first recorder on
        self.pid = os.fork()
        if not self.pid:
            self.report.keep_one_end(writing=True)
            _die_with(lambda: program(path, run, self.report), self.errors)
        self.report.keep_one_end(writing=False)
        self._data = b""

    def take(self, claims: Claims) -> bool:
        """Take what is in the pipe; False once the writer is gone."""
        data = os.read(self.report.reading, 1 << 16)
        self._data += data
        while len(self._data) >= MESSAGE.size:
            run, lane, number, rows = MESSAGE.unpack(self._data[: MESSAGE.size])
            self._data = self._data[MESSAGE.size :]
            if run < 0:
                self.opened += 1
                self.deadline = min(self.deadline, time.monotonic() + self._delay_s)
                continue
            name = Name(run, lane, number)
            if claims.get(name) != ENDED:
                claims[name] = rows if rows == ENDED else max(rows, claims.get(name, 0))
        return bool(data)

    def kill(self, claims: Claims) -> None:
        """Kill the writer and take the rest of its report."""
        os.kill(self.pid, signal.SIGKILL)
        while self.take(claims):
            pass
        os.waitpid(self.pid, 0)
        os.close(self.report.reading)

    def error(self) -> str | None:
        """What the writer died of if it was not killed."""
        return self.errors.read_text() if self.errors.exists() else None

    def loss(self, found: Findings) -> int:
        """Rows that were added and are not there, of all lanes; an episode's only row does not show."""
        there = sum(rows for name, rows in found.rows.items() if name.run == self.run)
        return int(self.report.counters[1:].sum()) - there


class Watcher:
    """A process that opens a growing collection again and again and checks all of it each time."""

    def __init__(self, path: Path) -> None:
        self._stop = Report()
        self._reading, writing = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _die_with(lambda: _send(writing, self._watch(path)))
        os.close(writing)

    def stop(self) -> tuple[int, list[str]]:
        """How often it looked, and what it did not like."""
        self._stop.counters[0] = 1
        with os.fdopen(self._reading, "rb") as pipe:
            data = pipe.read()
        os.waitpid(self._pid, 0)
        self._stop.keep_one_end(writing=True)
        return pickle.loads(data) if data else (0, ["the reader broke; its error is above"])

    def _watch(self, path: Path) -> tuple[int, list[str]]:
        reads, bad, seen, parent = 0, list[str](), Claims(), os.getppid()
        while not self._stop.counters[0] and os.getppid() == parent:
            try:
                found = look(path, seen)
            except Exception:
                bad.append(traceback.format_exc())
                continue
            bad += found.lost + found.wrong
            seen = found.seen  # what a reader has seen once must stay
            reads += 1
        return reads, bad


def campaign(mode: str, kills: int, folder: Path, seed: int, per_collection: int, longest_s: float,
             progress: bool = True) -> Tally:  # fmt: skip
    """Kill `kills` writers of one mode, several in each collection.

    Args:
        mode: one of `PROGRAMS`.
        kills: how many.
        folder: an empty folder to work in.
        seed: of instants; what happens until then depends on the machine.
        per_collection: kills before a new collection is begun.
        longest_s: no writer lives longer.
        progress: whether a bar is shown.
    """
    tally, rng = Tally(), np.random.default_rng([seed, sorted(PROGRAMS).index(mode)])
    (folder / "errors").mkdir(parents=True)
    run = 0
    with tqdm(total=kills, desc=mode, unit="kill", disable=not progress) as bar:
        while tally.kills < kills:
            path = folder / f"collection-{run}"
            goal = min(kills, tally.kills + per_collection)
            run = _one_collection(mode, path, folder / "errors", run, goal, tally, rng, longest_s, bar)
            shutil.rmtree(path, ignore_errors=tally.good)
    return tally


def _one_collection(mode: str, path: Path, errors: Path, run: int, goal: int, tally: Tally, rng: np.random.Generator,
                    longest_s: float, bar: Any) -> int:  # fmt: skip
    """Kill until there were `goal` kills in all; then repair, append, check all of it; returns the next free run."""
    claims, lives, watcher = Claims(), list[Life](), Watcher(path)
    try:
        while tally.kills < goal:
            while len(lives) < (3 if mode == "processes" else 1):
                early = bool(rng.random() < 0.25)
                delay = float(rng.uniform(0.0, 0.15 if early else longest_s))
                lives.append(Life(PROGRAMS[mode], path, run, errors, delay, early))
                run += 1
            life = wait_for(lives, claims)
            lives.remove(life)
            _kill_and_check(mode, life, path, claims, tally)
            bar.update()
    finally:
        for life in lives:
            life.kill(claims)
        reads, bad = watcher.stop()
    tally.repairs += sum(life.opened for life in lives)
    tally.reads += reads
    tally.bad_reads += bad
    finish(path, run, claims, tally)
    return run + 1


def loss_bound(lanes: int, queue: int = 8) -> int:
    """Rows that a kill may cost at most: all blocks of 32 the recorder has, and one row per lane that does not show."""
    return (queue + lanes) * 32 + lanes


def wait_for(lives: list[Life], claims: Claims) -> Life:
    """Listen to all writers until the time of one has come, or it is gone."""
    by_pipe = {life.report.reading: life for life in lives}
    while True:
        first = min(lives, key=lambda life: life.deadline)
        left = first.deadline - time.monotonic()
        if left <= 0:
            return first
        for pipe in select.select(list(by_pipe), [], [], left)[0]:
            if not by_pipe[pipe].take(claims):
                return by_pipe[pipe]


def _kill_and_check(mode: str, life: Life, path: Path, claims: Claims, tally: Tally) -> None:
    life.kill(claims)
    tally.kills += 1
    tally.repairs += life.opened
    tally.while_opening += int(life.report.counters[0]) == OPENING
    tally.while_closing += int(life.report.counters[0]) == CLOSING
    if error := life.error():
        tally.broken.append(f"writer {life.run}: {error}")
    tally.left_tmp += any(".tmp" in file for _, _, files in os.walk(path) for file in files)  # walk: others may remove
    held = dict(claims)
    found = look_in_fork(lambda: look(path, held), tally)
    loss, most = life.loss(found), loss_bound(LANES if mode == "vector" else 1)
    tally.worst_loss = max(tally.worst_loss, loss)
    if loss > most:
        tally.lost.append(f"writer {life.run} lost {loss} rows that it had added, more than the {most} that may be")
    for name, rows in found.rows.items():  # what is there now must survive the next recorder's repair
        if claims.get(name) != ENDED:
            claims[name] = max(rows, claims.get(name, 0)) if found.seen[name] != ENDED else ENDED


def finish(path: Path, run: int, claims: Claims, tally: Tally) -> None:
    """Repair by making one more recorder, append an episode, close, and check everything that was ever claimed."""
    name = Name(run, 0, 0)

    def append() -> Findings:
        with ZarrRecorder(path, OBSERVATIONS, ACTIONS, extras=EXTRAS, meta={"behaviours": ["a"]}) as recorder:
            recorder.begin(seed=name.seed, options=name.options, arrays=name.arrays, **name.meta)
            rows = name.rows()
            for t in range(name.steps):
                rows.add(recorder, t, 0)
            recorder.end(rows.observations[-1], length=name.steps)
        found = look(path, {**claims, name: ENDED})
        found.wrong += leftovers(path)
        return found

    look_in_fork(append, tally)
    tally.episodes += sum(rows == ENDED for rows in claims.values())
    tally.steps += sum(claimed.steps if rows == ENDED else rows for claimed, rows in claims.items())


def _found_or_broken(work: Callable[[], Findings]) -> tuple[Findings, str | None]:
    try:
        return work(), None
    except Exception:
        return Findings(), traceback.format_exc()


def _send(pipe: int, result: object) -> None:
    with os.fdopen(pipe, "wb") as file:
        pickle.dump(result, file)


def _die_with(work: Callable[[], object], errors: Path | None = None) -> None:
    """Do `work` as all that is left of a forked process."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        if errors is None:
            traceback.print_exc()
        else:
            errors.write_text(traceback.format_exc())
    finally:
        sys.stderr.flush()
        os._exit(code)
