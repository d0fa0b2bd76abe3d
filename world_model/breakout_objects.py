"""Where things are in a picture of Breakout, which bricks are left, what the digits say.

Pictures are those of the real game from row 1 on at half size, uint8 [..., 104, 80, 3]: a brick covers 3 x 4 whole
pixels, the ball two, the paddle 2 x 8 (2 x 4 once a ball has reached the top). Places are in pixels: row r covers r to
r + 1, its centre is r + 0.5.
"""

from dataclasses import dataclass, fields

import numpy as np

from .objects import in_chunks, near

ROWS, COLUMNS = 6, 18
"""of bricks"""

_TOP_WALL, _LEFT_WALL, _RIGHT_WALL = (slice(8, 15), slice(0, 80)), (slice(16, 94), slice(0, 4)), (
    slice(15, 94), slice(76, 80))
_FIELD = slice(16, 94), slice(4, 76)  # all that a ball may cross
_BRICKS = slice(28, 46), slice(4, 76)
_PADDLE = slice(94, 96), slice(4, 76)
_GREY = np.array([142, 142, 142])
_RED = np.array([200, 72, 72])
_COLOURS = np.array([_RED, [198, 108, 58], [180, 122, 48], [162, 162, 42], [72, 160, 72], [66, 72, 200]], np.float32)
_SCORE, _LIVES = (18, 26, 34), (50,)  # first columns of digits
_BALL_SHARE, _BALL_MASS = 0.15, 0.4  # of a pixel; pixels of red that make a ball, a whole one has 2
_GLYPHS = ("####.##.##.####", ".#..#..#..#..#.", "###..#####..###", "###..#.##..####", "#.##.####..#..#",
           "####..###..####", "#..#..####.####", "###..#..#..#..#", "####.#####.####", "####.####..#..#")
_DIGITS = np.array([[mark == "#" for mark in glyph] for glyph in _GLYPHS])  # [10, 15], row by row


@dataclass(kw_only=True)
class BreakoutObjects:
    """Objects of N pictures; every array is [N], or a scalar array for one picture. Places that do not exist are nan.

    Attributes:
        paddle_x: column of the paddle's centre, in [4, 80]: the right wall may hide part of it.
        ball_x: column of the ball's centre, in [4, 76].
        ball_y: row of the ball's centre, in [16, 94].
        ball: whether there is a ball.
        wall: bool [N, 6, 18] bricks that are there, the topmost row first.
        bricks: how many.
        score: what the digits say, from 0 to 999; -1 where they are no digits.
        lives: from 0 to 9; -1 where there is no digit.
    """

    paddle_x: np.ndarray
    ball_x: np.ndarray
    ball_y: np.ndarray
    ball: np.ndarray
    wall: np.ndarray
    bricks: np.ndarray
    score: np.ndarray
    lives: np.ndarray

    @classmethod
    def read(cls, frames: np.ndarray) -> "BreakoutObjects":
        """Find the objects.

        Args:
            frames: uint8 [104, 80, 3] or [N, 104, 80, 3].

        Raises:
            ValueError: if frames are of another shape or dtype.
        """
        found = in_chunks(_read_chunk, frames)
        return cls(**{field.name: found[field.name] for field in fields(cls)})


def valid_picture(frames: np.ndarray) -> np.ndarray:
    """Whether pictures can be pictures of Breakout: walls, digits, whole bricks, one paddle, at most one ball.

    At least 97% of each wall must be grey, every brick wholly there or wholly gone, what is left of the field black
    but for 2 pixels of ball. Colours may be off by about 30 of 255.

    Args:
        frames: uint8 [104, 80, 3] or [N, 104, 80, 3].

    Returns:
        Bool [N], or a scalar array for one picture.

    Raises:
        ValueError: if frames are of another shape or dtype.
    """
    return np.asarray(in_chunks(_read_chunk, frames)["valid"])


def _read_chunk(frames: np.ndarray) -> dict[str, np.ndarray]:
    wall, whole = _bricks(frames)
    x, y, mass, elsewhere = _find_ball(_light(frames, wall))
    paddle, one_paddle = _find_paddle(frames)
    ball = mass >= _BALL_MASS
    score, lives = _number(frames, _SCORE), _number(frames, _LIVES)
    walls = np.all([near(frames[(slice(None), *at)], _GREY).mean((1, 2)) >= 0.97
                    for at in (_TOP_WALL, _LEFT_WALL, _RIGHT_WALL)], axis=0)
    return {
        "paddle_x": paddle, "ball_x": np.where(ball, x, np.nan), "ball_y": np.where(ball, y, np.nan), "ball": ball,
        "wall": wall, "bricks": wall.sum((1, 2)), "score": score, "lives": lives,
        "valid": walls & whole & one_paddle & (mass <= 3.5) & (elsewhere < _BALL_MASS) & (score >= 0) & (lives >= 0),
    }  # fmt: skip


def _bricks(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bricks that are there [N, 6, 18], and whether each is wholly there or wholly gone [N]."""
    cells = frames[(slice(None), *_BRICKS)].reshape(-1, ROWS, 3, COLUMNS, 4, 3)
    there = near(cells, _COLOURS[:, None, None, None], 40).mean((2, 4))
    gone = near(cells, np.zeros(3), 40).mean((2, 4))
    return there > 0.5, (np.maximum(there, gone) > 0.7).all((1, 2))  # a ball may cover 3 of 12 pixels


def _light(frames: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """How bright pixels of the field are where no brick is, as a share of the ball's red: [N, 78, 72]."""
    light = frames[(slice(None), *_FIELD)].max(-1).astype(np.float32) / _RED[0]
    top = _BRICKS[0].start - _FIELD[0].start
    bricks = light[:, top : top + 3 * ROWS].reshape(-1, ROWS, 3, COLUMNS, 4)
    bricks *= ~wall[:, :, None, :, None]
    return np.where(light >= _BALL_SHARE, np.minimum(light, 1), 0)


def _find_ball(light: np.ndarray) -> tuple[np.ndarray, ...]:
    """Column and row of the brightest spot, its mass, and all light elsewhere; each [N]."""
    n, rows, columns = light.shape
    padded = np.pad(light, ((0, 0), (2, 2), (2, 2)))
    sums = sum(padded[:, 1 + i : 1 + i + rows, 1 + j : 1 + j + columns] for i in range(3) for j in range(3))
    peak = np.asarray(sums).reshape(n, -1).argmax(1)
    row, column = peak // columns, peak % columns
    window = np.arange(5)
    spot = padded[np.arange(n)[:, None, None], row[:, None, None] + window[:, None], column[:, None, None] + window]
    mass = spot.sum((1, 2))
    safe = np.maximum(mass, 1e-9)
    x = spot.sum(1) @ window / safe + column - 1.5 + _FIELD[1].start
    y = spot.sum(2) @ window / safe + row - 1.5 + _FIELD[0].start
    return x, y, mass, light.sum((1, 2)) - mass


def _find_paddle(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column of the paddle's centre [N], nan without one, and whether there is one and of one piece [N]."""
    pixels = frames[(slice(None), *_PADDLE)].astype(np.float32)
    shares = np.clip(pixels @ _RED / (_RED @ _RED), 0, 1).mean(1)  # [N, 72]
    shares = np.where(shares >= 0.2, shares, 0)
    mass, columns = shares.sum(1), np.arange(shares.shape[1]) + 0.5
    centre = (shares @ columns) / np.maximum(mass, 1e-9)
    hidden = (shares[:, -1] > 0.5) & (mass < 7.5)  # one of 8 pixels: a smaller one would be seen whole
    centre = np.where(hidden, shares.shape[1] - mass + 4, centre)
    there = np.pad(shares > 0, ((0, 0), (1, 0)))
    pieces = (there[:, 1:] & ~there[:, :-1]).sum(1)
    return np.where(mass > 1, centre + _PADDLE[1].start, np.nan), (pieces == 1) & (mass >= 2.5) & (mass <= 9.5)


def _number(frames: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """The number that digits beginning at these columns spell, int [N]; -1 unless all are digits."""
    number, legible = np.zeros(len(frames), int), np.ones(len(frames), bool)
    for left in places:
        cells = frames[:, 2:7, left : left + 6].astype(np.float32).mean(-1).reshape(-1, 5, 3, 2).mean(-1)
        wrong = np.abs(cells.reshape(-1, 1, 15) / _GREY[0] - _DIGITS).max(-1)  # [N, 10]
        number = 10 * number + wrong.argmin(1)
        legible &= wrong.min(1) < 0.45
    return np.where(legible, number, -1)
