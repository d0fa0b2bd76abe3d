"""Ways to play: a person in a window, a script into a film."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recorders import behaviour_for

from .film import Film
from .keymap import action_for, help_line, noop_action
from .player import Choose, Player, PlayReport
from .screen import Inputs
from .tape import RecordingTape
from .world_env import WorldEnv

FILM_COLUMNS = 320
"""about how wide a film is when nobody says"""


def display_problem() -> str | None:
    """Why no window can be opened on this machine, in a few words; None if one can."""
    from .window import display_problem  # pygame is loaded only by those who play

    return display_problem()


def keyboard(env: WorldEnv) -> Choose:
    """Chooses what the held keys ask for, by the keys of the world's card."""
    keys, noop = env.world.card["actions"]["keys"], noop_action(env.world.action_meanings)
    return lambda frame, inputs: action_for(inputs.held, keys, noop)
