"""Learned worlds as Gymnasium environments, and the player that shows them to a person."""

from .catalogue import find_world, shipped_worlds
from .player import PlayOptions, PlayReport, play_scripted, play_window
from .teacher import make_teacher
from .world_env import WorldEnv

__all__ = [
    "PlayOptions",
    "PlayReport",
    "WorldEnv",
    "find_world",
    "make_teacher",
    "play_scripted",
    "play_window",
    "shipped_worlds",
]
