"""The picture a person sees: a frame enlarged by a whole number, with lines of text below it."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (24, 24, 28)
TEXT = (214, 214, 208)
LINES = 3
"""lines of text that fit below the picture"""


class Canvas:
    """Draws frames of one size; the whole picture keeps its size too.

    Args:
        frame_shape: [H, W, 3] of the frames.
        scale: pixels of the picture per pixel of the frame, at least 1.
    """

    def __init__(self, frame_shape: Sequence[int], scale: int) -> None:
        height, width = int(frame_shape[0]), int(frame_shape[1])
        self.scale = max(1, int(scale))
        self.frame_size = (width * self.scale, height * self.scale)
        self._font_size = min(18, max(9, self.frame_size[0] // 32))
        self._line = round(self._font_size * 1.5)
        self.size = (self.frame_size[0], self.frame_size[1] + LINES * self._line + self._font_size // 2)

    def draw(self, frame: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
        """The picture, uint8 [rows, columns, 3]; `size` is (columns, rows).

        Args:
            frame: uint8 [H, W, 3].
            lines: up to three lines of text.
        """
        large = frame.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        return np.concatenate([large, self._caption(tuple(lines[:LINES]))])

    def _caption(self, lines: tuple[str, ...]) -> NDArray[np.uint8]:
        size = (self.size[0], self.size[1] - self.frame_size[1])
        image = Image.new("RGB", size, BACKGROUND)
        pen = ImageDraw.Draw(image)
        for row, text in enumerate(lines):
            pen.text((self._font_size // 2, self._font_size // 3 + row * self._line), text, TEXT, self._font(text))
        return np.asarray(image)

    def _font(self, text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """The usual font, smaller if `text` would run out of the picture."""
        room = self.size[0] - self._font_size
        size = self._font_size
        while size > 6 and _font(size).getlength(text) > room:
            size -= 1
        return _font(size)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
