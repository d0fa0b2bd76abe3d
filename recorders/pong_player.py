"""A scripted player of Atari's Pong that reads the picture and rallies with the built-in opponent."""

import numpy as np

FRAME_SHAPE = (104, 80, 3)
"""the frames it reads: rows 0 to 207 of the game's picture at half size"""

FIELD = slice(17, 97)  # rows between the walls
_BACKGROUND = np.array([144, 72, 17], np.float32)
_COLOURS = np.array([[236, 236, 236], [92, 186, 92], [213, 130, 74]], np.float32)  # ball, own, other paddle
_UNMIX = np.linalg.inv(_COLOURS - _BACKGROUND)  # colour -> how much of each colour covers the pixel
_OWN = slice(69, 73)  # columns of the own paddle
_REACH = 70.0  # column where the ball meets the paddle
_TOP, _BOTTOM = 18.0, 96.0  # rows between which the ball's centre bounces
_HALF = 4.0  # half of the paddle's height in rows
NOOP, FIRE, UP, DOWN, UP_FIRE, DOWN_FIRE = range(6)


class PongPlayer:
    """Moves the right paddle to where the ball will arrive and returns it with a random part of the paddle.

    The paddle has inertia: one push from rest carries it 11 rows, so it brakes before it arrives.
    """

    def __init__(self) -> None:
        self._ball: tuple[float, float] | None = None
        self._speed: tuple[float, float] | None = None
        self._paddle: float | None = None
        self._offset = 0.0

    def reset(self, rng: np.random.Generator) -> None:
        """Forget where everything was."""
        self._ball = self._speed = self._paddle = None
        self._offset = _draw_offset(rng)

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> int:
        """Choose one of Pong's six actions; fires at random, which changes nothing in play.

        Args:
            observation: uint8 [104, 80, 3].
            rng: decides where on the paddle the ball is returned, and when to fire.

        Raises:
            ValueError: if the observation has another shape.
        """
        if observation.shape != FRAME_SHAPE:
            raise ValueError(f"PongPlayer reads frames of {list(FRAME_SHAPE)}, got {list(observation.shape)}")
        ball, paddle = find_ball(observation), find_paddle(observation)
        self._follow(ball, rng)
        move = self._steer(paddle)
        self._paddle = paddle
        fire = rng.random() < 0.2
        return {0: FIRE if fire else NOOP, -1: UP_FIRE if fire else UP, 1: DOWN_FIRE if fire else DOWN}[move]

    def _follow(self, ball: tuple[float, float] | None, rng: np.random.Generator) -> None:
        """Note the ball's place, and its speed in columns and rows per step."""
        old, self._ball = self._ball, ball
        if ball is None or old is None:
            self._speed = None
            return
        speed = (ball[0] - old[0], ball[1] - old[1])
        if self._speed is not None and self._speed[0] > 0 > speed[0]:
            self._offset = _draw_offset(rng)  # returned: aim differently next time
        self._speed = speed

    def _steer(self, paddle: float | None) -> int:
        """-1 up, 1 down, 0 stay: towards the target, unless the paddle coasts there by itself."""
        if paddle is None:
            return 0
        speed = 0.0 if self._paddle is None else paddle - self._paddle
        rest = paddle + float(np.clip(1.2 * speed, -8.0, 8.0))
        error = self._target() - rest
        return 0 if abs(error) <= 5.5 else int(np.sign(error))

    def _target(self) -> float:
        """Row for the paddle's centre: where the ball arrives, or the middle while it goes away."""
        if self._ball is None or self._speed is None or self._speed[0] <= 0:
            return (_TOP + _BOTTOM) / 2
        steps = max(_REACH - self._ball[0], 0.0) / self._speed[0]
        return bounce(self._ball[1] + steps * self._speed[1]) + self._offset


def bounce(row: float) -> float:
    """Fold a straight path back between the walls."""
    span = _BOTTOM - _TOP
    folded = (row - _TOP) % (2 * span)
    return _TOP + min(folded, 2 * span - folded)


def find_ball(frame: np.ndarray) -> tuple[float, float] | None:
    """Column and row of the ball's centre in pixels, or None when there is no ball.

    Args:
        frame: uint8 [104, 80, 3].
    """
    white = (frame[FIELD] - _BACKGROUND) @ _UNMIX[:, 0]
    rows, columns = np.nonzero(white > 0.2)
    if len(rows) == 0:
        return None
    weight = white[rows, columns]
    total = weight.sum()
    return float(columns @ weight / total) + 0.5, float(rows @ weight / total) + 0.5 + FIELD.start


def find_paddle(frame: np.ndarray) -> float | None:
    """Row of the own paddle's centre in pixels, also where a wall hides part of it; None when there is none.

    Args:
        frame: uint8 [104, 80, 3].
    """
    green = ((frame[FIELD, _OWN] - _BACKGROUND) @ _UNMIX[:, 1]).max(1)
    rows = np.flatnonzero(green > 0.4)
    if len(rows) == 0:
        return None
    top, bottom = rows[0] + FIELD.start, rows[-1] + 1 + FIELD.start
    if top == FIELD.start:
        return float(bottom) - _HALF
    return float(top) + _HALF


def _draw_offset(rng: np.random.Generator) -> float:
    return float(rng.uniform(-4.0, 4.0))
