"""A game as it is played: episodes, ways back, branches, and what is recorded of them."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recorders import RecordingError
from world_model import StateError

from .keymap import Action
from .stage import Outcome, Stage
from .timeline import Branch, Frame, Moment, Timeline, pack

TROUBLES = (RecordingError, OSError)
"""what recording may meet that a game goes on after"""


class Tape(Protocol):
    """What a game needs of a recorder."""

    def begin(self, branch: Branch) -> None:
        """An episode begins, with the moments that the branch has already."""

    def add(self, before: Frame, moment: Moment) -> None:
        """A step was made from the picture `before`."""

    def end(self, branch: Branch) -> None:
        """The episode that `begin` began is over, or left, with as many steps as were added."""

    def close(self) -> None:
        """Write what is left."""


class Game:
    """What is played, without the window and the clock.

    `make` may be called by another thread; everything else only while no step is being made.

    Args:
        stage: the world, and the real game.
        tape: makes the recorder, when recording is first switched on.
    """

    def __init__(self, stage: Stage, tape: Callable[[], Tape] | None = None) -> None:
        self.stage, self.timeline = stage, Timeline()
        self.cursor: int | None = None
        """step that is looked back at; None where the game is"""
        self.recording = False
        self.trouble = ""
        """why recording has ended by itself, if it has"""
        self.scores: list[float] = []
        """of the episodes that were left"""
        self._make_tape = tape
        self._tape: Tape | None = None
        self._taped: Branch | None = None  # whose episode is open on the tape
        self._over, self._made = False, 0  # whether the episode is over for whoever makes steps, and how many it has

    @property
    def branch(self) -> Branch:
        """What is played."""
        return self.timeline.branch

    @property
    def step(self) -> int:
        """Steps since the reset, where the game is or is looked at."""
        return len(self.branch) if self.cursor is None else self.cursor

    @property
    def over(self) -> bool:
        """Whether the episode has ended and there is no step to be made where we are."""
        return self.branch.over and self.step == len(self.branch)

    @property
    def frame(self) -> NDArray[np.uint8]:
        """The picture where we are."""
        return self.branch.picture(self.step)

    @property
    def can_record(self) -> bool:
        """Whether there is a recorder."""
        return self._make_tape is not None

    def begin(self, seed: int) -> None:
        """Leave the episode, if there is one, and begin another.

        Raises:
            RecordingError: if the episode before cannot be ended on the tape. It goes on then.
            MissingGame, ValueError: as `Stage.begin`; the episode before goes on then.
        """
        self._end_tape()
        opening = self.stage.begin(seed)
        if self.timeline.branches:
            self.leave()
        start = {"seed": seed, **opening.start}
        self.timeline.begin(seed, start, opening.frame, self.stage.save(), opening.real)
        self._settle()
        if self.recording:
            self._tape_branch()

    def make(self, action: Action, passes: int, condition: int | None = None) -> Outcome | None:
        """Make a step with so many passes, under another condition if one is given.

        None if the step before it has ended the episode.
        """
        if self._over:
            return None
        outcome = self.stage.step(action, passes, condition)
        self._over, self._made = outcome.terminated or outcome.truncated, self._made + 1
        if self.timeline.keeps(self._made) and not self._over:
            outcome = replace(outcome, saved=self.stage.save())
        return outcome

    def take(self, action: Action, outcome: Outcome, **who: Any) -> Moment:
        """Add a step that was made: `who` are the moment's `actor, passes, latency_ms, input_ms`.

        What cannot be recorded ends the recording, and `trouble` says why; what was recorded before stays.
        """
        before, (score, real_score) = self.branch.picture(len(self.branch)), self.branch.scores(len(self.branch))
        moment = Moment(action, outcome.reward, outcome.terminated, outcome.truncated, pack(outcome.frame),
                        None if outcome.real is None else pack(outcome.real), score + outcome.reward,
                        real_score + outcome.real_reward, condition=outcome.condition, **who)
        try:
            if self.recording and self._taped is not self.branch:
                self._tape_branch()
            if self._tape is not None and self._taped is self.branch:
                self._tape.add(before, moment)
        except TROUBLES as error:
            self.recording, self.trouble = False, f"recording has ended: {error}"
            with suppress(*TROUBLES):
                self._end_tape()
        self.timeline.add(moment, outcome.saved)
        return moment

    def look(self, step: float) -> None:
        """Look at an earlier step, or a later one up to the last; the game stays where it is until `go_on`."""
        self.cursor = int(min(max(step, 0), len(self.branch)))

    def go_on(self) -> None:
        """Go on from what is looked at: a new branch, unless it is where the game is.

        Raises:
            StateError: if it cannot be simulated again as it was; the game stays where it is.
        """
        step, self.cursor = self.step, None
        if step == len(self.branch):
            return
        self._end_tape()
        self._restore(self.branch, step)
        self.timeline.leave(step)
        self._settle()

    def select(self, number: int) -> None:
        """Go on at the end of another branch.

        Raises:
            IndexError: if there is none of that number.
            StateError: if it cannot be simulated again as it was; the game stays where it is.
        """
        branch = self.timeline.find(number)
        self._end_tape()
        self._restore(branch, len(branch))
        self.timeline.select(number)
        self.cursor = None
        self._settle()

    def adopt(self, branch: Branch) -> None:
        """Go on at the end of a branch from elsewhere.

        Raises:
            StateError: if it cannot be simulated again as it was; the game stays where it is.
        """
        self._end_tape()
        self._restore(branch, len(branch))
        self.timeline.adopt(branch)
        self.cursor = None
        self._settle()

    def record(self, on: bool) -> None:
        """Record from now on, the episode that is played from its beginning; or stop.

        Raises:
            RecordingError: if it cannot be recorded.
        """
        self.recording = False
        if not on:
            self._end_tape()
        elif self.can_record:
            self._tape_branch()
            self.recording = True

    @property
    def recorded(self) -> bool:
        """Whether anything has been recorded."""
        return self._tape is not None

    def leave(self) -> None:
        """The episode is over, or left."""
        self.cursor = None
        self.scores.append(self.branch.scores(len(self.branch))[0])
        self._end_tape()

    def close(self) -> None:
        """Write what is left of a recording, and close the real game.

        Raises:
            RecordingError: if it cannot be written.
        """
        with ExitStack() as closing:
            closing.callback(self.stage.close)
            if self._tape is not None:
                closing.callback(self._tape.close)
            self._end_tape()

    def _restore(self, branch: Branch, step: int) -> None:
        """Bring the stage to a step of a branch: the state before it, and what was done from there on."""
        here, (at, saved) = self.stage.save(), branch.nearest(step)
        try:
            self.stage.restore(saved)  # type: ignore[arg-type]
            last = branch.picture(at)
            for moment in branch.moments[at:step]:
                last = self.stage.step(moment.action, moment.passes, moment.condition).frame
            if (last != branch.picture(step)).any():
                raise StateError(f"frame {step} of branch {branch.number} does not come out again as it was: it was "
                                 "drawn with other settings, on another machine or by another version")
        except BaseException:
            self.stage.restore(here)
            raise

    def _settle(self) -> None:
        """Somewhere else now."""
        self._over, self._made = self.branch.over, len(self.branch)

    def _tape_branch(self) -> None:
        self._end_tape()
        if self._tape is None and self._make_tape is not None:
            self._tape = self._make_tape()
        if self._tape is not None:
            self._taped = self.branch
            try:
                self._tape.begin(self.branch)
            except TROUBLES:
                with suppress(*TROUBLES):
                    self._end_tape()
                raise

    def _end_tape(self) -> None:
        taped, self._taped = self._taped, None
        if self._tape is not None and taped is not None:
            self._tape.end(taped)
