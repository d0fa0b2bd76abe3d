"""What the player needs of a screen; a window and a film both have it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .scene import Scene


@dataclass(frozen=True)
class Inputs:
    """What a person did since the last look.

    Attributes:
        held: names of the keys that are down, in the order they went down, e.g. ("up", "space").
        pressed: names of the keys that went down since the last look.
        closed: whether the window was asked to close.
        strengths: how far sticks are pushed, above 0 to 1, by the names of the keys that they are.
    """

    held: tuple[str, ...] = ()
    pressed: tuple[str, ...] = ()
    closed: bool = False
    strengths: Mapping[str, float] = field(default_factory=dict)


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
