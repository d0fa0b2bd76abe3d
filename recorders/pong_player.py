"""A scripted player of Atari's Pong that reads the picture and rallies with the built-in opponent."""

import itertools

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
_STEP = np.array([5.0, 4.0, 2.0])  # rows that a push moves the paddle in the steps after it
_MOVED = np.array([0.0, 5.0, 9.0, 11.0])  # and in all, by steps since
_PLANS = np.array(list(itertools.product([0, -1, 1], repeat=4)))  # [81, 4] pushes of four steps
NOOP, FIRE, UP, DOWN, UP_FIRE, DOWN_FIRE = range(6)


class PongPlayer:
    """Moves the right paddle to where the ball will arrive and returns it with a random part of the paddle.

    The paddle is heavy: a push moves it by 5, 4 and 2 rows in the three steps that follow, and pushes add up. So the
    player first reads from the paddle's latest moves which pushes are still at work, then tries all pushes of the
    next steps and makes the first of those that bring it closest to the target.
    """

    def __init__(self) -> None:
        self._ball: tuple[float, float] | None = None
        self._speed: tuple[float, float] | None = None
        self._paddle: list[float] = []
        self._aim = 0.0

    def reset(self, rng: np.random.Generator) -> None:
        """Forget where everything was."""
        self._ball = self._speed = None
        self._paddle = []
        self._aim = draw_aim(rng)

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
        self._follow(find_ball(observation), rng)
        paddle = find_paddle(observation)
        self._paddle = [] if paddle is None else [*self._paddle[-2:], paddle]
        push = self._push() if self._paddle else 0
        fire = rng.random() < 0.2
        return {0: FIRE if fire else NOOP, -1: UP_FIRE if fire else UP, 1: DOWN_FIRE if fire else DOWN}[push]

    def _follow(self, ball: tuple[float, float] | None, rng: np.random.Generator) -> None:
        """Note the ball's place, and its speed in columns and rows per step."""
        old, self._ball = self._ball, ball
        before, self._speed = self._speed, None
        if ball is not None and old is not None:
            self._speed = (ball[0] - old[0], ball[1] - old[1])
        came = before is not None and before[0] > 0
        if came and (self._speed is None or self._speed[0] <= 0):
            self._aim = draw_aim(rng)  # returned or missed: aim differently next time

    def _push(self) -> int:
        """-1 up, 1 down, 0 none: the first of the pushes that bring the paddle closest to the target in time."""
        target, steps = self._target()
        cost = 0.3 * np.abs(_PLANS).sum(1)
        for n in (steps, steps + 1):  # the ball arrives between these two
            ages = np.clip(np.arange(n, n - _PLANS.shape[1], -1), 0, 3)  # steps since each planned push
            cost = cost + np.abs(self._paddle[-1] + self._coming(n) + _PLANS @ _MOVED[ages] - target)
        return int(_PLANS[cost.argmin(), 0])

    def _target(self) -> tuple[float, int]:
        """Row for the paddle's centre and steps until then: where the ball arrives, or the middle meanwhile."""
        if self._ball is None or self._speed is None or self._speed[0] <= 0:
            return (_TOP + _BOTTOM) / 2, _PLANS.shape[1]
        time = max(_REACH - self._ball[0], 0.0) / self._speed[0]
        steps = int(np.clip(time, 1, _PLANS.shape[1]))
        return bounce(self._ball[1] + time * self._speed[1]) + self._aim, steps

    def _coming(self, steps: int) -> float:
        """Rows that earlier pushes still move the paddle within so many steps."""
        if len(self._paddle) < 3:
            return 0.0
        moves = np.diff(self._paddle)[::-1]  # the latest first
        seen = np.stack([_PLANS[:, :3] @ _STEP, _PLANS[:, 1:4] @ _STEP], 1)
        error = np.abs(seen - moves).sum(1) + 0.1 * np.abs(_PLANS).sum(1)
        latest = _PLANS[error.argmin()]
        ages = np.minimum(np.arange(1, 5) + steps, 3)
        return float(latest @ (_MOVED[ages] - _MOVED[np.minimum(np.arange(1, 5), 3)]))


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


def draw_aim(rng: np.random.Generator) -> float:
    """Rows by which the paddle's centre shall be off the ball: returned near an edge, a ball is fast and steep."""
    return float(rng.choice([-1, 1]) * rng.uniform(2.0, 3.8))
