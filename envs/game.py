"""A game as it is played: episodes, ways back, branches, and what is recorded of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .stage import Outcome, Stage
from .timeline import Branch, Frame, Moment, Timeline, pack


class Tape(Protocol):
    """What a game needs of a recorder."""

    def begin(self, branch: Branch) -> None:
        """An episode begins, with the moments that the branch has already."""

    def add(self, before: Frame, moment: Moment) -> None:
        """A step was made from the picture `before`."""

    def end(self, branch: Branch, **notes: Any) -> None:
        """The episode that `begin` began is over, or left; its last picture is the branch's."""

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
            MissingGame, ValueError: as `Stage.begin`; the episode before goes on then.
        """
        opening = self.stage.begin(seed)
        if self.timeline.branches:
            self.leave()
        start = {"seed": seed, **opening.start}
        self.timeline.begin(seed, start, opening.frame, self.stage.save(), opening.real)
        self._settle()
        if self.recording:
            self._tape_branch()

    def make(self, action: int) -> Outcome | None:
        """Make a step; None if the one before it has ended the episode."""
        if self._over:
            return None
        outcome = self.stage.step(action)
        self._over, self._made = outcome.terminated, self._made + 1
        if self.timeline.keeps(self._made) and not outcome.terminated:
            outcome = replace(outcome, saved=self.stage.save())
        return outcome

    def take(self, action: int, outcome: Outcome, **who: Any) -> Moment:
        """Add a step that was made: `who` are the moment's `actor, passes, latency_ms, input_ms`."""
        before, (score, real_score) = self.branch.picture(len(self.branch)), self.branch.scores(len(self.branch))
        moment = Moment(action, outcome.reward, outcome.terminated, pack(outcome.frame),
                        None if outcome.real is None else pack(outcome.real), score + outcome.reward,
                        real_score + outcome.real_reward, **who)
        if self.recording and self._taped is not self.branch:
            self._tape_branch()
        self.timeline.add(moment, outcome.saved)
        if self._tape is not None and self._taped is self.branch:
            self._tape.add(before, moment)
        return moment

    def look(self, step: float) -> None:
        """Look at an earlier step, or a later one up to the last; the game stays where it is until `go_on`."""
        self.cursor = int(min(max(step, 0), len(self.branch)))

    def go_on(self) -> None:
        """Go on from what is looked at: a new branch, unless it is where the game is."""
        step, self.cursor = self.step, None
        if step == len(self.branch):
            return
        self._end_tape()
        self._restore(step)
        self.timeline.leave(step)
        self._settle()

    def select(self, number: int) -> None:
        """Go on at the end of another branch.

        Raises:
            IndexError: if there is none of that number.
        """
        self.cursor = None
        self._end_tape()
        self.timeline.select(number)
        if not self.branch.over:
            self._restore(len(self.branch))
        self._settle()

    def adopt(self, branch: Branch) -> None:
        """Go on at the end of a branch from elsewhere."""
        self.cursor = None
        self._end_tape()
        self.timeline.adopt(branch)
        self._restore(len(branch))
        self._settle()

    def record(self, on: bool) -> None:
        """Record from now on, the episode that is played from its beginning; or stop.

        Raises:
            RecordingError: if it cannot be recorded.
        """
        self.recording = on and self.can_record
        if self.recording:
            self._tape_branch()
        else:
            self._end_tape()

    def leave(self) -> None:
        """The episode is over, or left."""
        self.cursor = None
        self.scores.append(self.branch.scores(len(self.branch))[0])
        self._end_tape()

    def close(self) -> None:
        """Write what is left of a recording, and close the real game."""
        self._end_tape()
        if self._tape is not None:
            self._tape.close()
        self.stage.close()

    def _restore(self, step: int) -> None:
        """Bring the stage to a step of the branch: the state before it, and what was done from there on."""
        passes = self.stage.env.passes
        at, saved = self.branch.nearest(step)
        self.stage.restore(saved)  # type: ignore[arg-type]
        for moment in self.branch.moments[at:step]:
            self.stage.env.set_passes(moment.passes)
            self.stage.step(moment.action)
        self.stage.env.set_passes(passes)

    def _settle(self) -> None:
        """Somewhere else now."""
        self._over, self._made = self.branch.over, len(self.branch)

    def _tape_branch(self) -> None:
        self._end_tape()
        if self._tape is None and self._make_tape is not None:
            self._tape = self._make_tape()
        if self._tape is not None:
            self._tape.begin(self.branch)
            self._taped = self.branch

    def _end_tape(self) -> None:
        if self._tape is not None and self._taped is not None:
            self._tape.end(self._taped)
            self._taped = None
