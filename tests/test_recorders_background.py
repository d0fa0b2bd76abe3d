"""The thread that writes: what fails is kept, said once, and tried again."""

import errno
from threading import Event

import pytest

from recorders import RecordingError
from recorders.background import BackgroundWriter


def test_going_on_does_not_raise_what_an_attempt_from_before_fails_of():
    attempts, running, let_go = [], Event(), Event()

    def job():
        attempts.append(len(attempts))
        if len(attempts) == 2:  # begun when the first failure was told, still at it when the cause is removed
            running.set()
            assert let_go.wait(10)
        if len(attempts) <= 2:
            raise OSError(errno.ENOSPC, "no space")

    writer = BackgroundWriter("here")
    writer.submit(job)
    with pytest.raises(RecordingError, match="the disk is full"):
        writer.wait()
    assert running.wait(10)
    writer.retry()
    let_go.set()
    writer.wait()
    writer.close()
    assert len(attempts) == 3


def test_an_attempt_that_fails_again_is_said_again():
    writer = BackgroundWriter("here")

    def job():
        raise OSError(errno.ENOSPC, "no space")

    writer.submit(job)
    for _ in range(3):
        with pytest.raises(RecordingError, match="the disk is full"):
            writer.wait()
        writer.retry()
    writer.close()
