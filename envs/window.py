"""A window with a world in it: keys in, pictures out. The only file that knows pygame."""

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame

from .canvas import BACKGROUND, Canvas
from .gamepad import Gamepads
from .scene import Scene
from .screen import Inputs

with contextlib.suppress(ImportError):
    import triton  # noqa: F401  torch loads it for a network; after a window has loaded Mesa's LLVM that would crash

_SILENT_DRIVERS = ("dummy", "offscreen")
_NOTHING = np.zeros((0, 0, 3), np.uint8)


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
        if pygame.display.get_driver() == "x11":  # else SDL draws by OpenGL, which without a GPU takes all cores
            os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        self._scale = scale or max(1, 640 // int(frame_shape[0]))  # that is wanted
        self._canvas = Canvas(frame_shape, self._scale)
        self._size = self._canvas.size  # of the window, in pixels
        self._surface = pygame.display.set_mode(self._size, pygame.RESIZABLE)
        pygame.display.set_caption(title)
        self._clock = pygame.time.Clock()
        self._held: list[str] = []
        self._pads = Gamepads()
        self._shown: tuple[Canvas, bytes, Scene] | None = None

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
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._held.clear()
            elif event.type == pygame.VIDEOEXPOSE:
                self._shown = None  # what lay over the window has taken the picture with it
            elif event.type == pygame.VIDEORESIZE:
                self._size = (event.w, event.h)
                self._fit(self._canvas.shape)
                self._scale = self._canvas.scale
            for key, down in self._keys(event):
                self._held = [held for held in self._held if held != key] + [key] * down
                pressed += [key] * down
        return Inputs(tuple(dict.fromkeys([*self._held, *pressed])), tuple(pressed), closed, self._pads.strengths())

    def show(self, scene: Scene) -> None:
        """Draw a scene. What is on the screen already is not drawn again."""
        if scene.frame.shape[:2] != self._canvas.shape:
            self._grow(scene.frame.shape)
        shown = (self._canvas, scene.frame.tobytes(), replace(scene, frame=_NOTHING))
        if shown == self._shown:
            return
        self._shown = shown
        picture = self._canvas.draw(scene)
        image = pygame.image.frombuffer(picture.tobytes(), self._canvas.size, "RGB")
        self._surface.fill(BACKGROUND)
        self._surface.blit(image, image.get_rect(center=self._surface.get_rect().center))
        pygame.display.flip()

    def fullscreen(self) -> None:
        """Fill the whole display, or be a window again."""
        pygame.display.toggle_fullscreen()
        self._size = pygame.display.get_window_size()
        self._fit(self._canvas.shape)

    def tick(self, fps: float) -> None:
        """Wait until 1/fps seconds have gone since the last call."""
        self._clock.tick(fps)

    def close(self) -> None:
        """Close the window."""
        pygame.joystick.quit()  # so that the next window is told of the gamepads that are there
        pygame.display.quit()

    def _keys(self, event: pygame.event.Event) -> list[tuple[str, bool]]:
        """Keys that an event says went down or up, those of gamepads too."""
        if event.type in (pygame.KEYDOWN, pygame.KEYUP):
            return [(pygame.key.name(event.key), event.type == pygame.KEYDOWN)]
        return self._pads.keys(event)

    def _grow(self, frame_shape: Sequence[int]) -> None:
        """Pictures of another size: the window takes it, as far as the display has room."""
        if not pygame.display.is_fullscreen():
            room = pygame.display.get_desktop_sizes()[0]
            wanted = Canvas(frame_shape, self._scale).size
            self._size = (min(wanted[0], room[0]), min(wanted[1], room[1]))
            self._surface = pygame.display.set_mode(self._size, pygame.RESIZABLE)
        self._fit(frame_shape)

    def _fit(self, frame_shape: Sequence[int]) -> None:
        """Take the largest whole scale whose picture fits into the window; a wide one may have a scale of 1."""
        self._surface = pygame.display.get_surface() or self._surface
        width, height = self._size
        canvas = Canvas(frame_shape, 1)
        while True:
            larger = Canvas(frame_shape, canvas.scale + 1)
            if larger.size[0] > width or larger.size[1] > height:
                break
            canvas = larger
        self._canvas = canvas
        self._shown = None
