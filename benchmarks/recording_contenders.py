"""What `benchmarks.recording` asks of a way to record; a package that is not there is no error."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from .recording_play import Play

Clip = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Frames uint8 [n, H, W, 3], actions [n], rewards [n]."""


class Absent(RuntimeError):
    """A contender cannot run here; the message says why."""


class Writer(Protocol):
    """Records one episode after another."""

    def begin(self) -> None:
        """Start an episode."""

    def add(self, observation: np.ndarray, action: int, reward: float, terminated: bool, truncated: bool) -> None:
        """Record one step; the time of this call is measured."""

    def end(self, final_observation: np.ndarray) -> None:
        """Finish the episode."""

    def close(self) -> None:
        """Finish the recording."""


Reader = Callable[[int, int, int], Clip]
"""Called with episode, first step and number of steps."""


def package(name: str) -> ModuleType:
    """A package that need not be there.

    Raises:
        Absent: if it is not.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"{name} is not installed") from error


@dataclass(frozen=True)
class Contender:
    """One way to record and to read.

    Attributes:
        name: as it is printed.
        write: makes a writer in a folder that does not exist yet.
        read: makes a reader of what the writer left; called in each loader process.
    """

    name: str
    write: Callable[[Path, Play], Writer]
    read: Callable[[Path], Reader]
