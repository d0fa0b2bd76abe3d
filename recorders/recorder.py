"""What everything that records can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np


@dataclass
class RecorderStats:
    """What a recorder has done so far.

    Attributes:
        rows: rows taken; an episode of T steps has T + 1.
        committed_rows: rows that survive whatever happens to this process.
        committed_episodes: episodes whose end is committed.
        waits: how often `add` or `end` had to wait because the queue was full.
        waited_s: seconds they waited, in all.
    """

    rows: int = 0
    committed_rows: int = 0
    committed_episodes: int = 0
    waits: int = 0
    waited_s: float = 0.0


class Recorder(Protocol):
    """Takes episodes step by step; each of its lanes holds one open episode at most.

    An episode is `begin`, an `add` for every step, `end` with the last observation: T + 1 observations, T actions.
    """

    @property
    def extras(self) -> list[str]:
        """Names of what `add` takes for every step besides."""

    def begin(self, *, lane: int = 0, seed: int | None = None, options: Mapping[str, Any] | None = None,
              arrays: Mapping[str, np.ndarray] | None = None, **meta: Any) -> str:  # fmt: skip
        """Start an episode; returns its id."""

    def add(self, observation: Any, action: Any, reward: float, terminated: bool, truncated: bool, *, lane: int = 0,
            **extras: Any) -> None:  # fmt: skip
        """Record one step: what was seen, the action taken after seeing it, and what that brought."""

    def end(self, final_observation: Any, *, lane: int = 0, wait: bool = True, **meta: Any) -> None:
        """Finish the episode; with `wait` it is committed when this returns."""

    def flush(self) -> None:
        """Return when every row taken so far is committed."""

    def stats(self) -> RecorderStats:
        """What has been done so far."""

    def close(self) -> None:
        """Commit what is left and let go; an open episode is kept as unfinished."""

    def __enter__(self) -> Self:
        """The recorder itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
