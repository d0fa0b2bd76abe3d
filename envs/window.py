"""A window with a world in it: keys in, pictures out. The only file that knows pygame."""

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
from numpy.typing import NDArray

from .canvas import BACKGROUND, Canvas
from .screen import Inputs

_SILENT_DRIVERS = ("dummy", "offscreen")


def display_problem() -> str | None:
    """Why no window can be opened here, in a few words; None if one can."""
    driver = os.environ.get("SDL_VIDEODRIVER", "")
    if driver in _SILENT_DRIVERS:
        return f"SDL_VIDEODRIVER is {driver}"
    named = driver or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not named:
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    try:
        pygame.display.init()
    except pygame.error as error:
        return str(error)
    driver = pygame.display.get_driver()
    return f"SDL fell back to its {driver} driver" if driver in _SILENT_DRIVERS else None


class Window:
    """A resizable window; the picture grows by whole numbers and stays in the middle.

    Args:
        frame_shape: [H, W, 3] of the frames to come.
        scale: window pixels per frame pixel; None picks the largest that leaves the window under 720 rows.
        title: the window's title.

    Raises:
        pygame.error: if no window can be opened.
    """

    def __init__(self, frame_shape: Sequence[int], scale: int | None = None, title: str = "Foreframe") -> None:
        pygame.display.init()
        self._shape = tuple(frame_shape)
        self._canvas = Canvas(self._shape, scale or max(1, 640 // int(frame_shape[0])))
        self._surface = pygame.display.set_mode(self._canvas.size, pygame.RESIZABLE)
        pygame.display.set_caption(title)
        self._clock = pygame.time.Clock()
        self._held: list[str] = []
        self._shown: tuple[Canvas, bytes, tuple[str, ...]] | None = None

    @property
    def scale(self) -> int:
        """Window pixels per frame pixel."""
        return self._canvas.scale

    def poll(self) -> Inputs:
        """What happened since the last call. A key tapped in between counts as held this once."""
        pressed: list[str] = []
        closed = False
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                closed = True
            elif event.type == pygame.KEYDOWN:
                pressed.append(pygame.key.name(event.key))
                self._held.append(pressed[-1])
            elif event.type == pygame.KEYUP:
                self._held = [key for key in self._held if key != pygame.key.name(event.key)]
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._held.clear()
            elif event.type == pygame.VIDEOEXPOSE:
                self._shown = None  # what lay over the window has taken the picture with it
            elif event.type == pygame.VIDEORESIZE:
                self._fit(event.w, event.h)
        return Inputs(tuple(dict.fromkeys([*self._held, *pressed])), tuple(pressed), closed)

    def show(self, frame: NDArray[np.uint8], lines: Sequence[str]) -> None:
        """Draw `frame`, uint8 [H, W, 3], with text below it. What is on the screen already is not drawn again."""
        shown = (self._canvas, frame.tobytes(), tuple(lines))
        if shown == self._shown:
            return
        self._shown = shown
        picture = self._canvas.draw(frame, lines)
        image = pygame.image.frombuffer(picture.tobytes(), self._canvas.size, "RGB")
        self._surface.fill(BACKGROUND)
        self._surface.blit(image, image.get_rect(center=self._surface.get_rect().center))
        pygame.display.flip()

    def tick(self, fps: float) -> None:
        """Wait until 1/fps seconds have gone since the last call."""
        self._clock.tick(fps)

    def close(self) -> None:
        """Close the window."""
        pygame.display.quit()

    def _fit(self, width: int, height: int) -> None:
        """Take the largest whole scale whose picture fits into width x height."""
        scale = 1
        while True:
            larger = Canvas(self._shape, scale + 1)
            if larger.size[0] > width or larger.size[1] > height:
                break
            scale += 1
        self._canvas = Canvas(self._shape, scale)
        self._surface = pygame.display.get_surface() or self._surface
