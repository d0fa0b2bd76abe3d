"""A segment's journal: one checksummed JSON line per event, the only thing that makes steps count.

A line is `<crc32 of the JSON, 8 hex digits> <JSON>`; events are `begin`, `flush` (rows on disk) and `end`.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

NAME = "journal.jsonl"


class Journal:
    """Appends events; a line that could not be written whole is cut off again.

    Args:
        path: the file, created if need be.
        fsync: whether each event is on the disk before `append` returns, also if the power fails.
    """

    def __init__(self, path: Path, fsync: bool = False) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._fsync = fsync

    def append(self, event: dict[str, Any]) -> None:
        """Write one event.

        Raises:
            OSError: if the disk is full or gone; the journal is then as before.
        """
        line = encode_line(event)
        before = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(28, "the disk is full: a journal line could not be written whole")
        except OSError:
            os.ftruncate(self._fd, before)  # never leave half a line in front of later ones
            raise
        if self._fsync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def encode_line(event: dict[str, Any]) -> bytes:
    """One journal line of an event, newline included."""
    text = json.dumps(event, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def read_events(path: Path) -> list[dict[str, Any]]:
    """All whole events in order, up to the first torn or damaged line.

    Args:
        path: the journal; it may be growing while it is read.
    """
    events = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        checksum, _, text = line.partition(b" ")
        try:
            if int(checksum, 16) != zlib.crc32(text):
                break
            events.append(json.loads(text))
        except ValueError:
            break
    return events
