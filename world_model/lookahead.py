"""Frames drawn before they are asked for, by a thread that works while nobody waits (Next-Frame Diffusion).

Noise depends on seed and frame number alone and a guess is drawn from a fork of the state, so a right guess is the very
frame that would have been drawn, and after a wrong one the state is what it was: nothing has to be undone.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable

from torch import Tensor

from .guesses import Ahead, Guess, KeepOn
from .passes import Cancelled
from .state import WorldState

Draw = Callable[[WorldState, Guess, KeepOn], Ahead]


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
        self._thread: threading.Thread | None
        self._base: WorldState | None
        self._current: Guess | None
        self._error: Exception | None
        self._epoch = 0
        self.discarded = 0
        """frames drawn that nobody asked for"""
        self._start_afresh()

    def begin(self, state: WorldState) -> None:
        """Guess what comes after `state`, which must not be stepped before `take` or `stop`."""
        self._survive_fork()
        with self._changed:
            if not self._ready and self._current is None:
                self._base = state.clone()
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="foreframe-lookahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def take(self, actions: Tensor) -> Ahead | None:
        """What was drawn for a step with these actions; None if it was not guessed. Then, all guesses are dropped.

        A right guess that is being drawn is waited for.

        Raises:
            Exception: whatever guessing or drawing has raised.
        """
        self._survive_fork()
        with self._changed:
            while not self._ready and self._busy and (self._current is None or self._current.answers(actions)):
                self._changed.wait()
            self._complain()
            if self._ready and self._ready[0].guess.answers(actions):
                return self._ready.popleft()
        self.stop()
        return None

    def stop(self) -> None:
        """Drop all guesses, and wait until the thread has noticed: one pass at most."""
        self._survive_fork()
        with self._changed:
            self._epoch += 1
            self._wanted = False
            self.discarded += sum(ahead.frames for ahead in self._ready)
            self._ready.clear()
            while self._busy:
                self._changed.wait()
            self._base = None

    def close(self) -> None:
        """End the thread. `begin` starts another."""
        self.stop()
        with self._changed:
            thread, self._closing = self._thread, True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._thread, self._closing = None, False

    @property
    def guessing(self) -> bool:
        """Whether there is a guess, drawn or being drawn."""
        with self._changed:
            return bool(self._ready) or self._current is not None

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closing and not (self._wanted and len(self._ready) < self._ahead):
                    self._changed.wait()
                if self._closing:
                    return
                epoch, state = self._epoch, self._ready[-1].state if self._ready else self._base
                self._busy = True
            drawn: Ahead | None = None
            error: Exception | None = None
            try:
                if state is not None:
                    drawn = self._draw_next(state, epoch)
            except Cancelled:
                pass
            except Exception as failed:  # the caller's policy, say: it is theirs to hear of
                error = failed
            with self._changed:
                self._finish(epoch, drawn, error)

    def _draw_next(self, state: WorldState, epoch: int) -> Ahead:
        guess = self._guess(state)
        with self._changed:
            if epoch == self._epoch:
                self._current = guess
                self._changed.notify_all()
        before = time.perf_counter()
        ahead = self._draw(state, guess, lambda: epoch == self._epoch)
        ahead.seconds = time.perf_counter() - before
        return ahead

    def _finish(self, epoch: int, drawn: Ahead | None, error: Exception | None) -> None:
        """Note what came of a guess; the lock is held."""
        self._busy, self._current = False, None
        if epoch == self._epoch:
            if drawn is not None:
                self._ready.append(drawn)
                self._base = drawn.state
            if error is not None:
                self._error, self._wanted = error, False
        elif drawn is not None:
            self.discarded += drawn.frames
        self._changed.notify_all()

    def _complain(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _survive_fork(self) -> None:
        """A forked child has the object without its thread, and locks that nobody will release."""
        if self._pid != os.getpid():
            self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition(threading.RLock())
        self._ready.clear()
        self._thread = self._base = self._current = self._error = None
        self._busy = self._wanted = self._closing = False
