"""The loop between a person, or a script, and a world."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .hud import Hud
from .keymap import command_for, help_line
from .screen import Inputs, Screen
from .step_queue import StepQueue
from .wish import Wish
from .world_env import WorldEnv

REFRESH = 60
"""looks at the keys per second, and pictures shown, while a person plays"""

PATIENCE = 0.5 / REFRESH
"""seconds that a look waits for a step under way, so that a fast step is seen at once"""

Choose = Callable[[NDArray[np.uint8], Inputs], int]
"""(last frame, what the person did) -> action"""


@dataclass
class PlayedStep:
    """`action` was taken after seeing `frame`, with this outcome, which the world took `latency_ms` for."""

    frame: NDArray[np.uint8]
    action: int
    reward: float
    terminated: bool
    latency_ms: float


class Tape(Protocol):
    """What the player needs of a recorder."""

    def begin(self, seed: int, info: dict[str, Any]) -> None:
        """An episode begins; `info` is what `reset` said."""

    def add(self, step: "PlayedStep", input_ms: float) -> None:
        """A step was played, and its outcome was on the screen so many milliseconds after the keys had been read."""

    def end(self, frame: NDArray[np.uint8]) -> None:
        """The episode is over; `frame` is its last one."""


@dataclass
class PlayReport:
    """What happened.

    Attributes:
        latencies_ms: milliseconds that the world took for each step, in order.
        scores: the score of each episode.
        replaced: actions that gave way to another one, asked for by newer keys, before their step had begun.
        quit: whether the player stopped because it was told to.
    """

    latencies_ms: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    replaced: int = 0
    quit: bool = False

    def percentile_ms(self, percent: float) -> float:
        """The step time that `percent` of the steps stay below, in milliseconds; nan without steps."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else float("nan")


@dataclass
class _Asked:
    """A step that was asked for: its action, and the wish that chose it."""

    action: int
    wish: Wish


@dataclass
class _Made:
    """A step that was made: what was asked for, and what came of it."""

    asked: _Asked
    frame: NDArray[np.uint8]
    reward: float
    terminated: bool
    latency_ms: float


class Player:
    """Plays episodes until it is told to quit or has made enough steps.

    P pauses, N makes one step while paused, R begins a new episode, Esc and Q quit.

    A person plays live: another thread makes the steps, and this one looks at the keys and shows the picture 60 times a
    second however long a step takes. Then

    - the world is asked for a step whenever one is due, `fps` times a second at most: the n-th after another never
      sooner than n/fps seconds after it, less one look. What a slow world misses is not caught up with;
    - one step is under way and at most one more waits for it. Until that one begins it takes the newest keys, and the
      action it had is never made (`PlayReport.replaced` counts those);
    - a key that went down between two steps acts on the next one, however short it was down; if several did that do
      not go together, the last of them;
    - pausing, quitting, a new episode and the end of one drop the step that waits. One that has begun is waited for,
      shown and recorded, so the tape has every step that the world made, in order, with the action it was made with.

    Otherwise, for scripts, every look at the screen makes one step and waits for it, so that what happens depends on
    the inputs alone.

    Args:
        env: the world.
        screen: where frames go and keys come from.
        choose: decides the action of every step, or of every look while a step waits.
        fps: steps per second at most.
        seed: episode i is reset with seed + i, so that every episode can be repeated by itself.
        tape: records every step, if given.
        restart: begin the next episode at once when one ends, instead of waiting for R.
        live: make steps in another thread, as above.
    """

    def __init__(
        self,
        env: WorldEnv,
        screen: Screen,
        choose: Choose,
        *,
        fps: float,
        seed: int = 0,
        tape: Tape | None = None,
        restart: bool = False,
        live: bool = False,
    ) -> None:
        self.env, self.screen, self.choose, self.fps = env, screen, choose, fps
        self.seed, self.tape, self.restart, self.live = seed, tape, restart, live
        self.report = PlayReport()
        self._keys: dict[str, int] = env.world.card["actions"]["keys"]
        self.hud = Hud(env.name, fps, help_line(self._keys))
        self._episode = -1
        self._paused = self._ended = False
        self._singles = 0  # steps to be made while paused
        self._frame: NDArray[np.uint8] = np.zeros(env.world.observation_shape, np.uint8)
        self._looks = max(REFRESH, fps) if live else fps  # per second
        self._queue = StepQueue(self._make, "latest")
        self._over = False  # whether the episode is over for the thread that makes steps
        self._wish, self._asked = Wish(), _Asked(0, Wish())
        self._due = 0.0  # when the next step may be asked for, in seconds

    def run(self, steps: int | None = None) -> PlayReport:
        """Play `steps` steps, or until quit."""
        with closing(self._queue):
            self._begin()
            self._due = time.perf_counter()
            while steps is None or len(self.report.latencies_ms) < steps:
                inputs = self.screen.poll()
                self._obey(inputs)
                if self.report.quit:
                    break
                if self._ended and self.restart:
                    self._begin()
                asked = self._ask(inputs, time.perf_counter(), steps)
                made = self._made(asked)
                for step in made:
                    self._take(step)
                if not made:
                    self.screen.show(self._frame, self.hud.lines())
                self.screen.tick(self._looks)
            self._finish()
        return self.report

    def _obey(self, inputs: Inputs) -> None:
        self.report.quit = inputs.closed
        for key in inputs.pressed:
            command = command_for(key, self._keys)
            if command == "quit":
                self.report.quit = True
            elif command == "pause":
                self._paused, self._singles = not self._paused, 0
                if self._paused:
                    self._queue.recall()
            elif command == "step":
                self._singles += self._paused
            elif command == "reset":
                self._begin()
        self.hud.status = "game over: R plays again" if self._ended else "paused" if self._paused else ""

    def _begin(self) -> None:
        if self._episode >= 0:
            self._finish()
        self._episode += 1
        seed = self.seed + self._episode
        self._frame, info = self.env.reset(seed=seed)
        self._ended = self._over = False
        self._wish, self._singles = Wish(), 0
        self.hud.begin()
        if self.tape is not None:
            self.tape.begin(seed, info)

    def _ask(self, inputs: Inputs, now: float, steps: int | None) -> _Asked | None:
        """What to ask for at this look: a step that is due, or the one that waits, taken back, with the newest keys."""
        if self._ended or (self._paused and not self._singles):
            self._wish, self._due = Wish(), max(self._due, now)
            self.hud.idle()
            return None
        waiting = self._asked if self._queue.recall() else None
        self._wish = (waiting.wish if waiting else self._wish).then(inputs, now)
        if waiting is None and not self._is_due(now, steps):
            return None
        self._asked, self._wish = _Asked(self.choose(self._frame, self._wish.inputs()), self._wish), Wish()
        if waiting is not None:
            self.report.replaced += waiting.action != self._asked.action
        else:
            self._due = max(self._due, now - 1 / self._looks) + 1 / self.fps  # on time again after one late look
            self._singles -= self._paused
        return self._asked

    def _is_due(self, now: float, steps: int | None) -> bool:
        """Whether it is time for another step, and not too many are under way."""
        if not self.live:
            return True
        enough = steps is not None and len(self.report.latencies_ms) + len(self._queue) >= steps
        if enough or (self._paused and len(self._queue)):
            return False
        return now >= self._due

    def _made(self, asked: _Asked | None) -> list[_Made]:
        """Have a step made; returns those that were made: live, by now, otherwise just that one."""
        if not self.live:
            steps = [] if asked is None else [self._make(asked)]
        else:
            if asked is not None:
                self._queue.submit(asked)
            steps = []
            while len(self._queue):
                try:
                    steps.append(self._queue.wait(0 if steps else PATIENCE))
                except TimeoutError:
                    break
        return [step for step in steps if step is not None]

    def _make(self, asked: _Asked) -> _Made | None:
        """Make a step; None if the one before it has ended the episode. Live, called by the queue's thread."""
        if self._over:
            return None
        before = time.perf_counter()
        frame, reward, self._over, _, _ = self.env.step(asked.action)
        return _Made(asked, frame, reward, self._over, 1000 * (time.perf_counter() - before))

    def _take(self, made: _Made) -> None:
        """Show a step that was made, and record it."""
        step = PlayedStep(self._frame, made.asked.action, made.reward, made.terminated, made.latency_ms)
        self.report.latencies_ms.append(made.latency_ms)
        self.hud.add(made.reward, made.latency_ms, time.perf_counter())
        self._frame, self._ended = made.frame, made.terminated
        self.screen.show(self._frame, self.hud.lines())
        if self.tape is not None:
            self.tape.add(step, input_ms=1000 * (time.perf_counter() - made.asked.wish.read))

    def _finish(self) -> None:
        """Take what is under way, without what has not begun, and end the episode."""
        self._queue.recall()
        while len(self._queue):
            made = self._queue.wait()
            if made is not None:
                self._take(made)
        self.report.scores.append(self.hud.score)
        if self.tape is not None:
            self.tape.end(self._frame)
