"""Chooses a world in a window: the shipped ones and those trained here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from world_model import Contexts, WorldError, read_card

from .catalogue import WORLDS, shipped_worlds
from .scene import Scene
from .screen import Screen

DEFAULT = "Pong-v0"
"""what is played when nobody says which"""

LOOKS = 30
"""looks at the keys per second"""


@dataclass(frozen=True)
class Choice:
    """A world that may be played.

    Attributes:
        place: its name or folder, as `WorldEnv` takes it.
        note: what its card says, in a few words.
        picture: uint8 [H, W, 3], what the game looks like.
    """

    place: str
    note: str
    picture: NDArray[np.uint8]


def worlds_here(runs: Path = Path("runs"), shipped: Path = WORLDS) -> list[Choice]:
    """The shipped worlds, `DEFAULT` first, and those in `runs/*/world`; damaged ones are left out."""
    folders = [(name, shipped / name) for name in sorted(shipped_worlds(shipped), key=lambda name: name != DEFAULT)]
    folders += [(str(card.parent), card.parent) for card in sorted(runs.glob("*/world/world.json"))]
    found = []
    for place, folder in folders:
        try:
            card, frames = read_card(folder), Contexts.load(folder / "contexts.zarr").frames
        except (WorldError, OSError, ValueError, KeyError):
            continue
        found.append(Choice(place, f"{card.get('game', {}).get('id', 'its own game')}, {card.get('fps', '?')} fps",
                            frames[0, -1]))
    return found


def pick(screen: Screen, choices: Sequence[Choice]) -> str | None:
    """Let a person choose with the arrow keys and Enter, or by number.

    Returns:
        The chosen world's place; None if they quit.

    Raises:
        ValueError: if there is nothing to choose from.
    """
    if not choices:
        raise ValueError("there is no world to choose from: train one, or pass world=<folder>")
    at = 0
    while True:
        inputs = screen.poll()
        if inputs.closed:
            return None
        for key in inputs.pressed:
            if key in ("escape", "q"):
                return None
            if key in ("return", "space", "pad 0", "pad 7"):
                return choices[at].place
            if key in "123456789" and 1 <= int(key) <= len(choices):
                return choices[int(key) - 1].place
            at = (at + (key in ("down", "s", "tab", "pad down")) - (key in ("up", "w", "pad up"))) % len(choices)
        screen.show(_scene(choices, at))
        screen.tick(LOOKS)


def _scene(choices: Sequence[Choice], at: int) -> Scene:
    page = tuple(f"{'>' if place == at else ' '} {place + 1}  {choice.place}" for place, choice in enumerate(choices))
    help = "up and down choose  Enter plays  Esc quits"
    return Scene(choices[at].picture, ("Which world?", choices[at].place, choices[at].note, help), page)
