"""Kills writers at random instants while a reader looks on, and checks after each kill; needs `os.fork`."""

import os
import pickle
import shutil
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from recorders import ZarrRecorder
from recorders.progress import Progress

from .crash_checks import ENDED, Claims, Findings, leftovers, look
from .crash_episodes import ACTIONS, EXTRAS, OBSERVATIONS, Name
from .crash_lives import Life, Watcher, die_with, send, wait_for
from .crash_writers import CLOSING, LANES, OPENING, PROGRAMS


def look_in_fork(work: Callable[[], Findings], tally: "Tally") -> Findings:
    """Do `work` in a child process, so that this one stays without threads and can be forked again.

    What it finds, and what it breaks of, joins the tally.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        die_with(lambda: send(writing, _found_or_broken(work)))
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
    with Progress(total=kills, desc=mode, unit="kill", disable=not progress) as bar:
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
            for other in lives:  # or they would write more while this one is checked than can be checked
                other.pause()
            _kill_and_check(mode, life, path, claims, tally)
            for other in lives:
                other.resume()
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
