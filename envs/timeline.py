"""What was played in a session: branches of moments, to look back at and to go on from."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .keymap import Action

Frame = NDArray[np.uint8]
"""uint8 [H, W, 3]"""


class Saved(Protocol):
    """A state to go back to."""

    @property
    def nbytes(self) -> int:
        """What keeping it costs."""


def pack(frame: Frame) -> bytes:
    """A picture as it is kept: lossless, some 4 kB instead of 25."""
    return zlib.compress(frame.tobytes(), 1)


@lru_cache(maxsize=4)
def unpack(packed: bytes, shape: tuple[int, ...]) -> Frame:
    """The picture, not to be written to."""
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)


@dataclass(frozen=True)
class Moment:
    """One step: who did what, and what came of it."""

    action: Action
    reward: float
    terminated: bool
    truncated: bool
    picture: bytes
    """what followed, packed"""
    real: bytes | None = None
    """what followed in the real game, packed, where one was stepped beside"""
    score: float = 0.0
    """sum of the episode's rewards, this one included"""
    real_score: float = 0.0
    """the real game's, likewise"""
    actor: int = 0
    """place of who acted among the session's pilots"""
    passes: int = 1
    """network calls that the picture was drawn with"""
    condition: int = 0
    """number of the world's condition that it was drawn under"""
    latency_ms: float = 0.0
    """that the world took"""
    input_ms: float = 0.0
    """from reading the keys to showing the picture"""


@dataclass(eq=False)
class Branch:
    """An episode, or one that leaves another at some step and goes on differently, with all moments from the reset."""

    number: int
    """in its session, from 1"""
    seed: int
    """of the reset"""
    start: dict[str, Any]
    """what a recording has to note of how the episode began"""
    first: bytes
    """picture of the reset, packed"""
    first_real: bytes | None
    """the real game's picture there"""
    shape: tuple[int, ...]
    """of pictures, [H, W, 3]"""
    parent: int | None = None
    """number of the branch it left"""
    left_at: int = 0
    """step at which it left"""
    moments: list[Moment] = field(default_factory=list)
    states: dict[int, Saved] = field(default_factory=dict)
    """to go back to, by step"""
    recorded: dict[str, Any] | None = None
    """episode and step up to which a recording has it"""

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return bool(self.moments) and (self.moments[-1].terminated or self.moments[-1].truncated)

    def picture(self, step: int) -> Frame:
        """The picture after so many steps."""
        return unpack(self.moments[step - 1].picture if step else self.first, self.shape)

    def real_picture(self, step: int) -> Frame | None:
        """The real game's picture after so many steps, if there is one."""
        packed = self.moments[step - 1].real if step else self.first_real
        return None if packed is None else unpack(packed, self.shape)

    def scores(self, step: int) -> tuple[float, float]:
        """Score after so many steps, the world's and the real game's."""
        return (self.moments[step - 1].score, self.moments[step - 1].real_score) if step else (0.0, 0.0)

    def nearest(self, step: int) -> tuple[int, Saved]:
        """The last state that is kept of this step or one before it, and its step."""
        at = max(kept for kept in self.states if kept <= step)
        return at, self.states[at]

    def fork(self, number: int, step: int) -> "Branch":
        """A branch that leaves this one after so many steps."""
        return Branch(number, self.seed, self.start, self.first, self.first_real, self.shape, self.number, step,
                      self.moments[:step], {at: state for at, state in self.states.items() if at <= step},
                      self.recorded and {**self.recorded, "step": min(step, self.recorded["step"])})


class Timeline:
    """All branches of a session. Pictures are kept of every step, states of every `every`th, or fewer.

    Args:
        every: steps from one state that is kept to the next.
        memory: bytes that states and pictures may take; above it every second of the older states is let go, and whole
            branches when that is not enough. A step without a state is simulated again from the state before it, which
            takes longer the fewer there are.
    """

    def __init__(self, every: int = 15, memory: float = 4e8) -> None:
        self.every, self.memory = every, memory
        self.branches: list[Branch] = []
        """those that are kept, by number"""
        self._played: Branch | None = None
        self._next = 1  # number of the branch to come

    @property
    def branch(self) -> Branch:
        """The branch that is played."""
        if self._played is None:
            raise RuntimeError("nothing has begun: call begin first")
        return self._played

    def begin(self, seed: int, start: dict[str, Any], first: Frame, state: Saved, real: Frame | None = None) -> Branch:
        """An episode begins, which becomes the branch that is played."""
        new = Branch(self._next, seed, start, pack(first), None if real is None else pack(real),
                     first.shape, states={0: state})
        return self._add(new)

    def adopt(self, branch: Branch) -> Branch:
        """A branch from elsewhere, a saved one say, becomes the one that is played."""
        branch.number, branch.parent, branch.left_at = self._next, None, 0
        return self._add(branch)

    def add(self, moment: Moment, state: Saved | None) -> None:
        """A step was made; `state` is what is kept of it, if anything is."""
        branch = self.branch
        branch.moments.append(moment)
        if state is not None:
            branch.states[len(branch)] = state
            self._thin()

    def keeps(self, step: int) -> bool:
        """Whether a state is to be kept after so many steps."""
        return step % self.every == 0

    def leave(self, step: int) -> Branch:
        """Go on from a step of the branch that is played, which is not its end, as a new branch."""
        return self._add(self.branch.fork(self._next, step))

    def find(self, number: int) -> Branch:
        """The branch of that number.

        Raises:
            IndexError: if there is none, or none any more.
        """
        for branch in self.branches:
            if branch.number == number:
                return branch
        raise IndexError(f"no branch has the number {number}; there are {[branch.number for branch in self.branches]}")

    def after(self) -> Branch:
        """The branch that comes after the one that is played, in turn."""
        return self.branches[(self.branches.index(self.branch) + 1) % len(self.branches)]

    def select(self, number: int) -> Branch:
        """The branch of that number becomes the one that is played.

        Raises:
            IndexError: if there is none.
        """
        self._played = self.find(number)
        return self._played

    def _add(self, branch: Branch) -> Branch:
        self.branches.append(branch)
        self._played, self._next = branch, branch.number + 1
        self._thin()
        return branch

    def _thin(self) -> None:
        """While too much is kept, let go of every second older state, then of whole branches, the oldest first."""
        while self._kept() > self.memory:
            older = list(self._older())
            for branch, steps in older:
                for step in steps[::2]:
                    del branch.states[step]
            if not older:
                oldest = next((branch for branch in self.branches if branch is not self.branch), None)
                if oldest is None:
                    return
                self.branches.remove(oldest)

    def _kept(self) -> int:
        """Bytes of all states, those that branches share counted once, and of all pictures."""
        states = {id(state): state.nbytes for branch in self.branches for state in branch.states.values()}
        pictures = (len(moment.picture) + len(moment.real or b"")
                    for branch in self.branches for moment in branch.moments[branch.left_at :])
        return sum(states.values()) + sum(pictures)

    def _older(self) -> Iterator[tuple[Branch, list[int]]]:
        """Every branch's steps whose states may go: not the first, which all is simulated from, nor the last."""
        for branch in self.branches:
            steps = sorted(branch.states)[1:-1]
            if steps:
                yield branch, steps
