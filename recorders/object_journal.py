"""A segment's journal in an object store: numbered objects that are created once and never overwritten."""

import uuid
from collections.abc import Sequence
from typing import Protocol

from .journal import Event, encode_line
from .layout import JOURNAL_FOLDER

BLOCK = 32
"""events in an object, at most: object n holds those from the last multiple of this up to n, so that reading a journal
takes a fraction of as many requests as writing it"""


class Creator(Protocol):
    """Where objects are created."""

    def create(self, name: str, data: bytes) -> None:
        """Write an object that must not be there yet, or that is there with these very bytes."""


class ObjectJournal:
    """Writes event n into object n. Of two writers only one can create a number; the other one gets an error.

    Every line says who wrote it, so that an object that is there already is known to be this writer's own or not.

    Args:
        storage: the collection.
        segment: the segment's name.
        blocks: what is in the journal already.

    Raises:
        BusyError: if somebody else writes it.
    """

    def __init__(self, storage: Creator, segment: str, blocks: Sequence[bytes]) -> None:
        self._storage, self._folder = storage, f"{segment}/{JOURNAL_FOLDER}"
        self._writer = uuid.uuid4().hex
        self._number = sum(block.count(b"\n") for block in blocks)
        self._block = blocks[-1] if blocks else b""
        self.append({"event": "open"})

    def append(self, event: Event, sync: bool = False) -> None:
        """Write one event; it is durable when this returns.

        Raises:
            OSError: if it cannot be written, or nobody knows whether it was; the same event may be tried again.
            BusyError: if somebody else has taken the journal over.
        """
        before = self._block if self._number % BLOCK else b""
        block = before + encode_line({**event, "by": self._writer})
        self._storage.create(event_name(self._folder, self._number), block)
        self._number, self._block = self._number + 1, block

    def close(self) -> None:
        """Nothing to let go of."""


def event_name(folder: str, number: int) -> str:
    """The object that holds event `number` of the journal in `folder`, and those before it in its block."""
    return f"{folder}/{number:08d}.jsonl"


def event_number(name: str) -> int:
    """The number of an event's object; -1 for anything else."""
    stem = name.rpartition("/")[2].removesuffix(".jsonl")
    return int(stem) if stem.isdecimal() else -1
