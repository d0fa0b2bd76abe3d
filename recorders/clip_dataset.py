"""Random clips of a recording, for training: a map-style dataset that torch's DataLoader takes as it is."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .episode import Episode
from .layout import FRAMES, RecordingError
from .recording import Recording, open_recording
from .training_cache import TrainingCache


class ClipDataset:
    """Item i is a clip drawn from (seed, i) alone: the same whatever the workers, order or batch.

        loader = DataLoader(ClipDataset("data/pong", steps=16, count=100_000), batch_size=32, num_workers=2)

    To go on after item k, make it with `start=k`. Workers read files themselves; nothing is held open, so forking is
    harmless. Only the clients of object stores do not survive it: with those, `multiprocessing_context="spawn"`.

    Args:
        recording: a recording, its path, or a training cache of one.
        steps: actions per clip; it has one observation more.
        count: number of items.
        seed: decides which clips.
        start: number of the first item.
        episodes: from which episodes; all when None. Clips lie within one, equally likely wherever they fit.
        extras: names of extras to deliver as well.

    Raises:
        RecordingError: if no episode is long enough, observations are no pictures, or an extra is not there.
    """

    def __init__(
        self,
        recording: str | Path | Recording | TrainingCache,
        *,
        steps: int,
        count: int,
        seed: int = 0,
        start: int = 0,
        episodes: Sequence[Episode] | None = None,
        extras: Sequence[str] = (),
    ) -> None:
        source = open_recording(recording) if isinstance(recording, str | Path) else recording
        if steps < 1 or count < 0 or start < 0:
            raise RecordingError(f"need steps >= 1, count >= 0 and start >= 0, got {steps}, {count} and {start}")
        self.steps, self.count, self.seed, self.start = steps, count, seed, start
        self._source, self._extras = copy.copy(source), list(extras)  # `refresh` counts the rows of `source` anew
        chosen = source.episodes if episodes is None else episodes
        fitting = [episode for episode in chosen if episode.steps >= steps]
        if not fitting:
            raise RecordingError(f"no episode of {source.path} has {steps} steps; the longest of those given has "
                                 f"{max((episode.steps for episode in chosen), default=0)}")  # fmt: skip
        self._starts = np.array([episode.start for episode in fitting])
        self._ends = np.cumsum([episode.steps - steps + 1 for episode in fitting])
        names = ["action", "reward", "terminated", "truncated", *self._extras]
        self._columns = {name: source.extra(name) for name in names}
        if FRAMES not in source.fields:
            raise RecordingError(f"clips are of pictures, {source.path} has {sorted(source.fields)}")

    def __len__(self) -> int:
        return self.count

    def place(self, item: int) -> int:
        """First row of an item's clip."""
        drawn = int(np.random.default_rng([self.seed, self.start + item]).integers(self._ends[-1]))
        episode = int(np.searchsorted(self._ends, drawn, side="right"))
        return int(self._starts[episode]) + drawn - (int(self._ends[episode - 1]) if episode else 0)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """A clip: `frames` uint8 [steps + 1, H, W, 3], and [steps] of `action`, `reward` and so on; `row` of its first.

        Raises:
            IndexError: if there is no such item.
        """
        if not 0 <= item < self.count:
            raise IndexError(f"item {item} asked for, there are {self.count}")
        row = self.place(item)
        columns = {name: column[row : row + self.steps].copy() for name, column in self._columns.items()}
        return {"frames": self._source.frames(row, row + self.steps + 1), **columns, "row": row}
