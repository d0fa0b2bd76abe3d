"""Steps made in a thread: order, replacement, errors."""

import os
import sys
import threading
import time

import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError

from envs.step_queue import StepQueue


class Game:
    """Steps only when it is let."""

    def __init__(self) -> None:
        self.go, self.begun, self.made = threading.Semaphore(0), threading.Event(), []

    def step(self, action: int) -> int:
        self.begun.set()
        assert self.go.acquire(timeout=20)
        if action < 0:
            raise ValueError("no such action")
        self.made.append(action)
        return 10 * action

    def let(self, steps: int) -> None:
        for _ in range(steps):
            self.go.release()


def test_fifo_makes_every_step_in_order() -> None:
    game = Game()
    queue = StepQueue(game.step)
    for action in range(4):
        queue.submit(action)
    assert len(queue) == 4 and not queue.ready
    game.let(4)
    assert [queue.wait() for _ in range(4)] == [0, 10, 20, 30] and game.made == [0, 1, 2, 3]
    assert queue.replaced == 0
    queue.close()


def test_latest_makes_the_newest_of_those_that_have_not_begun() -> None:
    game = Game()
    queue = StepQueue(game.step, "latest")
    queue.submit(0)
    assert game.begun.wait(20)
    for action in (1, 2, 3):
        queue.submit(action)
    game.let(2)
    assert [queue.wait(), queue.wait()] == [0, 30] and game.made == [0, 3] and queue.replaced == 2
    queue.close()


@pytest.mark.parametrize("kind", ["fifo", "latest"])
def test_only_a_step_that_has_not_begun_can_be_taken_back(kind: str) -> None:
    game = Game()
    queue = StepQueue(game.step, kind)
    assert not queue.recall()
    queue.submit(1)
    assert game.begun.wait(20)
    queue.submit(2)
    assert queue.recall() and not queue.recall() and len(queue) == 1
    queue.submit(3)
    game.let(3)
    assert [queue.wait(), queue.wait()] == [10, 30] and game.made == [1, 3] and queue.replaced == 0
    queue.close()


def test_errors_come_where_the_step_would_have() -> None:
    game = Game()
    queue = StepQueue(game.step)
    queue.submit(-1)
    queue.submit(1)
    game.let(2)
    with pytest.raises(ValueError, match="no such action"):
        queue.wait()
    assert queue.wait() == 10
    with pytest.raises(NoAsyncCallError, match="step_async"):
        queue.wait()
    queue.close()


def test_a_wait_that_times_out_can_be_repeated() -> None:
    game = Game()
    queue = StepQueue(game.step)
    queue.submit(2)
    with pytest.raises(TimeoutError):
        queue.wait(0.01)
    with pytest.raises(AlreadyPendingCallError, match="1 steps were under way"):
        queue.require_empty("reset")
    game.let(1)
    while not queue.ready:
        time.sleep(0.001)
    assert queue.wait(0) == 20
    queue.require_empty("reset")
    queue.close()


def test_closing_ends_the_thread_and_submitting_starts_another() -> None:
    game = Game()
    game.let(10)
    queue = StepQueue(game.step)
    queue.submit(1)
    queue.close()
    assert not [thread for thread in threading.enumerate() if "foreframe-step" in thread.name] and not len(queue)
    queue.submit(2)
    assert queue.wait() == 20
    queue.close()


def test_waiting_in_small_portions_loses_nothing() -> None:
    queue = StepQueue(lambda action: action)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for i in range(2000):
            queue.submit(i)
            while True:
                try:
                    assert queue.wait(0) == i
                    break
                except TimeoutError:
                    continue
    finally:
        sys.setswitchinterval(before)
        queue.close()


def test_an_action_is_the_one_it_was_when_it_was_given() -> None:
    game = Game()
    queue = StepQueue(lambda action: game.step(int(action[0])))
    buffer = np.zeros(1, int)
    for i in range(3):
        buffer[0] = i
        queue.submit(buffer)
    game.let(3)
    assert [queue.wait() for _ in range(3)] == [0, 10, 20]
    queue.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_knows_that_its_steps_are_lost() -> None:
    game = Game()
    queue = StepQueue(game.step)
    queue.submit(1)
    pid = os.fork()
    if pid == 0:
        queue.require_empty("reset")
        os._exit(0 if queue.lost and not len(queue) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    game.let(1)
    assert queue.wait() == 10 and not queue.lost
    queue.close()


def test_only_known_kinds() -> None:
    with pytest.raises(ValueError, match=r"fifo.*latest"):
        StepQueue(print, "lifo")
