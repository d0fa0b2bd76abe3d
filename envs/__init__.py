"""Learned worlds as Gymnasium environments, and the player that shows them to a person."""

from .catalogue import find_world, shipped_worlds
from .picker import DEFAULT
from .player import PlayReport
from .sessions import choose_world, display_problem, play_in_window, play_scripted
from .teacher import make_teacher
from .world_env import WorldEnv
from .world_vector_env import WorldVectorEnv

__all__ = [
    "DEFAULT",
    "PlayReport",
    "WorldEnv",
    "WorldVectorEnv",
    "choose_world",
    "display_problem",
    "find_world",
    "make_teacher",
    "play_in_window",
    "play_scripted",
    "shipped_worlds",
]
