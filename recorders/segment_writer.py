"""One writer's segment: rows into chunks, chunks into storage, and events into the journal that makes them count."""

import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from .block import Block
from .chunks import encode
from .journal import Event, Journal
from .layout import CAPACITY, DATA, JOURNAL, META, Field, array_card, commit_rows, group_card
from .storage import Storage, each
from .tail import encode_tail, small_fields


class SegmentWriter:
    """Writes one segment; calls come one after another.

    Every call may be repeated after an OSError and goes on where it broke off, so that a full disk costs nothing that
    is still in memory.

    Args:
        storage: the collection.
        fields: the arrays of a row.
        attributes: JSON that holds for the whole segment.
        fsync: "none"; "episode", an ended episode has reached the disk; "flush", every commit has.
    """

    def __init__(self, storage: Storage, fields: dict[str, Field], attributes: Mapping[str, Any], fsync: str) -> None:
        self.storage, self.fields, self.fsync = storage, fields, fsync
        self.name = f"seg-{time.time_ns():x}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.rows = self.committed = 0
        self._step = commit_rows(fields)
        self._buffers = {name: field.zeros(field.chunk) for name, field in fields.items()}
        self._small = small_fields(fields)
        self._dirty: set[str] = set()
        self._safe = 0
        self.journal = self._create(attributes)

    def begin(self, event: Event) -> None:
        """An episode begins at the next row."""
        self.journal.append({"event": "begin", "start": self.rows, **event})

    def put(self, block: Block) -> None:
        """Take a block's rows; commits whenever a chunk is full and at the block's end."""
        while block.taken < block.rows or self.committed < self.rows:
            if block.taken == block.rows or self.committed < self.rows - self.rows % self._step:
                self.commit()
                continue
            take = min(block.rows - block.taken, self._step - self.rows % self._step)
            for name, field in self.fields.items():
                at = self.rows % field.chunk
                self._buffers[name][at : at + take] = block.columns[name][block.taken : block.taken + take]
            self.rows += take
            block.taken += take

    def end(self, event: Event) -> None:
        """The episode is over; everything of it counts when this returns."""
        self.commit()
        if self.fsync != "none":
            self._sync()
        self.journal.append({"event": "end", "stop": self.rows, **event}, sync=self.fsync != "none")
        self._safe = self.rows

    def commit(self) -> None:
        """Bring all rows to storage, then say so in the journal."""
        if self.committed == self.rows:
            return
        for name, field in self.fields.items():
            if name not in self._small or self.rows % field.chunk == 0:
                self._write_chunk(name)
        if self.fsync == "flush":
            self._sync()
        tail = encode_tail({name: self._latest(name) for name in self._small}, self._small)
        self.journal.append({"event": "flush", "rows": self.rows, **tail}, sync=self.fsync == "flush")
        self.committed = self.rows
        if self.fsync == "flush":
            self._safe = self.rows

    def save(self, name: str, data: bytes) -> None:
        """Store what belongs to an episode as a whole, under a name inside the segment."""
        self.storage.write(f"{self.name}/{name}", data, sync=self.fsync != "none")
        if self.fsync != "none":
            self._dirty.add(f"{self.name}/{name}")

    def close(self) -> None:
        """Let go of the journal."""
        self.journal.close()

    def _create(self, attributes: Mapping[str, Any]) -> Journal:
        """Write the metadata, then the journal, with which the segment appears; returns it."""
        group = f"{self.name}/{DATA}"
        cards = {f"{group}/{name}/{META}": array_card(name, field, CAPACITY) for name, field in self.fields.items()}
        cards[f"{group}/{META}"] = group_card(dict(attributes))
        each(self.storage, lambda name: self.storage.write(name, card_bytes(cards[name])), list(cards))
        if self.fsync != "none":
            self.storage.sync(cards)
        journal = self.storage.journal(self.name, False)
        if self.fsync != "none":
            self.storage.sync([f"{self.name}/{JOURNAL}"])
        return journal

    def _latest(self, name: str) -> np.ndarray:
        """Rows of a field that are not committed yet; they lie in one chunk."""
        chunk = self.fields[name].chunk
        first = self.committed - self.committed % chunk
        return self._buffers[name][self.committed - first : self.rows - first]

    def _write_chunk(self, field_name: str) -> None:
        """Write the chunk that holds the latest row, whole or in part; a part is written again later."""
        field, rows = self.fields[field_name], self._buffers[field_name]
        index, filled = (self.rows - 1) // field.chunk, (self.rows - 1) % field.chunk + 1
        rows[filled:] = "" if field.is_text else 0
        name = field.chunk_name(f"{self.name}/{DATA}", field_name, index)
        holds_safe_rows = self.fsync != "none" and index * field.chunk < self._safe
        self.storage.write(name, encode(field, rows), sync=holds_safe_rows)
        if self.fsync != "none":
            self._dirty.add(name)

    def _sync(self) -> None:
        self.storage.sync(self._dirty)
        self._dirty.clear()


def card_bytes(card: Any) -> bytes:
    """Zarr metadata as bytes."""
    return json.dumps(card, indent=1, allow_nan=False).encode()
