"""The loop between a person, or a script, and a world."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from .bindings import Bindings
from .controls import Controls
from .game import Game
from .hud import Hud
from .keymap import Action
from .pilot import ACTORS, Pilot
from .scene import Scene, Track
from .screen import Inputs, Screen
from .slots import Slots
from .stage import Outcome
from .step_queue import StepQueue
from .views import compose
from .wish import Wish

REFRESH = 60
"""looks at the keys per second, and pictures shown, while a person plays"""

PATIENCE = 0.5 / REFRESH
"""seconds that a look waits for a step under way, so that a fast step is seen at once"""

REWIND = 2.0
"""times the speed of play at which one goes back at first; it doubles with every second, up to eight times as fast"""

QUIETLY = ("pause", "step", "help", "slower", "faster", "quit", "rewind", "forward", "fullscreen")
"""commands that a step under way may go on during"""


@dataclass
class PlayReport:
    """What happened.

    Attributes:
        latencies_ms: milliseconds that the world took for each step, in order.
        inputs_ms: milliseconds from reading the keys to showing the picture, likewise.
        scores: the score of each episode.
        replaced: actions that gave way to another one, asked for by newer keys, before their step had begun.
        dropped: steps that were due and never made because the world was too slow.
        quit: whether the player stopped because it was told to.
        recording: where something was recorded, if anything was.
    """

    latencies_ms: list[float] = field(default_factory=list)
    inputs_ms: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    replaced: int = 0
    dropped: int = 0
    quit: bool = False
    recording: str | None = None

    def percentile_ms(self, percent: float) -> float:
        """The step time that `percent` of the steps stay below, in milliseconds; nan without steps."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else float("nan")


@dataclass
class _Asked:
    """A step that was asked for: its action, the wish that chose it, who plays and how it is drawn."""

    action: Action
    wish: Wish
    actor: int
    passes: int
    condition: int | None = None


@dataclass
class _Made:
    """A step that was made: what was asked for, and what came of it."""

    asked: _Asked
    outcome: Outcome
    latency_ms: float


class Player:
    """Plays episodes until it is told to quit or has made enough steps. `bindings.MEANINGS` says what keys do.

    A person plays live: another thread makes the steps, and this one looks at the keys and shows the picture 60 times a
    second however long a step takes. Then

    - the world is asked for a step whenever one is due, `fps` times a second at most: the n-th after another never
      sooner than n/fps seconds after it, less one look. What a slow world misses is dropped, and counted;
    - one step is under way and at most one more waits for it. Until that one begins it takes the newest keys, and the
      action it had is never made (`PlayReport.replaced` counts those);
    - a key that went down between two steps acts on the next one, however short it was down; if several did that do
      not go together, the last of them;
    - pausing, quitting, a new episode, the end of one and going back in time drop the step that waits. One that has
      begun is waited for, shown and recorded, so a recording has every step that the world made, in order, with the
      action it was made with.

    Otherwise, for scripts, every look at the screen makes one step and waits for it, so that what happens depends on
    the inputs alone.

    Args:
        game: what is played, and recorded.
        screen: where scenes go and keys come from.
        pilots: who may decide the actions, the first at the beginning.
        bindings: what keys do.
        fps: steps per second at most.
        seed: episode i is reset with seed + i, so that every episode can be repeated by itself.
        slots: where games are saved, if they may be.
        restart: begin the next episode at once when one ends, instead of waiting for a key.
        live: make steps in another thread, as above.
    """

    def __init__(self, game: Game, screen: Screen, pilots: Sequence[Pilot], bindings: Bindings, *, fps: float,
                 seed: int = 0, slots: Slots | None = None, restart: bool = False, live: bool = False) -> None:
        self.game, self.screen, self.bindings = game, screen, bindings
        self.controls = Controls(game, pilots, bindings, fps, seed, slots)
        self.restart, self.live = restart, live
        self.report = PlayReport()
        self.hud = Hud(game.stage.env.name, fps, bindings.line())
        self._looks = max(REFRESH, fps) if live else fps  # per second
        self._queue = StepQueue(self._make, "latest")
        self._wish, self._asked = Wish(), _Asked(0, Wish(), 0, 1)
        self._due = 0.0  # when the next step may be asked for, in seconds
        self._late = 0.0  # steps that were missed, in parts of one
        self._back: float | None = None  # when going back in time began

    def run(self, steps: int | None = None) -> PlayReport:
        """Play `steps` steps, or until quit."""
        with closing(self._queue):
            self.controls.begin()
            self._due = time.perf_counter()
            while steps is None or len(self.report.latencies_ms) < steps:
                inputs = self.screen.poll()
                self._obey(inputs)
                if self.controls.quit:
                    break
                if self.game.over and self.restart:
                    self.controls.begin()
                asked = self._ask(inputs, time.perf_counter(), steps)
                made = self._made(asked)
                for step in made:
                    self._take(step)
                if not made:
                    self._show()
                self.screen.tick(self._looks)
            self._finish()
        return self.report

    def _obey(self, inputs: Inputs) -> None:
        self.controls.quit = inputs.closed
        for key in inputs.pressed:
            command = self.bindings.command(key)
            if command is None:
                continue
            if command not in QUIETLY:
                self._settle()
                self._wish = Wish()
            elif command == "pause" and not self.controls.paused:
                self._queue.recall()
            elif command == "fullscreen":
                self.screen.fullscreen()
            self.controls.do(command)
            if command not in QUIETLY:  # what that took was not the world's fault
                self._due = max(self._due, time.perf_counter())
        self._travel(inputs)

    def _travel(self, inputs: Inputs) -> None:
        """Go back in time while the key is held, or forward again; on from there when it is let go."""
        back, forth = (self.bindings.holds(inputs.held, name) for name in ("rewind", "forward"))
        now = time.perf_counter()
        if back or (forth and self.game.cursor is not None):
            if self._back is None:
                self._settle()
                self._back, self._place = now, float(self.game.step)
                self._looked = now
            speed = self.controls.fps * REWIND * min(2 ** (now - self._back), 4)
            self._place += speed * (now - self._looked) * (-1 if back else 1) if self.live else (-1 if back else 1)
            self._place = min(max(self._place, 0.0), float(len(self.game.branch)))
            self._looked = now
            self.game.look(self._place)
        elif self._back is not None:
            self._back = None
            if not self.controls.paused:
                self.controls.do("on")
                self._due = max(self._due, time.perf_counter())

    def _ask(self, inputs: Inputs, now: float, steps: int | None) -> _Asked | None:
        """What to ask for at this look: a step that is due, or the one that waits, taken back, with the newest keys."""
        controls = self.controls
        if self.game.over or self.game.cursor is not None or (controls.paused and not controls.singles):
            self._wish, self._due = Wish(), max(self._due, now)
            self.hud.idle()
            return None
        waiting = self._asked if self._queue.recall() else None
        self._wish = (waiting.wish if waiting else self._wish).then(inputs, now)
        if waiting is None and not self._is_due(now, steps):
            return None
        action = controls.choose(self.game.frame, self._wish.inputs())
        actor = ACTORS.index(controls.playing.name)
        self._asked = _Asked(action, self._wish, actor, controls.passes, controls.condition)
        self._wish = Wish()
        if waiting is not None:
            self.report.replaced += waiting.action != action
        else:
            self._next_due(now)
            controls.singles -= controls.paused
        return self._asked

    def _next_due(self, now: float) -> None:
        """A step is asked for: when the next may be. On time again after one late look; what is later is lost."""
        on_time = max(self._due, now - 1 / self._looks)
        self._late += (on_time - self._due) * self.controls.fps if self.live else 0.0
        self.report.dropped = int(self._late + 1e-6)
        self._due = on_time + 1 / self.controls.fps

    def _is_due(self, now: float, steps: int | None) -> bool:
        """Whether it is time for another step, and not too many are under way."""
        if not self.live:
            return True
        enough = steps is not None and len(self.report.latencies_ms) + len(self._queue) >= steps
        alone = self.controls.paused or self.controls.pilot > 0  # scripts choose by the picture that is
        if enough or (alone and len(self._queue)):
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
        before = time.perf_counter()
        outcome = self.game.make(asked.action, asked.passes, asked.condition)
        return None if outcome is None else _Made(asked, outcome, 1000 * (time.perf_counter() - before))

    def _take(self, made: _Made) -> None:
        """Show a step that was made, and record it."""
        asked, now = made.asked, time.perf_counter()
        self._show(made.outcome)
        input_ms = 1000 * (time.perf_counter() - asked.wish.read)
        self.game.take(asked.action, made.outcome, actor=asked.actor, passes=asked.passes, latency_ms=made.latency_ms,
                       input_ms=input_ms)
        self.report.latencies_ms.append(made.latency_ms)
        self.report.inputs_ms.append(input_ms)
        self.hud.add(made.outcome.reward, made.latency_ms, input_ms, now)
        if self.game.trouble:
            self.controls.message, self.game.trouble = self.game.trouble, ""

    def _settle(self) -> None:
        """Take what is under way, without what has not begun."""
        self._queue.recall()
        while len(self._queue):
            made = self._queue.wait()
            if made is not None:
                self._take(made)

    def _finish(self) -> None:
        self._settle()
        self.game.leave()
        self.report.scores, self.report.quit = list(self.game.scores), self.controls.quit

    def _show(self, outcome: Outcome | None = None) -> None:
        """Show where the game is, or what a step has just led to."""
        game, controls, hud = self.game, self.controls, self.hud
        frame = game.frame if outcome is None else outcome.frame
        real = game.branch.real_picture(game.step) if outcome is None else outcome.real
        score, real_score = game.branch.scores(game.step)
        hud.score, hud.step = score + (outcome.reward if outcome else 0.0), game.step + (outcome is not None)
        hud.real_score = None if real is None else real_score + (outcome.real_reward if outcome else 0.0)
        hud.seed, hud.target_fps, hud.dropped = game.branch.seed, controls.fps, self.report.dropped
        hud.status, hud.message = controls.status(), controls.message
        stats = game.stage.env.stats()
        hud.guessed = stats.hit_rate if stats.hits else None
        page = self.bindings.page(game.stage.env.get_action_meanings()) if controls.help else ()
        branches = game.timeline.branches
        tracks = () if len(branches) < 2 and game.cursor is None else tuple(
            Track(branch.left_at, len(branch), branch is game.branch) for branch in branches)
        self.screen.show(Scene(compose(controls.view, frame, real), hud.lines(), tuple(page), tracks, hud.step))
