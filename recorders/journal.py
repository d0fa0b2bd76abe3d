"""A segment's journal: one checksummed JSON line per event, the only thing that makes steps count.

A line is `<crc32 of the JSON, 8 hex digits> <JSON>`; events are `begin`, `flush` (rows that count) and `end`.
"""

import errno
import fcntl
import json
import os
import zlib
from pathlib import Path
from typing import Any, Protocol

from .layout import BusyError, RecordingError

Event = dict[str, Any]


class Journal(Protocol):
    """Takes events."""

    def append(self, event: Event, sync: bool = False) -> None:
        """Write one event, whole or not at all; with `sync` it has reached the disk."""

    def close(self) -> None:
        """Let go; twice is harmless."""


class JournalFile:
    """Appends events to a file; a line that could not be written whole is cut off again.

    The file is locked as long as this is open and its process lives, so that others can see that it is being written.

    Args:
        path: the file, created if need be.
        sync: whether each event reaches the disk before `append` returns.
        create: whether it is made if there is none; otherwise FileNotFoundError.

    Raises:
        BusyError: if another writer has it open.
        RecordingError: if it is damaged before its last line.
    """

    def __init__(self, path: Path, sync: bool = False, create: bool = True) -> None:
        self._sync = sync
        try:
            self._fd = _open_locked(path, create)
        except BlockingIOError:
            raise BusyError(f"{path.parent} is being written by somebody else") from None
        self._end = self._cut_torn_line(path)

    def _cut_torn_line(self, path: Path) -> int:
        """Cut off what a crash has torn; returns the bytes that are left."""
        data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        end = whole_bytes(data)
        if b"\n" in data[end:]:
            self.close()
            raise RecordingError(
                f"{path} is damaged at byte {end} and has more lines after that; nothing was changed: "
                "restore it from a copy"
            )
        if end < len(data):
            os.ftruncate(self._fd, end)
        return end

    def append(self, event: Event, sync: bool = False) -> None:
        """Write one event.

        Raises:
            OSError: if the disk is full or gone; the journal is then as before.
        """
        line = encode_line(event)
        if not os.fstat(self._fd).st_nlink:
            raise OSError(errno.ENOENT, "the journal was removed while it was written")
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, "a journal line could not be written whole")
            if sync or self._sync:
                os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._end)  # never leave half a line in front of later ones
            raise
        self._end += len(line)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # a forked child may hold the file open, and with it the lock
            os.close(self._fd)
        self._fd = -1


def _open_locked(path: Path, create: bool) -> int:
    """Open the file for appending and lock it; a new one appears under its name when it is locked already."""
    new = create and not path.exists()
    building = path.with_name(path.name + ".tmp") if new else path
    fd = os.open(building, os.O_RDWR | os.O_APPEND | (os.O_CREAT if new else 0), 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if new:
            os.rename(building, path)
        if not os.fstat(fd).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "removed by its writer meanwhile", str(path))
    except OSError:
        os.close(fd)
        raise
    return fd


def encode_line(event: Event) -> bytes:
    """One journal line of an event, newline included."""
    text = json.dumps(event, separators=(",", ":"), allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def parse_events(data: bytes) -> list[Event]:
    """All whole events in order, up to the first torn or damaged line."""
    events = []
    for line in data.split(b"\n")[:-1]:
        event = _parse(line)
        if event is None:
            break
        events.append(event)
    return events


def whole_bytes(data: bytes) -> int:
    """Bytes of the whole events at the start of a journal."""
    end = 0
    for line in data.split(b"\n")[:-1]:
        if _parse(line) is None:
            break
        end += len(line) + 1
    return end


def _parse(line: bytes) -> Event | None:
    checksum, _, text = line.partition(b" ")
    try:
        if len(checksum) != 8 or int(checksum, 16) != zlib.crc32(text):
            return None
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
