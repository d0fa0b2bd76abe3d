"""Where things are in a picture of Pong, and whether a picture can be one of Pong at all.

Pictures are those of the real game at half size, uint8 [..., 104, 80, 3]. A pixel that an object covers in part is a
mixture of two colours, so each pixel is resolved into shares of background, white and the paddle's colour; sums and
centroids of shares are exact to a fraction of a pixel. Places are in pixels: row r covers r to r + 1, its centre is
r + 0.5.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

FRAME_SHAPE = (104, 80, 3)

_SCORE = slice(1, 11)  # rows
_TOP_WALL, _FIELD, _BOTTOM_WALL = slice(12, 17), slice(17, 97), slice(97, 104)
_OPPONENT, _OWN = slice(8, 10), slice(70, 72)  # columns of the paddles
_PADDLE_ROWS = 8.0
_PADDLE_SHARE = 0.4  # of a row; less of a paddle's colour than this is a wrong colour, not a paddle
_BALL_SHARE = 0.15  # of a pixel; less white than this is a wrong colour, not a ball
_BALL_MASS = 0.4  # pixels of white that make a ball; a whole one has 2
_CHUNK = 256

_BACKGROUND = np.array([144, 72, 17], np.float32)
_WHITE = np.array([236, 236, 236], np.float32)
_GREEN = np.array([92, 186, 92], np.float32)
_ORANGE = np.array([213, 130, 74], np.float32)


def _resolver(paddle: np.ndarray) -> np.ndarray:
    """[3, 2] matrix: colour minus background to (share of white, share of the paddle's colour), least squares."""
    return np.linalg.pinv(np.stack([_WHITE - _BACKGROUND, paddle - _BACKGROUND]))


_GREEN_SHARES, _ORANGE_SHARES = _resolver(_GREEN), _resolver(_ORANGE)


@dataclass(kw_only=True)
class PongObjects:
    """Objects of N pictures; every array is [N], or a scalar array for one picture. Places that do not exist are nan.

    Attributes:
        own_y: row of the right, green paddle's centre, in [13, 101]: a wall may hide part of it.
        opponent_y: row of the left, orange paddle's centre; nan while it is wholly behind a wall.
        ball_x: column of the ball's centre, in [0, 80].
        ball_y: row of the ball's centre, in [17, 97].
        ball: whether there is a ball.
        score: whether both players' digits are there.
    """

    own_y: np.ndarray
    opponent_y: np.ndarray
    ball_x: np.ndarray
    ball_y: np.ndarray
    ball: np.ndarray
    score: np.ndarray

    @classmethod
    def read(cls, frames: np.ndarray) -> "PongObjects":
        """Find the objects.

        Args:
            frames: uint8 [104, 80, 3] or [N, 104, 80, 3].

        Raises:
            ValueError: if frames are of another shape or dtype.
        """
        found = in_chunks(_read_chunk, frames)
        return cls(**{field.name: found[field.name] for field in fields(cls)})


def valid_picture(frames: np.ndarray) -> np.ndarray:
    """Whether pictures can be pictures of Pong: walls, digits, one own paddle, at most one opponent and one ball.

    At least 98.5% of the field must be background (99.4% in the real game), and a paddle must be of one piece and
    not too long. Colours may be off by about 30 of 255. The real game's own rate is 99.9%: its first frame after a
    reset has other colours.

    Args:
        frames: uint8 [104, 80, 3] or [N, 104, 80, 3].

    Returns:
        Bool [N], or a scalar array for one picture.

    Raises:
        ValueError: if frames are of another shape or dtype.
    """
    return in_chunks(_judge_chunk, frames)["valid"]


def in_chunks(read: Callable[[np.ndarray], dict[str, np.ndarray]], frames: np.ndarray) -> dict[str, np.ndarray]:
    """Apply `read` to a few hundred pictures at a time, to bound memory."""
    if frames.dtype != np.uint8 or frames.shape[-3:] != FRAME_SHAPE or frames.ndim not in (3, 4):
        raise ValueError(
            f"Objects are read from uint8 [..., {', '.join(map(str, FRAME_SHAPE))}], "
            f"got {frames.dtype} {list(frames.shape)}"
        )
    batch = frames.reshape(-1, *FRAME_SHAPE)
    parts = [read(batch[i : i + _CHUNK]) for i in range(0, max(len(batch), 1), _CHUNK)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: x.reshape(frames.shape[:-3] + x.shape[1:]) for name, x in found.items()}


def _read_chunk(frames: np.ndarray) -> dict[str, np.ndarray]:
    white, own, opponent = _shares(frames)
    x, y, mass, _, _ = _find_ball(white)
    ball = mass >= _BALL_MASS
    return {
        "own_y": _paddle_centre(own),
        "opponent_y": _paddle_centre(opponent),
        "ball_x": np.where(ball, x, np.nan),
        "ball_y": np.where(ball, y + _FIELD.start, np.nan),
        "ball": ball,
        "score": _has_score(frames),
    }


def _judge_chunk(frames: np.ndarray) -> dict[str, np.ndarray]:
    white, own, opponent = _shares(frames)
    _, _, mass, core, rest = _find_ball(white)
    one_ball_at_most = (core <= 3.5) & (mass - core < _BALL_MASS) & (rest < _BALL_MASS)
    opponent_is_hidden = opponent.max(1) < _PADDLE_SHARE
    paddles = _is_paddle(own) & (_is_paddle(opponent) | opponent_is_hidden)
    background = near(frames[:, _FIELD], _BACKGROUND).mean((1, 2)) > 0.985
    return {"valid": _has_walls(frames) & background & paddles & one_ball_at_most & _has_score(frames)}


def _shares(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares in [0, 1]: white per pixel of the field [N, 80, 80]; own and opponent's paddle per row [N, 80]."""
    colours = frames[:, _FIELD].astype(np.float32) - _BACKGROUND  # [N, 80, 80, 3]
    white = np.clip(colours @ _GREEN_SHARES[:, 0], 0, 1)
    left = np.clip(colours[:, :, _OPPONENT] @ _ORANGE_SHARES, 0, 1)
    right = np.clip(colours[:, :, _OWN] @ _GREEN_SHARES, 0, 1)
    white[:, :, _OPPONENT] = left[..., 0]
    return white, right[..., 1].mean(-1), left[..., 1].mean(-1)


def _find_ball(white: np.ndarray) -> tuple[np.ndarray, ...]:
    """Column and row of the whitest spot of [N, R, C] shares, its mass, that of its middle, of the next; all [N]."""
    white = np.where(white >= _BALL_SHARE, white, 0)
    n = np.arange(len(white))
    row, column, core = _whitest(white)
    padded = np.pad(white, ((0, 0), (2, 2), (2, 2)))
    window = np.arange(5)
    at = (n[:, None, None], row[:, None, None] + window[:, None], column[:, None, None] + window)
    spot = padded[at]  # [N, 5, 5] around the peak
    mass = spot.sum((1, 2))
    safe = np.maximum(mass, 1e-9)
    x = (spot.sum(1) @ window) / safe + column - 1.5
    y = (spot.sum(2) @ window) / safe + row - 1.5
    padded[at] = 0
    _, _, rest = _whitest(padded[:, 2:-2, 2:-2])
    return x, y, mass, core, rest


def _whitest(white: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and sum of the 3 x 3 window with most white."""
    padded = np.pad(white, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    flat = sums.reshape(len(white), white.shape[1] * white.shape[2])
    peak = flat.argmax(1)
    return peak // white.shape[2], peak % white.shape[2], flat[np.arange(len(flat)), peak]


def _paddle_centre(shares: np.ndarray) -> np.ndarray:
    """Row of a paddle's centre from its share per field row [N, 80]; nan where there is none.

    Behind a wall, the visible edge and the paddle's known length give the centre.
    """
    shares = np.where(shares >= _PADDLE_SHARE, shares, 0)
    rows, mass = np.arange(shares.shape[1]) + 0.5, shares.sum(1)
    centre = (shares @ rows) / np.maximum(mass, 1e-9)
    hidden = mass < _PADDLE_ROWS - 0.25
    at_top, at_bottom = hidden & (shares[:, 0] > 0.5), hidden & (shares[:, -1] > 0.5)
    centre = np.where(at_top, mass - _PADDLE_ROWS / 2, centre)
    centre = np.where(at_bottom, shares.shape[1] - mass + _PADDLE_ROWS / 2, centre)
    return np.where(mass > 0, centre + _FIELD.start, np.nan)


def _is_paddle(shares: np.ndarray) -> np.ndarray:
    """Whether shares per field row [N, 80] are those of one piece, full inside and not longer than a paddle.

    Of a paddle behind a wall half a row may be left, which is never full.
    """
    there = np.pad(shares >= _PADDLE_SHARE, ((0, 0), (1, 0)))
    pieces = (there[:, 1:] & ~there[:, :-1]).sum(1)
    rows = there.sum(1)
    nearly_hidden = (rows == 1) & (there[:, 1] | there[:, -1])
    return (pieces == 1) & (rows <= _PADDLE_ROWS + 2) & ((shares.max(1) > 0.75) | nearly_hidden)


def _has_walls(frames: np.ndarray) -> np.ndarray:
    """Bool [N]: at least 97% of the pixels of each wall are white."""
    walls = [near(frames[:, rows], _WHITE).mean((1, 2)) for rows in (_TOP_WALL, _BOTTOM_WALL)]
    return (walls[0] >= 0.97) & (walls[1] >= 0.97)


def _has_score(frames: np.ndarray) -> np.ndarray:
    """Bool [N]: something stands out on both sides above the field, neither too little nor too much for digits."""
    drawn = ~near(frames[:, _SCORE], _BACKGROUND)
    left, right = drawn[:, :, :40].sum((1, 2)), drawn[:, :, 40:].sum((1, 2))
    return (np.minimum(left, right) >= 12) & (np.maximum(left, right) <= 120)


def near(pixels: np.ndarray, colour: np.ndarray, tolerance: int = 30) -> np.ndarray:
    """Whether all three channels of [..., 3] pixels are within `tolerance` of a colour."""
    distance = np.abs(pixels.astype(np.int16) - colour.astype(np.int16))
    return np.asarray((distance <= tolerance).all(-1))
