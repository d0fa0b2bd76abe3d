"""The lines below the picture: speed, reward, score, keys."""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Hud:
    """What the player knows about the running game, as text.

    Attributes:
        title: the world's name.
        target_fps: frames per second that are wanted.
        help: the line that names the keys.
    """

    title: str
    target_fps: float
    help: str
    step_ms: float = 0.0
    reward: float = 0.0
    score: float = 0.0
    frames: int = 0
    status: str = ""
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=60))

    def begin(self) -> None:
        """A new episode: score and counters start again."""
        self.reward, self.score, self.frames, self.status = 0.0, 0.0, 0, ""

    def add(self, reward: float, step_ms: float, now: float) -> None:
        """One step was made: its reward, what it took in milliseconds, and the time in seconds."""
        self.reward, self.step_ms = reward, step_ms
        self.score += reward
        self.frames += 1
        self._times.append(now)

    def idle(self) -> None:
        """No step was made: the speed is measured afresh from the next one."""
        self._times.clear()

    @property
    def fps(self) -> float:
        """Steps per second over the last 60 steps; 0 while unknown."""
        span = self._times[-1] - self._times[0] if self._times else 0.0
        return (len(self._times) - 1) / span if span > 0 else 0.0

    def lines(self) -> list[str]:
        """Three lines of text."""
        speed = f"{self.title}   {self.fps:.1f} of {self.target_fps:g} fps   step {self.step_ms:.1f} ms"
        game = f"reward {self.reward:+g}   score {self.score:+g}   frame {self.frames}   {self.status}"
        return [speed, game.rstrip(), self.help]
