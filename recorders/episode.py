"""One episode of a recording: where its rows are, and what is known of it as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import notes
from .journal import Event
from .layout import RecordingError

if TYPE_CHECKING:
    from .segment_reader import SegmentReader


@dataclass(kw_only=True)
class Episode:
    """One episode.

    Attributes:
        id: name of its segment and its number there; stays the same whatever else is recorded.
        segment: name of the segment.
        start: first row of the whole recording that belongs to it.
        stop: row after its last one; it has `stop - start` observations and one action fewer.
        seed: what the environment was reset with, if known.
        return_: sum of its rewards.
        meta: what was noted, e.g. a world's hash.
        unfinished: whether recording broke off.
        terminated: whether its last action ended it.
        truncated: whether it was cut by the environment after its last action.
        begun: Unix time in seconds, if known.
        first: its first row in its segment.
    """

    id: str
    segment: str
    start: int
    stop: int
    seed: int | None
    return_: float
    meta: dict[str, Any] = field(default_factory=dict)
    unfinished: bool = False
    terminated: bool = False
    truncated: bool = False
    begun: float | None = None
    first: int = 0
    _reader: "SegmentReader | None" = field(default=None, repr=False, compare=False)
    _arrays: str | None = field(default=None, repr=False)
    _options: Any = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        """Number of actions."""
        return self.stop - self.start - 1

    @property
    def number(self) -> int:
        """Its number in its segment."""
        return int(self.id.rpartition("/")[2])

    def arrays(self) -> dict[str, np.ndarray]:
        """The numpy arrays that were recorded with the episode; empty if there are none.

        Raises:
            RecordingError: if they are damaged or missing.
        """
        if self._arrays is None or self._reader is None:
            return {}
        reader, name = self._reader, notes.check_arrays_name(self._arrays)
        try:
            data = reader.storage.read(f"{reader.name}/{name}")
        except FileNotFoundError:
            raise RecordingError(f"{name} is missing: {reader.place} is damaged or not copied whole") from None
        return notes.unpack(f"{reader.place}/{name}", data)

    def options(self) -> dict[str, Any] | None:
        """What the environment was reset with besides the seed, numpy arrays included.

        Raises:
            RecordingError: if its arrays are damaged.
        """
        options = self._options
        return notes.join(options, self.arrays()) if notes.references(options) else options

    @staticmethod
    def from_events(reader: "SegmentReader", begin: Event, end: Event, offset: int) -> "Episode":
        """An episode as the journal has it."""
        meta: dict[str, Any] = {**_mapping(begin.get("meta")), **_mapping(end.get("meta"))}
        unfinished = bool(meta.pop("unfinished", False))
        options = begin.get("options", meta.pop("options", None))
        return Episode(
            id=f"{reader.name}/{begin['episode']}",
            segment=reader.name,
            start=begin["start"] + offset,
            stop=end["stop"] + offset,
            seed=begin.get("seed"),
            return_=float(end["return"]),
            meta=meta,
            unfinished=unfinished,
            terminated=bool(end.get("terminated", False)),
            truncated=bool(end.get("truncated", False)),
            begun=begin.get("time"),
            first=begin["start"],
            _reader=reader,
            _arrays=begin.get("arrays"),
            _options=options,
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
