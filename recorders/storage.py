"""Where recordings lie: named byte strings in a folder of this machine. Object stores have their own, of one kind."""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from .journal import Journal, JournalFile
from .layout import JOURNAL, BusyError, RecordingError

LOCK = "writers.lock"
T = TypeVar("T")
R = TypeVar("R")


class Storage(Protocol):
    """Named byte strings; names are relative and use "/". Missing ones raise FileNotFoundError, trouble OSError."""

    concurrent: int
    """calls at once that are worth it"""
    locks: bool
    """whether writers are known by locks, which go when they die"""

    @property
    def url(self) -> str:
        """Where this is, for people."""

    def read(self, name: str) -> bytes:
        """All bytes."""

    def read_span(self, name: str, start: int, stop: int) -> bytes:
        """Bytes start to stop."""

    def read_end(self, name: str, count: int) -> tuple[bytes, int]:
        """The last `count` bytes, or all if there are fewer, and the number of all bytes."""

    def size(self, name: str) -> int:
        """Number of bytes."""

    def list(self, folder: str) -> list[str]:
        """Names directly inside a folder, sorted, without the folder's own; [] where there is none."""

    def write(self, name: str, data: bytes, sync: bool = False) -> None:
        """Replace as a whole: a reader, or who comes after a crash, sees the old bytes or the new, never a part."""

    def sync(self, names: Iterable[str]) -> None:
        """Return when these have reached the disk and would survive a power cut."""

    def remove(self, name: str) -> None:
        """Remove a name, or a folder with all in it; nothing happens where there is none."""

    def clean(self, folder: str) -> int:
        """Remove what interrupted writes have left in a folder; returns how many pieces."""

    def lock(self, shared: bool) -> "Lock":
        """Announce a writer of the collection."""

    def journal(self, segment: str, sync: bool, create: bool = True) -> Journal:
        """The journal of a segment for this writer alone; created if need be, or FileNotFoundError."""

    def read_journal(self, segment: str) -> bytes:
        """All that is in a segment's journal."""

    def replace_journal(self, segment: str, data: bytes) -> None:
        """Put these lines in the journal's place, at once."""


class Lock(Protocol):
    """What a writer holds while it writes."""

    def release(self) -> None:
        """Let others write; twice is harmless."""


class LocalStorage:
    """A folder.

    Args:
        root: the folder; it is created by the first write.
    """

    concurrent = 1
    locks = True

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()  # the working folder may change
        self._given = str(root)

    @property
    def url(self) -> str:
        """The folder's path."""
        return self._given

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        with open(f"{self.root}/{name}", "rb", buffering=0) as file:
            return file.read()

    def read_span(self, name: str, start: int, stop: int) -> bytes:
        """Bytes start to stop of a file."""
        with open(f"{self.root}/{name}", "rb", buffering=0) as file:
            return os.pread(file.fileno(), stop - start, start)

    def read_end(self, name: str, count: int) -> tuple[bytes, int]:
        """The last bytes of a file, and its size."""
        with open(f"{self.root}/{name}", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), count, max(size - count, 0)), size

    def size(self, name: str) -> int:
        """Size of a file in bytes."""
        return (self.root / name).stat().st_size

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted."""
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, name: str, data: bytes, sync: bool = False) -> None:
        """Write beside and rename."""
        path = f"{self.root}/{name}"
        building = path + ".tmp"
        try:
            fd = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(building, path)

    def sync(self, names: Iterable[str]) -> None:
        """Sync files, then their folders up to the root's own."""
        files = {self.root / name for name in names}
        folders = {parent for file in files for parent in file.parents if parent.is_relative_to(self.root)}
        for path in [*sorted(files), *sorted(folders, reverse=True)]:
            _sync(path)
        with contextlib.suppress(PermissionError):  # a folder that may only be passed through cannot be synced
            _sync(self.root.parent)

    def remove(self, name: str) -> None:
        """Remove a file or a tree."""
        path = self.root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def clean(self, folder: str) -> int:
        """Remove the `.tmp` files in a folder."""
        left = list((self.root / folder).rglob("*.tmp"))
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def lock(self, shared: bool) -> Lock:
        """Hold the collection's lock file until released, or until this process dies.

        Raises:
            BusyError: if another writer is there and not both are shared.
            RecordingError: if the root is a file.
        """
        if self.root.is_file():
            raise RecordingError(f"{self.root} is a file; a recording needs a folder")
        self.root.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise BusyError(
                f"somebody else is recording into {self.root}: wait until they are done, record elsewhere, "
                "or open every writer with shared=True"
            ) from None
        return _FileLock(fd)

    def journal(self, segment: str, sync: bool, create: bool = True) -> Journal:
        """The segment's journal file, locked.

        Raises:
            BusyError: if its writer is still alive.
            RecordingError: if it is damaged before its last line.
        """
        return JournalFile(self.root / segment / JOURNAL, sync, create)

    def read_journal(self, segment: str) -> bytes:
        """The journal file's bytes."""
        return self.read(f"{segment}/{JOURNAL}")

    def replace_journal(self, segment: str, data: bytes) -> None:
        """Write the journal file anew."""
        self.write(f"{segment}/{JOURNAL}", data, sync=True)


class _FileLock:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # a forked child may hold the file open, and with it the lock
            os.close(self._fd)
        self._fd = -1


def storage_at(path: str | Path) -> Storage:
    """The storage for a path: a folder of this machine, or an object store for a URL such as s3://bucket/runs.

    Raises:
        RecordingError: if the kind of URL is not known, or a pathlib.Path has spoilt it.
    """
    text = str(path)
    if spoilt := re.match(r"(s3a?|gs|az|file):/(?!/)", text):
        raise RecordingError(f"{text} was an address before pathlib took a / from it: give {spoilt[1]}:// as a string")
    if "://" not in text:
        return LocalStorage(text)
    if text.startswith("file://"):
        return LocalStorage(text.removeprefix("file://"))
    from .object_storage import ObjectStorage  # an extra

    return ObjectStorage(text)


def each(storage: Storage, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function's results for all items in order, of several at once where the storage makes one wait."""
    if storage.concurrent == 1 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(storage.concurrent, len(items))) as pool:
        return list(pool.map(function, items))


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
