"""Watches an episode in a window: forwards, backwards, step by step."""

from collections.abc import Callable

import numpy as np

from .layout import RecordingError

HELP = "space pauses, left and right step, up and down change the speed, home goes to the start, Q quits"


class Playhead:
    """Where in an episode one is, and how fast one goes.

    Args:
        length: number of observations, at least 1.
        fps: observations per second.

    Attributes:
        place: number of the observation on show.
        paused: whether it stays there.
        quit: whether to stop watching.
    """

    def __init__(self, length: int, fps: float) -> None:
        self.length, self.fps = length, fps
        self.place = 0
        self.paused = self.quit = False

    def press(self, key: str) -> None:
        """Do what a key means; see `HELP`. Others mean nothing."""
        if key == "space":
            self.paused = not self.paused
        elif key in ("left", "right"):
            self.paused = True
            self._move(1 if key == "right" else -1)
        elif key in ("up", "down"):
            self.fps = min(max(self.fps * (2 if key == "up" else 0.5), 1.0), 960.0)
        elif key == "home":
            self.place = 0
        elif key in ("q", "escape"):
            self.quit = True

    def tick(self) -> None:
        """A moment has passed; at the end it stays."""
        if not self.paused:
            self._move(1)

    def line(self, note: str) -> str:
        """What to write above the picture."""
        state = "paused" if self.paused else f"{self.fps:g} fps"
        return f"{note}  {self.place} of {self.length - 1}  {state}  ({HELP})"

    def _move(self, by: int) -> None:
        self.place = min(max(self.place + by, 0), self.length - 1)


def watch(frames: np.ndarray, head: Playhead, note: Callable[[int], str], scale: int | None = None) -> None:
    """Show frames in a window until it is closed.

    Args:
        frames: uint8 [n, H, W, 3].
        head: where to begin.
        note: what to say of observation i.
        scale: window pixels per frame pixel; about 640 columns when None.

    Raises:
        RecordingError: if no window can be opened here.
    """
    import pygame  # only those who watch need a window

    pygame.display.init()
    height, width = frames.shape[1:3]
    scale = scale or max(1, 640 // width)
    try:
        screen = pygame.display.set_mode((width * scale, height * scale))
    except pygame.error as error:
        raise RecordingError(f"no window can be opened here ({error}): give film=name.gif instead") from None
    clock = pygame.time.Clock()
    while not head.quit:
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                head.quit = True
            elif event.type == pygame.KEYDOWN:
                head.press(pygame.key.name(event.key))
        picture = pygame.image.frombuffer(frames[head.place].tobytes(), (width, height), "RGB")
        screen.blit(pygame.transform.scale(picture, screen.get_size()), (0, 0))
        pygame.display.set_caption(head.line(note(head.place)))
        pygame.display.flip()
        clock.tick(head.fps)
        head.tick()
    pygame.display.quit()
