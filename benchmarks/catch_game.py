"""A small real game for experiments that need many trainings: catch a ball with a paddle, 24 x 24 pixels.

The ball moves by whole pixels and bounces off three walls and the paddle; where it hits the paddle decides how it goes
on. A missed ball costs a point and one of three lives, which are shown, and a new one is served at a random place: the
only thing that chance decides. Everything can be read off the picture exactly.
"""

from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np

SIZE, PADDLE, LIVES = 24, 6, 3
_TOP, _FLOOR = 3, 22
"""first row the ball may touch, row of the paddle"""
_BALL, _OWN, _LIFE, _WALL = (236, 80, 60), (92, 186, 92), (66, 72, 200), (110, 110, 110)


@dataclass
class _State:
    x: int
    y: int
    dx: int
    dy: int
    paddle: int
    lives: int


class CatchGame(gymnasium.Env[np.ndarray, Any]):
    """Observations uint8 [24, 24, 3]; actions stay, left, right by 2 px; reward 1 for a catch, -1 for a miss."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)
        self._state = _State(0, 0, 0, 0, 0, 0)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Serve the first of three balls."""
        super().reset(seed=seed)
        self._state = _State(0, 0, 0, 0, 2 * int(self.np_random.integers(1, (SIZE - PADDLE) // 2)), LIVES)
        self._serve()
        return self.picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move the paddle, then the ball."""
        state, reward = self._state, 0.0
        state.paddle = int(np.clip(state.paddle + (0, -2, 2)[int(action)], 1, SIZE - 1 - PADDLE))
        state.x, state.y = state.x + state.dx, state.y + state.dy
        if state.x < 1 or state.x > SIZE - 3:
            state.x, state.dx = (2 - state.x if state.x < 1 else 2 * (SIZE - 3) - state.x), -state.dx
        if state.y < _TOP:
            state.y, state.dy = 2 * _TOP - state.y, -state.dy
        if state.dy > 0 and state.y + 1 >= _FLOOR:
            reward = self._land()
        return self.picture(), reward, state.lives == 0, False, {}

    def _land(self) -> float:
        state = self._state
        offset = state.x + 1 - state.paddle  # of the ball's middle on the paddle, in 0..PADDLE if it is caught
        if 0 <= offset <= PADDLE:
            state.y, state.dy = _FLOOR - 2, -state.dy
            state.dx = (-2, -1, -1, 1, 1, 2, 2)[offset]
            return 1.0
        state.lives -= 1
        self._serve()
        return -1.0

    def _serve(self) -> None:
        rng = self.np_random
        self._state.x, self._state.y = int(rng.integers(2, SIZE - 4)), _TOP + 1
        self._state.dx, self._state.dy = int(rng.choice([-1, 1])), int(rng.integers(1, 3))

    def picture(self) -> np.ndarray:
        """The picture of the present state, uint8 [24, 24, 3]."""
        state, frame = self._state, np.zeros((SIZE, SIZE, 3), np.uint8)
        frame[2], frame[2:, 0], frame[2:, -1] = _WALL, _WALL, _WALL
        for life in range(state.lives):
            frame[0, 1 + 3 * life : 3 + 3 * life] = _LIFE
        frame[_FLOOR, state.paddle : state.paddle + PADDLE] = _OWN
        frame[state.y : state.y + 2, state.x : state.x + 2] = _BALL
        return frame


@dataclass
class CatchObjects:
    """What N pictures show; arrays [N], nan where there is none."""

    ball_x: np.ndarray
    ball_y: np.ndarray
    paddle: np.ndarray
    lives: np.ndarray
    valid: np.ndarray
    """whether it can be a picture of the game: one ball of 4 pixels, one paddle of 6, whole lives, nothing else"""

    @classmethod
    def read(cls, frames: np.ndarray) -> "CatchObjects":
        """Read pictures uint8 [N, 24, 24, 3]; colours may be off by 60 of 255 per channel."""
        ball, own, life = (_like(frames, colour) for colour in (_BALL, _OWN, _LIFE))
        ball[:, :_TOP], own[:, :_FLOOR], life[:, 1:] = False, False, False
        known = ball | own | life | _like(frames, _WALL) | _like(frames, (0, 0, 0))
        by, bx, count = *_middle(ball), ball.sum((1, 2))
        paddle, width = _middle(own)[1], own.sum((1, 2))
        lives = life[:, 0].sum(1) / 2
        one_ball = (count == 4) & (_extent(ball) == 2).all(0)
        one_paddle = (width == PADDLE) & (_extent(own) == [[1], [PADDLE]]).all(0)
        return cls(bx, by, paddle, lives, one_ball & one_paddle & (lives % 1 == 0) & known.all((1, 2)))


def _like(frames: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((np.abs(frames.astype(np.int16) - colour) <= 60).all(-1))


def _middle(there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean row and column of what is there in [N, H, W]; nan for nothing."""
    mass = np.where(there.any((1, 2)), there.sum((1, 2)), np.nan)
    return (there.sum(2) @ np.arange(SIZE)) / mass, (there.sum(1) @ np.arange(SIZE)) / mass


def _extent(there: np.ndarray) -> np.ndarray:
    """Rows and columns from the first to the last of what is there: [2, N]."""
    spans, hits = [], cast(list[np.ndarray], [there.any(2), there.any(1)])
    for hit in hits:
        spans.append(np.where(hit.any(1), SIZE - hit[:, ::-1].argmax(1) - hit.argmax(1), 0))
    return np.stack(spans)
