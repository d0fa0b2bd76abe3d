"""The loop between a person, or a script, and a world."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .hud import Hud
from .keymap import command_for, help_line
from .screen import Inputs, Screen
from .world_env import WorldEnv

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
    """What happened: milliseconds per step in order, the score of each episode, and why the player stopped."""

    latencies_ms: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    quit: bool = False

    def percentile_ms(self, percent: float) -> float:
        """The step time that `percent` of the steps stay below, in milliseconds; nan without steps."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else float("nan")


class Player:
    """Plays episodes until it is told to quit or has made enough steps.

    P pauses, N makes one step while paused, R begins a new episode, Esc and Q quit.

    Args:
        env: the world.
        screen: where frames go and keys come from.
        choose: decides the action of every step.
        fps: steps per second at most.
        seed: episode i is reset with seed + i, so that every episode can be repeated by itself.
        tape: records every step, if given.
        restart: begin the next episode at once when one ends, instead of waiting for R.
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
    ) -> None:
        self.env, self.screen, self.choose, self.fps = env, screen, choose, fps
        self.seed, self.tape, self.restart = seed, tape, restart
        self.report = PlayReport()
        self._keys: dict[str, int] = env.world.card["actions"]["keys"]
        self.hud = Hud(env.name, fps, help_line(self._keys))
        self._episode = -1
        self._paused = self._ended = self._single = False
        self._frame: NDArray[np.uint8] = np.zeros(env.world.observation_shape, np.uint8)

    def run(self, steps: int | None = None) -> PlayReport:
        """Play `steps` steps, or until quit."""
        self._begin()
        while steps is None or len(self.report.latencies_ms) < steps:
            before = time.perf_counter()
            inputs, step = self.screen.poll(), None
            self._obey(inputs)
            if self.report.quit:
                break
            if self._ended and self.restart:
                self._begin()
            if self._ended or (self._paused and not self._single):
                self.hud.idle()
            else:
                step = self._step(self.choose(self._frame, inputs))
            self.screen.show(self._frame, self.hud.lines())
            if step is not None and self.tape is not None:
                self.tape.add(step, input_ms=1000 * (time.perf_counter() - before))
            self.screen.tick(self.fps)
        self._finish()
        return self.report

    def _obey(self, inputs: Inputs) -> None:
        self._single = False
        self.report.quit = inputs.closed
        for key in inputs.pressed:
            command = command_for(key, self._keys)
            if command == "quit":
                self.report.quit = True
            elif command == "pause":
                self._paused = not self._paused
            elif command == "step":
                self._single = True
            elif command == "reset":
                self._begin()
        self.hud.status = "game over: R plays again" if self._ended else "paused" if self._paused else ""

    def _begin(self) -> None:
        if self._episode >= 0:
            self._finish()
        self._episode += 1
        seed = self.seed + self._episode
        self._frame, info = self.env.reset(seed=seed)
        self._ended = False
        self.hud.begin()
        if self.tape is not None:
            self.tape.begin(seed, info)

    def _step(self, action: int) -> PlayedStep:
        before = time.perf_counter()
        frame, reward, terminated, _, _ = self.env.step(action)
        now = time.perf_counter()
        latency_ms = 1000 * (now - before)
        self.report.latencies_ms.append(latency_ms)
        self.hud.add(reward, latency_ms, now)
        step = PlayedStep(self._frame, action, reward, terminated, latency_ms)
        self._frame, self._ended = frame, terminated
        return step

    def _finish(self) -> None:
        self.report.scores.append(self.hud.score)
        if self.tape is not None:
            self.tape.end(self._frame)
