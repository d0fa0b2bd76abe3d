"""Work done in order on a thread of its own, which waits rather than skips when something fails."""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable

from .layout import RecordingError

Job = Callable[[], None]
_REASONS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "a file grew over the limit of this process: raise it (ulimit -f)",
    errno.EROFS: "the disk is read-only: make it writable",
    errno.EACCES: "permission was denied: make the folder writable",
    errno.ENOENT: "what was recorded has been removed or moved away: record elsewhere",
    errno.EIO: "the disk reports an error: check it",
}


class BackgroundWriter:
    """Runs jobs one after another.

    A job that fails is kept: its error is raised by the caller's next call, once, and the job is tried again after
    that; jobs behind it wait.

    Args:
        place: what is written, for messages.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._closing = self._running = self._once_more = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._work, name=f"recording into {place}", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Have a job done after all others."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what has gone wrong, if anything has.

        Raises:
            RecordingError: if a job has failed since the last call, or this is another process.
        """
        if self._failure is None and os.getpid() == self._pid:
            return
        if os.getpid() != self._pid:
            raise RecordingError("this recorder belongs to the process that made it: make one in every process")
        with self._changed:
            failure, self._failure = self._failure, None
            self._changed.notify_all()
        if failure is not None:
            raise self._explained(failure) from failure

    def retry(self) -> None:
        """Try a job that has failed again without raising what it failed of before, which may be over by now.

        That goes for an attempt that is under way, too: if it fails there is another.
        """
        with self._changed:
            if os.getpid() == self._pid:
                self._failure, self._once_more = None, self._running
            self._changed.notify_all()

    def wait(self, until: Callable[[], bool] | None = None) -> None:
        """Return when all jobs are done, or when `until` says so.

        Raises:
            RecordingError: if a job fails meanwhile.
        """
        with self._changed:
            while self._jobs and self._failure is None and not (until and until()):
                self._changed.wait(1.0)
        self.check()

    def close(self) -> None:
        """End the thread; jobs that still fail are given up."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if os.getpid() == self._pid:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (not self._jobs or self._failure is not None) and not self._closing:
                    self._changed.wait()
                if self._closing and (not self._jobs or self._failure is not None):
                    return
                job, self._running = self._jobs[0], True
            failure = None
            try:
                job()
            except Exception as error:
                failure = error
            with self._changed:
                if failure is None:
                    self._jobs.popleft()
                elif not self._once_more:
                    self._failure = failure
                self._running = self._once_more = False
                self._changed.notify_all()

    def _explained(self, failure: Exception) -> RecordingError:
        if isinstance(failure, RecordingError):
            return RecordingError(str(failure))
        reason = _REASONS.get(failure.errno or 0, str(failure)) if isinstance(failure, OSError) else repr(failure)
        return RecordingError(
            f"recording into {self._place} has stopped, {reason}. What was committed is intact and what was not is "
            "still in memory: calling flush() goes on, closing gives it up"
        )
