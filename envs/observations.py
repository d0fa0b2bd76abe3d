"""What an agent gets to see of a world's pictures: size, colours, number format and how many at once."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

DTYPES = {"uint8": torch.uint8, "float32": torch.float32}
LUMA = (299, 587, 114)
"""thousandths of red, green and blue in grey, ITU-R BT.601, as Pillow and OpenCV take them"""


class Observations:
    """Turns a world's pictures into observations.

    In this order: grey, smaller or larger, uint8 or float32, several at once. Every pixel is the mean of the area of
    the picture that it covers, computed in whole numbers and rounded once (half up), so observations are equal to the
    bit on every device, for every batch size and in every number of threads.

    Args:
        shape: (H, W, 3) of the world's pictures.
        size: (height, width) of observations in pixels; None leaves them as they are.
        grayscale: one channel, [h, w], instead of three, [h, w, 3].
        obs_dtype: "uint8", 0 to 255, or "float32", the same values divided by 255, 0 to 1.
        frame_stack: the last so many pictures, oldest first, along a new first axis; 1 adds no axis.

    Attributes:
        space: of one observation.

    Raises:
        ValueError: if an argument is not one of those; the message says what was expected and what came.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        size: Sequence[int] | None = None,
        grayscale: bool = False,
        obs_dtype: str = "uint8",
        frame_stack: int = 1,
    ) -> None:
        self.size = _checked_size(size)
        if not isinstance(grayscale, bool):
            raise ValueError(f"grayscale must be True or False, got {grayscale!r}")
        if obs_dtype not in DTYPES:
            raise ValueError(f"obs_dtype must be one of {list(DTYPES)}, got {obs_dtype!r}")
        if not _is_count(frame_stack):
            raise ValueError(f"frame_stack must be an integer of at least 1, got {frame_stack!r}")
        self.grayscale, self.obs_dtype, self.frame_stack = grayscale, obs_dtype, int(frame_stack)
        height, width, channels = shape
        self._resized = self.size is not None and self.size != (height, width)
        rows, columns = self.size or (height, width)
        self._areas = (covered_area(height, rows), covered_area(width, columns))
        self._luma = torch.tensor(LUMA, dtype=torch.float64, device="cpu")
        one = (rows, columns) if grayscale else (rows, columns, channels)
        stacked = one if self.frame_stack == 1 else (self.frame_stack, *one)
        high, dtype = (255, np.uint8) if obs_dtype == "uint8" else (1, np.float32)
        self.space = gymnasium.spaces.Box(0, high, stacked, dtype)

    def kwargs(self) -> dict[str, Any]:
        """The arguments that differ from their defaults, as JSON."""
        given = {
            "size": None if self.size is None else list(self.size),
            "grayscale": self.grayscale,
            "obs_dtype": self.obs_dtype,
            "frame_stack": self.frame_stack,
        }
        defaults = {"size": None, "grayscale": False, "obs_dtype": "uint8", "frame_stack": 1}
        return {name: value for name, value in given.items() if value != defaults[name]}

    def of(self, pictures: Tensor) -> Tensor:
        """Observations [B, ...] of the last pictures, uint8 [B, K, H, W, 3] with K >= frame_stack, on any device.

        Returns:
            A new tensor on that device.
        """
        last = pictures[:, -self.frame_stack :] if self.frame_stack > 1 else pictures[:, -1]
        if self.grayscale or self._resized:
            last = self._averaged(last)
        return last.to(torch.float32) / 255 if self.obs_dtype == "float32" else last.clone()

    def _averaged(self, pictures: Tensor) -> Tensor:
        """Grey or resized pictures [..., h, w(, 3)], uint8.

        All sums are whole numbers below 2^53, which float64 holds exactly in whatever order they are added, and no
        quotient is so near to a half that its rounding could be wrong.
        """
        sums, weight = pictures.movedim(-1, -3).double(), 1
        if self.grayscale:
            sums, weight = torch.tensordot(sums, self._luma.to(sums.device), ([-3], [0])), sum(LUMA)
        if self._resized:
            rows, columns = (area.to(sums.device) for area in self._areas)
            sums = rows @ sums @ columns.T
            weight *= rows.shape[1] * columns.shape[1]
        means = (sums / weight + 0.5).floor().to(torch.uint8)
        return means if self.grayscale else means.movedim(-3, -1).contiguous()


def covered_area(length: int, count: int) -> Tensor:
    """How much of each of `length` pixels in a row each of `count` new pixels covers, in parts of 1/count pixel.

    Returns:
        float64 [count, length], whole numbers from 0 to count; each row sums to `length`.
    """
    new, old = (torch.arange(n, device="cpu") for n in (count, length))
    new, old = new[:, None], old[None]
    start = torch.maximum(new * length, old * count)
    stop = torch.minimum((new + 1) * length, (old + 1) * count)
    return (stop - start).clamp(min=0).double()


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1


def _checked_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) else ()
    if len(pair) != 2 or not all(_is_count(value) for value in pair):
        raise ValueError(f"size must be (height, width), both at least 1 pixel, got {size!r}")
    return int(pair[0]), int(pair[1])
