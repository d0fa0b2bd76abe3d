"""Processes that are forked from one that has imported everything: writers to be killed, and a reader beside them."""

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from .crash_checks import ENDED, Claims, Findings, look
from .crash_episodes import Name
from .crash_writers import MESSAGE, Report


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
            die_with(lambda: program(path, run, self.report), self.errors)
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

    def pause(self) -> None:
        """Hold the writer at whatever it is doing; its time stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        self.deadline -= time.monotonic()

    def resume(self) -> None:
        """Let it go on."""
        self.deadline += time.monotonic()
        os.kill(self.pid, signal.SIGCONT)

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
            die_with(lambda: send(writing, self._watch(path)))
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


def send(pipe: int, result: object) -> None:
    """Pickle `result` into a pipe and close it."""
    with os.fdopen(pipe, "wb") as file:
        pickle.dump(result, file)


def die_with(work: Callable[[], object], errors: Path | None = None) -> None:
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
