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
    """One writer from its start to its kill."""

    def __init__(self, program: Callable[..., None], path: Path, run: int, delay_s: float, errors: Path) -> None:
        self.run, self.errors = run, errors / f"run-{run}.txt"
        self.report = Report()
        self.opened = 0
        self.deadline = time.monotonic() + delay_s
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

    def worst_loss(self, found: Findings) -> int:
        """Most rows of one lane that were added and are not there."""
        losses = []
        for lane in range(LANES):
            there = sum(rows for name, rows in found.rows.items() if (name.run, name.lane) == (self.run, lane))
            losses.append(int(self.report.counters[1 + lane]) - there)
        return max(losses)


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
        reads, bad, seen = 0, list[str](), Claims()
        while not self._stop.counters[0]:
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
    while tally.kills < goal:
        while len(lives) < (3 if mode == "processes" else 1):
            lives.append(Life(PROGRAMS[mode], path, run, _instant(rng, longest_s), errors))
            run += 1
        life = wait_for(lives, claims)
        lives.remove(life)
        _kill_and_check(life, path, claims, tally)
        bar.update()
    for life in lives:
        life.kill(claims)
    tally.repairs += sum(life.opened for life in lives)
    reads, bad = watcher.stop()
    tally.reads += reads
    tally.bad_reads += bad
    finish(path, run, claims, tally)
    return run + 1


def _instant(rng: np.random.Generator, longest_s: float) -> float:
    """Seconds until a kill: a quarter early, when recorders are made and repair, the rest anywhere."""
    return float(rng.uniform(0.0, 0.1) if rng.random() < 0.25 else rng.uniform(0.05, longest_s))


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


def _kill_and_check(life: Life, path: Path, claims: Claims, tally: Tally) -> None:
    life.kill(claims)
    tally.kills += 1
    tally.repairs += life.opened
    tally.while_opening += int(life.report.counters[0]) == OPENING
    tally.while_closing += int(life.report.counters[0]) == CLOSING
    if error := life.error():
        tally.broken.append(f"writer {life.run}: {error}")
    tally.left_tmp += bool(path.exists() and any(path.rglob("*.tmp*")))
    held = dict(claims)
    found = look_in_fork(lambda: look(path, held), tally)
    tally.worst_loss = max(tally.worst_loss, life.worst_loss(found))
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
