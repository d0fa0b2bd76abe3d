"""Reads one segment of a recording: the journal says what counts, chunks come when asked for."""

import json
from typing import Any

import numpy as np

from .chunks import chunk_span, decode, field_of, index_bytes
from .episode import Episode
from .journal import Event, parse_events, whole_bytes
from .journal_index import index_events, journal_tails
from .layout import CAPACITY, DATA, FORMAT, META, SEALED, VERSION, Field, RecordingError
from .storage import Storage, each
from .tail import decode_tail, small_fields


class SegmentReader:
    """One writer's part of a collection. It may be growing, or be sealed while it is read.

    Args:
        storage: the collection.
        name: the segment's.
        salvage: take what a damaged journal says before the damage, instead of refusing it.

    Attributes:
        meta: what was noted for the whole segment.
        rows: rows that count.

    Raises:
        RecordingError: if it is no segment, was written by a newer program, or its metadata make no sense.
        FileNotFoundError: if it has no journal.
    """

    def __init__(self, storage: Storage, name: str, salvage: bool = False) -> None:
        self.storage, self.name, self._salvage = storage, name, salvage
        self.meta: dict[str, Any] = {}
        self._layout: tuple[str, dict[str, Field]] = (DATA, {})  # changes as one, under threads that read
        self._limit = 0
        self._journal: bytes | None = None
        self._final = False
        self._indices: dict[str, tuple[bytes, int]] = {}
        self._tails: list[tuple[int, int, Event]] = []
        self.rows = 0
        self._ends: list[tuple[Event, Event]] = []
        self._open: Event | None = None
        self.refresh()

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.storage.url}/{self.name}" if self.name else self.storage.url

    @property
    def fields(self) -> dict[str, Field]:
        """Its arrays, by name."""
        return self._layout[1]

    @property
    def sealed(self) -> bool:
        """Whether its chunks are joined into shards."""
        return self._layout[0] == SEALED

    @property
    def open_episode(self) -> Event | None:
        """The beginning of an episode that has no end but a whole step."""
        return self._open

    @property
    def recorded_with(self) -> int:
        """Version of the format."""
        return int(self.meta.get("version", 0))

    def refresh(self) -> bool:
        """Read the journal again; returns whether more counts now than before."""
        if self._final:
            return False
        sealed = self.sealed
        journal = self.storage.read_journal(self.name)  # comes last when a segment is made: else there is none yet
        if journal == self._journal:
            self._final = sealed
            return False
        if not self.fields or (not sealed and self._has_seal()):
            self._open_group()
        before = self.rows, len(self._ends)
        if not self._salvage and b"\n" in journal[(end := whole_bytes(journal)) :]:
            raise RecordingError(
                f"the journal of {self.place} is damaged at byte {end} of {len(journal)}: restore it from a copy, or "
                "read what comes before with open_recording(path, salvage=True)"
            )
        try:
            events = parse_events(journal)
            self._ends, self._open, self.rows = index_events(events)
            self._tails = journal_tails(events)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise self._senseless(error) from None
        if not 0 <= self.rows <= self._limit:
            raise RecordingError(f"the journal of {self.place} counts {self.rows} rows, the arrays have {self._limit}")
        self._journal, self._final = journal, sealed
        return (self.rows, len(self._ends)) != before

    def episodes(self, offset: int) -> list[Episode]:
        """The segment's episodes, rows counted from `offset`."""
        events = list(self._ends)
        if self._open is not None:
            events.append((self._open, self._unfinished(self._open)))
        return [Episode.from_events(self, begin, end, offset) for begin, end in events]

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows start to stop of one field, [stop - start, *shape]."""
        out = self.fields[name].zeros(stop - start)
        self.read_into(name, start, stop, out)
        return out

    def read_into(self, name: str, start: int, stop: int, out: np.ndarray) -> None:
        """Fill `out` with rows start to stop of one field."""
        chunk = self.fields[name].chunk
        for index in range(start // chunk, -(-stop // chunk)):
            first = index * chunk
            a, b = max(start, first), min(stop, first + chunk)
            out[a - start : b - start] = self.chunk(name, index)[a - first : b - first]

    def column(self, name: str) -> np.ndarray:
        """All rows of one field. Memory is taken file by file, so that a false count costs nothing."""
        field = self.fields[name]
        chunks, per_file = -(-self.rows // field.chunk), max(field.shard, 1)

        def rows_of(first: int) -> list[np.ndarray]:
            held: dict[str, bytes] = {}
            return [self.chunk(name, index, held) for index in range(first, min(first + per_file, chunks))]

        parts = [rows for file in each(self.storage, rows_of, range(0, chunks, per_file)) for rows in file]
        return np.concatenate(parts)[: self.rows] if parts else field.zeros(0)

    def chunk(self, name: str, index: int, held: dict[str, bytes] | None = None) -> np.ndarray:
        """Rows of one chunk, [chunk, *shape]; read only.

        Args:
            name: the field's.
            index: number of the chunk.
            held: shards that were read as a whole, by name; more are added. None reads only this chunk's part of one.

        Raises:
            RecordingError: if it is missing or damaged, saying which.
        """
        if (rows := self._from_journal(name, index)) is not None:
            return rows
        try:
            data = self._chunk_bytes(name, index, held)
        except FileNotFoundError:
            self._open_group()  # sealed or moved meanwhile?
            try:
                data = self._chunk_bytes(name, index, held)
            except FileNotFoundError:
                where = _chunk_name(self._layout[0], self.fields[name], name, index)
                raise RecordingError(
                    f"{where} is missing: {self.place} is damaged or not copied whole"
                ) from None
        try:
            return decode(self.fields[name], data)
        except ValueError as error:
            raise self._damaged(name, index, error) from None

    def _from_journal(self, name: str, index: int) -> np.ndarray | None:
        """The last, unfilled chunk of a small field while the segment is not sealed; None for any other."""
        small = small_fields(self.fields)
        first = index * (field := self.fields[name]).chunk
        if self.sealed or name not in small or not first < self.rows < first + field.chunk or not self._tails:
            return None
        rows = field.zeros(field.chunk)
        try:
            for start, stop, event in self._tails:
                if stop > first:
                    rows[start - first : stop - first] = decode_tail(event, stop - start, small)[name]
        except (KeyError, TypeError, ValueError) as error:
            raise self._senseless(error) from None
        return rows

    def _senseless(self, error: Exception) -> RecordingError:
        return RecordingError(f"the journal of {self.place} makes no sense ({error!r}); restore it from a copy")

    def _chunk_bytes(self, name: str, index: int, held: dict[str, bytes] | None) -> bytes:
        group, fields = self._layout
        field = fields[name]
        path = f"{self.name}/{_chunk_name(group, field, name, index)}"
        if not field.shard:
            return self.storage.read(path)
        end, size = self._shard_end(path, index_bytes(field.shard), held)
        try:
            if len(end) < index_bytes(field.shard):
                raise ValueError(f"it has {size} bytes, fewer than its index")
            start, stop = chunk_span(end, index % field.shard, size)
        except ValueError as error:
            self._indices.pop(path, None)
            raise self._damaged(name, index, error) from None
        return self.storage.read_span(path, start, stop) if held is None else held[path][start:stop]

    def _shard_end(self, path: str, count: int, held: dict[str, bytes] | None) -> tuple[bytes, int]:
        """A shard's last bytes and its size; kept, for shards never change."""
        if held is not None:
            if path not in held:
                held[path] = self.storage.read(path)
            return held[path][-count:], len(held[path])
        if path not in self._indices:
            self._indices[path] = self.storage.read_end(path, count)
        return self._indices[path]

    def _damaged(self, name: str, index: int, error: Exception) -> RecordingError:
        group, fields = self._layout
        where = f"{self.place}/{_chunk_name(group, fields[name], name, index)}"
        hint = "" if self.sealed else ", or let python -m recorders.repair keep what is whole of an unfinished episode"
        return RecordingError(f"{where} is damaged ({error}); restore it from a copy{hint}")

    def _open_group(self) -> None:
        """Find the group that holds the rows now, and read its metadata; it may be sealed at this very moment."""
        for group in (SEALED, DATA, SEALED):
            try:
                self._load_group(group)
            except FileNotFoundError:
                continue
            except RecordingError:
                if group == DATA and self._has_seal():
                    continue
                raise
            if group == SEALED or not self._has_seal():
                return
        self.storage.read_journal(self.name)  # or was all of it removed meanwhile?
        raise RecordingError(f"{self.place} is not a readable Zarr v3 group: it has neither {SEALED} nor {DATA}")

    def _has_seal(self) -> bool:
        try:
            return self.storage.size(f"{self.name}/{SEALED}/{META}") > 0
        except FileNotFoundError:
            return False

    def _load_group(self, group: str) -> None:
        where = f"{self.place}/{group}"
        try:
            card = json.loads(self.storage.read(f"{self.name}/{group}/{META}"))
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{where}/{META} is not JSON ({error}); restore it from a copy") from None
        meta = _checked_attributes(self.place, card)
        try:
            fields, rows = self._read_fields(group)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise RecordingError(f"{where} has metadata that make no sense ({error}); not read") from None
        if len(set(rows)) != 1 or not 0 <= rows[0] <= CAPACITY:
            found = sorted(set(rows))
            raise RecordingError(f"{where} has arrays of {found} rows: expected one number up to {CAPACITY}")
        self.meta, self._limit, self._layout = meta, rows[0], (group, fields)

    def _read_fields(self, group: str) -> tuple[dict[str, Field], list[int]]:
        place = f"{self.name}/{group}"
        skipped = (META, "meta")
        names = [it for it in self.storage.list(place) if it not in skipped and it[0] != "." and it[-4:] != ".tmp"]
        cards = each(self.storage, lambda name: self.storage.read(f"{place}/{name}/{META}"), names)
        fields, rows = {}, []
        for name, card in zip(names, cards, strict=True):
            fields[name], count = field_of(name, json.loads(card))
            rows.append(count)
        if not {"reward", "terminated", "truncated"} <= fields.keys():
            raise ValueError(f"it has only the arrays {sorted(fields)}")
        return fields, rows

    def _unfinished(self, begin: Event) -> Event:
        """The end that an episode without one is given."""
        start, stop = begin["start"], self.rows
        rewards = self.read("reward", start, stop)[:-1]
        return {"stop": stop, "return": float(rewards.sum()), "meta": {"unfinished": True}}


def _chunk_name(group: str, field: Field, name: str, index: int) -> str:
    return field.chunk_name(group, name, index // max(field.shard, 1))


def _checked_attributes(place: str, card: Any) -> dict[str, Any]:
    meta = card.get("attributes") if isinstance(card, dict) else None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else None
        raise RecordingError(f"{place} is not a {FORMAT}: its format is {found!r}")
    version = meta.get("version", 0)
    if not isinstance(version, int) or version > VERSION:
        raise RecordingError(f"{place} has version {version!r}, this program reads up to {VERSION}; update foreframe")
    return meta
