"""The picture a person sees: a frame enlarged by a whole number, branches and lines of text below it."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .scene import Scene, Track

BACKGROUND = (24, 24, 28)
TEXT = (214, 214, 208)
FAINT = (96, 96, 104)
BRIGHT = (240, 170, 60)
LINES = 6
"""lines of text that fit below the picture"""
TRACKS = 5
"""branches that are shown, the newest and the one that is played"""


class Canvas:
    """Draws scenes with frames of one size; the whole picture keeps its size too.

    Args:
        frame_shape: [H, W, 3] of the frames.
        scale: pixels of the picture per pixel of the frame, at least 1.
    """

    def __init__(self, frame_shape: Sequence[int], scale: int) -> None:
        height, width = int(frame_shape[0]), int(frame_shape[1])
        self.shape = (height, width)
        self.scale = max(1, int(scale))
        self.frame_size = (width * self.scale, height * self.scale)
        self._font_size = min(18, max(9, self.frame_size[0] // 32))
        self._line = round(self._font_size * 1.5)
        self._map = TRACKS * max(2, self._font_size // 4)  # rows that branches take
        self.size = (self.frame_size[0], self.frame_size[1] + self._map + LINES * self._line + self._font_size // 2)

    def draw(self, scene: Scene) -> NDArray[np.uint8]:
        """The picture, uint8 [rows, columns, 3]; `size` is (columns, rows)."""
        large = scene.frame.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        if scene.page:
            large = self._page(large, scene.page)
        return np.concatenate([large, self._tracks(scene.tracks, scene.cursor), self._caption(scene.lines[:LINES])])

    def _page(self, picture: NDArray[np.uint8], page: Sequence[str]) -> NDArray[np.uint8]:
        """Text over a dimmed picture, in two columns where lines in one would be too close."""
        image = Image.fromarray(picture // 4)
        pen, height = ImageDraw.Draw(image), self.frame_size[1] - self._font_size
        columns = 1 if height // len(page) > 0.75 * self._line else 2
        rows = -(-len(page) // columns)
        room = self.frame_size[0] // columns - self._font_size
        spacing = min(self._line, height // rows)
        for place, text in enumerate(page):
            column, row = divmod(place, rows)
            at = (self._font_size // 2 + column * (room + self._font_size // 2), self._font_size // 2 + row * spacing)
            pen.text(at, text, TEXT, _fitting(text, max(6, min(self._font_size, spacing - 2)), room))
        return np.asarray(image)

    def _tracks(self, tracks: Sequence[Track], cursor: int) -> NDArray[np.uint8]:
        """A line per branch from where it leaves to its end, the one that is played bright, and the cursor."""
        picture = np.full((self._map, self.size[0], 3), BACKGROUND, np.uint8)
        shown = [*tracks[-TRACKS:]]
        if shown and not any(track.current for track in shown):
            shown = [*(track for track in tracks if track.current), *shown[1:]]
        longest = max([1, *(track.end for track in shown)])
        high = self._map // TRACKS
        for row, track in enumerate(shown):
            left, right = (round(step / longest * (self.size[0] - 1)) for step in (track.begin, track.end))
            top = row * high
            picture[top : top + max(1, high - 1), left : right + 1] = BRIGHT if track.current else FAINT
            if track.current:
                at = round(min(cursor, longest) / longest * (self.size[0] - 1))
                picture[top : top + high, max(0, at - 1) : at + 2] = TEXT
        return picture

    def _caption(self, lines: Sequence[str]) -> NDArray[np.uint8]:
        picture = np.full((self.size[1] - self.frame_size[1] - self._map, self.size[0], 3), BACKGROUND, np.uint8)
        for row, text in enumerate(lines):
            top = self._font_size // 3 + row * self._line
            picture[top : top + self._line] = _line(text, self.size[0], self._font_size, self._line)
        return picture


@lru_cache(maxsize=32)
def _line(text: str, width: int, font_size: int, height: int) -> NDArray[np.uint8]:
    """A line of text on a background, as large as its width allows, uint8 [height, width, 3]."""
    image = Image.new("RGB", (width, height), BACKGROUND)
    font = _fitting(text, font_size, width - font_size)
    ImageDraw.Draw(image).text((font_size // 2, 0), text, TEXT, font)
    return np.asarray(image)


def _fitting(text: str, size: int, room: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of a size, or of the largest below it with which `text` is no wider than `room`."""
    while size > 6 and _font(size).getlength(text) > room:
        size -= 1
    return _font(size)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
