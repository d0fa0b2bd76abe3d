"""Steps that are made while the caller does something else."""

import copy
import os
from collections import deque
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError

KINDS = ("fifo", "latest")


class StepQueue:
    """Makes steps in a thread, one after the other, and hands out what they return in the same order.

    Args:
        step: makes a step; called by the thread.
        kind: "fifo" makes every step that was asked for. "latest" makes the newest of those that have not begun: what a
            person does now replaces what they did a moment ago.

    Raises:
        ValueError: if there is no such kind.
    """

    def __init__(self, step: Callable[[Any], Any], kind: str = "fifo") -> None:
        if kind not in KINDS:
            raise ValueError(f"queue must be one of {KINDS}, got {kind!r}")
        self._step, self._kind = step, kind
        self._pending: deque[Future[Any]] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self.lost = False
        """whether steps were under way at a fork of the process or at `close`: nobody knows how far they came"""
        self.replaced = 0
        """steps that were replaced by newer ones before they had begun"""

    def __len__(self) -> int:
        """Steps that were asked for and not handed out."""
        self._survive_fork()
        return len(self._pending)

    @property
    def ready(self) -> bool:
        """Whether `wait` would return at once."""
        self._survive_fork()
        return bool(self._pending) and self._pending[0].done()

    def submit(self, action: Any) -> None:
        """Ask for a step; `action` is copied."""
        self._survive_fork()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "foreframe-step")
        if self._kind == "latest" and self.recall():
            self.replaced += 1
        self._pending.append(self._thread.submit(self._step, copy.deepcopy(action)))

    def recall(self) -> bool:
        """Take back the newest step if it has not begun: it will not be made. Returns whether there was such a one."""
        self._survive_fork()
        recalled = bool(self._pending) and self._pending[-1].cancel()
        if recalled:
            self._pending.pop()
        return recalled

    def wait(self, timeout: float | None = None) -> Any:
        """What the oldest step returned; waits for it, `timeout` seconds at most.

        Raises:
            NoAsyncCallError: if no step was asked for.
            TimeoutError: if it takes longer; it stays asked for.
            Exception: what the step has raised.
        """
        self._survive_fork()
        if not self._pending:
            raise NoAsyncCallError("step_wait() came without step_async(): call step_async(action) first", "step")
        if not futures.wait([self._pending[0]], timeout).done:
            raise TimeoutError(f"the step takes longer than {timeout} s: wait for it again")
        return self._pending.popleft().result()

    def require_empty(self, call: str) -> None:
        """Refuse what must not come between two steps.

        Raises:
            AlreadyPendingCallError: if a step was asked for and not handed out.
        """
        self._survive_fork()
        if self._pending:
            raise AlreadyPendingCallError(f"{call}() came while {len(self)} steps were under way: "
                                          f"call step_wait() for each of them first", "step")  # fmt: skip

    def close(self) -> None:
        """Forget steps that were not handed out, and end the thread; `lost` says whether there were any."""
        self._survive_fork()
        self.lost = self.lost or bool(self._pending)
        for step in self._pending:
            step.cancel()
        self._pending.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self._thread = None

    def _survive_fork(self) -> None:
        """A forked child has neither the thread nor what it was doing."""
        if self._pid != os.getpid():
            self.lost = self.lost or bool(self._pending)
            self._pid, self._thread = os.getpid(), None
            self._pending.clear()
