"""What the player needs of a screen; a window and a film both have it."""

from dataclasses import dataclass
from typing import Protocol

from .scene import Scene


@dataclass(frozen=True)
class Inputs:
    """What a person did since the last look.

    Attributes:
        held: names of the keys that are down, in the order they went down, e.g. ("up", "space").
        pressed: names of the keys that went down since the last look.
        closed: whether the window was asked to close.
    """

    held: tuple[str, ...] = ()
    pressed: tuple[str, ...] = ()
    closed: bool = False


class Screen(Protocol):
    """Shows frames and says what the person in front of it did."""

    def poll(self) -> Inputs:
        """What happened since the last call."""

    def show(self, scene: Scene) -> None:
        """Show a scene."""

    def fullscreen(self) -> None:
        """Fill the whole display, or be a window again."""

    def tick(self, fps: float) -> None:
        """Wait until it is time for the next frame."""

    def close(self) -> None:
        """Give back what the screen holds."""
