"""What is to be seen: a picture, text, and where in time it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Track:
    """A branch on the map of branches.

    Attributes:
        begin: step at which it leaves another one, or 0.
        end: its last step.
        current: whether it is the one that is played.
    """

    begin: int
    end: int
    current: bool


@dataclass(frozen=True)
class Scene:
    """Everything that is shown at once.

    Attributes:
        frame: uint8 [H, W, 3].
        lines: text below it.
        page: text over it, a line each; the picture is dimmed then.
        tracks: branches, oldest first.
        cursor: step that is shown.
    """

    frame: NDArray[np.uint8]
    lines: tuple[str, ...] = ()
    page: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()
    cursor: int = 0
