"""The lines below the picture: speed and latency, score, who plays, what just happened, keys."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

RECENT = 120
"""steps that latencies are shown of"""


@dataclass
class Hud:
    """What the player knows about the running game, as text.

    Attributes:
        title: the world's name.
        target_fps: steps per second that are wanted.
        help: the line that names the keys.
    """

    title: str
    target_fps: float
    help: str
    reward: float = 0.0
    score: float = 0.0
    real_score: float | None = None
    step: int = 0
    seed: int = 0
    status: str = ""
    """what holds now: who plays, passes, recording, pause"""
    message: str = ""
    """what the last command did"""
    guessed: float | None = None
    """share of the steps that had been drawn before they were asked for"""
    dropped: int = 0
    """steps that were due and that a slow world missed"""
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    _step_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _input_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, reward: float, step_ms: float, input_ms: float, now: float) -> None:
        """One step was made: its reward, what it took and keys to picture in milliseconds, and the time in seconds."""
        self.reward = reward
        self._times.append(now)
        self._step_ms.append(step_ms)
        self._input_ms.append(input_ms)

    def idle(self) -> None:
        """No step was made: the speed is measured afresh from the next one."""
        self._times.clear()

    @property
    def fps(self) -> float:
        """Steps per second over the last 60 steps; 0 while unknown."""
        span = self._times[-1] - self._times[0] if self._times else 0.0
        return (len(self._times) - 1) / span if span > 0 else 0.0

    def lines(self) -> tuple[str, ...]:
        """Six lines of text."""
        speed = [f"{self.title}   {self.fps:.1f} of {self.target_fps:.4g} fps"]
        if self.guessed is not None:
            speed.append(f"guessed {100 * self.guessed:.0f}%")
        if self.dropped:
            speed.append(f"{self.dropped} dropped")
        times = f"step {_spread(self._step_ms)}   keys to picture {_spread(self._input_ms)}"
        real = "" if self.real_score is None else f"   real {_points(self.real_score)}"
        score, reward = _points(self.score), _points(self.reward)
        game = f"score {score}{real}   reward {reward}   frame {self.step}   seed {self.seed}"
        return "   ".join(speed), times, game, self.status, self.message, self.help


def _points(value: float) -> str:
    """With its sign, to a hundredth: sums of rewards such as 0.1 are not exact."""
    return f"{round(value, 2):+.12g}"


def _spread(values: deque[float]) -> str:
    """Median and 99th percentile of milliseconds."""
    if not values:
        return "- ms"
    p50, p99 = np.percentile(values, [50, 99])
    return f"p50 {p50:.1f} p99 {p99:.1f} ms"
