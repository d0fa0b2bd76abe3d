"""Frames drawn before they are asked for, by a thread that works while nobody waits (Next-Frame Diffusion).

Noise depends on seed and frame number alone and a guess is drawn from a fork of the state, so a right guess is the very
frame that would have been drawn, and after a wrong one the state is what it was: nothing has to be undone.
"""

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from torch import Tensor

from .guesses import Ahead, Guess, KeepOn
from .passes import Cancelled
from .state import WorldState

Draw = Callable[[WorldState, Guess, KeepOn], Ahead]
_EXIT_S = 10.0  # that a process waits for one pass of a thread at most

_alive: "weakref.WeakSet[LookAhead]" = weakref.WeakSet()


@atexit.register
def _end_threads() -> None:
    """A thread that comes back from an operator of torch while the interpreter goes away would abort the process."""
    workers = [look.abandon() for look in list(_alive)]
    for worker in workers:
        if worker is not None:
            worker.thread.join(_EXIT_S)


class _Worker:
    """A thread and what only it obeys."""

    def __init__(self, work: Callable[["_Worker"], None]):
        self.closing = False
        self.wake: SimpleQueue[None] = SimpleQueue()  # may be put to from anywhere, a finaliser too
        self.thread = threading.Thread(target=work, args=(self,), name="foreframe-lookahead", daemon=True)
        self.thread.start()


class LookAhead:
    """Draws a chain of guesses from a state, `ahead` of them at most, until somebody asks.

    Args:
        guess: what may come after a state; called by the thread.
        draw: draws it, giving up with `Cancelled` when its last argument says so; called by the thread.
        ahead: length of the chain.
    """

    def __init__(self, guess: Callable[[WorldState], Guess], draw: Draw, ahead: int):
        self._guess, self._draw, self._ahead = guess, draw, ahead
        self._ready: deque[Ahead] = deque()
        self._worker: _Worker | None
        self._base: WorldState | None
        self._current: Guess | None
        self._error: BaseException | None
        self._epoch = 0
        self.discarded = 0
        """frames drawn that nobody asked for"""
        self._start_afresh()
        _alive.add(self)

    def redraw(self, draw: Draw) -> None:
        """From now on guesses are drawn by `draw`; comes after `stop`."""
        self._draw = draw

    def begin(self, state: WorldState) -> None:
        """Guess what comes after `state`, which must not be stepped before `take` or `stop`."""
        self._survive_fork()
        with self._changed:
            if not self._ready and self._current is None:
                self._base = state.clone()
            self._wanted = True
            if self._worker is None:
                self._worker = _Worker(self._work)
        self._worker.wake.put(None)

    def take(self, actions: Tensor) -> Ahead | None:
        """What was drawn for a step with these actions; None if it was not guessed. Then, all guesses are dropped.

        A right guess that is being drawn is waited for.

        Raises:
            BaseException: whatever guessing or drawing has raised.
        """
        self._survive_fork()
        with self._changed:
            while not self._ready and self._current is not None and self._current.answers(actions):
                self._changed.wait()
            error, self._error = self._error, None
            if error is not None:
                raise error
            if self._ready and self._ready[0].guess.answers(actions):
                return self._ready.popleft()
        self.stop()
        return None

    def stop(self) -> None:
        """Drop all guesses and wait until none is being drawn, one pass at most. Guessing itself is not waited for."""
        self._survive_fork()
        with self._changed:
            self._epoch += 1
            self._wanted = False
            self.discarded += sum(ahead.frames for ahead in self._ready)
            self._ready.clear()
            while self._current is not None:
                self._changed.wait()
            self._base = self._error = None

    def close(self) -> None:
        """Drop all guesses and end the thread. `begin` starts another."""
        self.stop()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.closing = True
            worker.wake.put(None)
            if worker.thread is not threading.current_thread():
                worker.thread.join()

    def abandon(self) -> _Worker | None:
        """End the thread soon, waiting for nothing and taking no lock: may be called by the garbage collector."""
        self._epoch += 1
        worker = self._worker
        if worker is not None and self._pid == os.getpid():
            worker.closing = True
            worker.wake.put(None)
            return worker
        return None

    @property
    def guessing(self) -> bool:
        """Whether there is a guess, drawn or being drawn."""
        self._survive_fork()
        with self._changed:
            return bool(self._ready) or self._current is not None

    def _work(self, me: _Worker) -> None:
        while not me.closing:
            if not self._work_once(me):
                me.wake.get()

    def _work_once(self, me: _Worker) -> bool:
        """Draw the next guess, if one is wanted; what it was drawn from is let go of before the thread sleeps."""
        with self._changed:
            if me.closing or not self._wanted or len(self._ready) >= self._ahead or self._error is not None:
                return False
            source = self._ready[-1].state if self._ready else self._base
            if source is None:
                return False
            epoch, state = self._epoch, source.clone()  # the caller may step what it was taken from
        drawn: Ahead | None = None
        error: BaseException | None = None
        try:
            drawn = self._draw_next(state, epoch)
        except Cancelled:
            pass
        except BaseException as failed:  # the caller's policy, say: it is theirs to hear of
            error = failed
        with self._changed:
            self._finish(epoch, drawn, error)
        return True

    def _draw_next(self, state: WorldState, epoch: int) -> Ahead:
        guess = self._guess(state)
        with self._changed:
            if epoch != self._epoch:
                raise Cancelled
            self._current = guess
            self._changed.notify_all()
        before = time.perf_counter()
        ahead = self._draw(state, guess, lambda: epoch == self._epoch)
        ahead.seconds = time.perf_counter() - before
        return ahead

    def _finish(self, epoch: int, drawn: Ahead | None, error: BaseException | None) -> None:
        """Note what came of a guess; the lock is held."""
        self._current = None
        if epoch == self._epoch:
            if drawn is not None:
                self._ready.append(drawn)
                self._base = drawn.state
            self._error = error
        elif drawn is not None:
            self.discarded += drawn.frames
        self._changed.notify_all()

    def _survive_fork(self) -> None:
        """A forked child has the object without its thread, and locks that nobody will release."""
        if self._pid != os.getpid():
            self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition(threading.RLock())
        self._ready.clear()
        self._worker = self._base = self._current = self._error = None
        self._wanted = False
