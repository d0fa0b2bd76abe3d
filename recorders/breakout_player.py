"""A scripted player of Atari's Breakout that reads the picture and keeps the ball in play."""

import numpy as np

FRAME_SHAPE = (104, 80, 3)
"""the frames it reads: rows 1 to 208 of the game's picture at half size"""

FIELD = (slice(46, 93), slice(4, 76))  # below the bricks, above the paddle, between the walls
_PADDLE_ROW = 94
_LEFT, _RIGHT = 4.5, 75.5  # columns between which the ball's centre bounces
_NOW, _LATER = 6.0, 5.5  # columns that a push moves the paddle in its own step, and in the one after it
_AIM = 3.0  # columns by which the paddle's centre shall be off the ball, at most
_PATIENCE = 6  # steps without a ball after which a new one is served
NOOP, FIRE, RIGHT, LEFT = range(4)


class BreakoutPlayer:
    """Moves the paddle to where the ball will come down and returns it with a random part of the paddle.

    A push moves the paddle at once and as far again in the step after it, so the player counts what its last push has
    still to bring. While the ball is among the bricks it waits, and serves when none has been seen for a while.
    """

    def __init__(self) -> None:
        self._ball: tuple[float, float] | None = None
        self._unseen, self._pushed, self._aim = 0, 0, 0.0

    def reset(self, rng: np.random.Generator) -> None:
        """Forget where everything was."""
        self._ball, self._unseen, self._pushed = None, _PATIENCE, 0
        self._aim = float(rng.uniform(-_AIM, _AIM))

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> int:
        """Choose one of Breakout's four actions.

        Args:
            observation: uint8 [104, 80, 3].
            rng: decides where on the paddle the ball is returned, and when it is served.

        Raises:
            ValueError: if the observation has another shape.
        """
        if observation.shape != FRAME_SHAPE:
            raise ValueError(f"BreakoutPlayer reads frames of {list(FRAME_SHAPE)}, got {list(observation.shape)}")
        before, self._ball = self._ball, find_ball(observation)
        self._unseen = 0 if self._ball is not None else self._unseen + 1
        paddle, (target, steps) = find_paddle(observation), self._target(before, rng)
        if self._unseen > _PATIENCE and rng.random() < 0.3:
            self._pushed = 0
            return FIRE
        if paddle is None or target is None:
            self._pushed = 0
            return NOOP
        coming = paddle + _LATER * self._pushed
        moves = _NOW + (_LATER if steps > 1.5 else 0.0)
        self._pushed = min((0, 1, -1), key=lambda push: abs(coming + moves * push - target))
        return {0: NOOP, 1: RIGHT, -1: LEFT}[self._pushed]

    def _target(self, before: tuple[float, float] | None, rng: np.random.Generator) -> tuple[float | None, float]:
        """Column for the paddle's centre, None without a ball, and steps until then.

        That is where the ball comes down, or below it while it rises.
        """
        if self._ball is None:
            return None, 0.0
        column, row = self._ball
        across, down = (column - before[0], row - before[1]) if before is not None else (0.0, 0.0)
        if down <= 0:
            self._aim = float(rng.uniform(-_AIM, _AIM))
            return column, 10.0
        steps = (_PADDLE_ROW - row) / down
        return bounce(column + across * steps) + self._aim, steps


def bounce(column: float) -> float:
    """Fold a straight path back between the walls."""
    span = _RIGHT - _LEFT
    folded = (column - _LEFT) % (2 * span)
    return _LEFT + min(folded, 2 * span - folded)


def find_ball(frame: np.ndarray) -> tuple[float, float] | None:
    """Column and row of the ball's centre in pixels; None while there is none below the bricks.

    Args:
        frame: uint8 [104, 80, 3].
    """
    red = frame[FIELD][..., 0].astype(np.float64)
    rows, columns = np.nonzero(red > 20)
    if len(rows) == 0:
        return None
    weight = red[rows, columns]
    total = weight.sum()
    return float(columns @ weight / total) + 4.5, float(rows @ weight / total) + FIELD[0].start + 0.5


def find_paddle(frame: np.ndarray) -> float | None:
    """Column of the paddle's centre in pixels; of what is seen of it where a wall hides a part.

    Args:
        frame: uint8 [104, 80, 3].
    """
    red = frame[_PADDLE_ROW, FIELD[1], 0].astype(np.float64)
    return float(red @ np.arange(len(red)) / red.sum()) + 4.5 if red.sum() > 200 else None
