"""Recordings in object stores: S3 and what speaks like it, Google Cloud Storage, Azure."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .layout import JOURNAL, JOURNAL_FOLDER, BusyError, RecordingError
from .object_journal import BLOCK, ObjectJournal, event_name, event_number
from .storage import each

try:
    import obstore
    from obstore import exceptions as failures
    from obstore.store import from_url
except ImportError as error:
    raise RecordingError(f"object stores need another package ({error}): pip install -e '.[remote]'") from None

if TYPE_CHECKING:
    from obstore.store import RetryConfig

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")
_MISSING = (FileNotFoundError, failures.NotFoundError)
_DENIED = (PermissionError, failures.PermissionDeniedError, failures.UnauthenticatedError)
_RETRY: "RetryConfig" = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2},
}


class ObjectStorage:
    """A prefix in a bucket, configured by the environment: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_REGION and so on.

    A write that has returned is durable and seen by every reader. There are no locks: writers share a collection, each
    with a segment of its own.

    Args:
        url: such as s3://bucket/runs/pong, gs://bucket/runs or az://container/runs.

    Raises:
        RecordingError: if it is no such URL, or the environment does not make sense.
    """

    concurrent = 16
    locks = False

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        if self._url.partition("://")[0] not in SCHEMES:
            raise RecordingError(f"{url} is no object store: expected {'://, '.join(SCHEMES[:3])}:// or a folder")
        try:
            self._store = from_url(self._url, retry_config=_RETRY)
        except failures.BaseError as error:
            raise RecordingError(f"{url} cannot be used: {_reason(error)}") from None
        self._pid = os.getpid()
        self._journals: dict[str, list[bytes]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Only the address travels to other processes."""
        return ObjectStorage, (self._url,)

    @property
    def url(self) -> str:
        """The address."""
        return self._url

    def read(self, name: str) -> bytes:
        """All bytes of an object."""
        with self._explained(name) as key:
            return bytes(obstore.get(self._store, key).bytes())

    def read_span(self, name: str, start: int, stop: int) -> bytes:
        """Bytes start to stop of an object."""
        if start == stop:
            return b""
        with self._explained(name) as key:
            return bytes(obstore.get_range(self._store, key, start=start, end=stop))

    def read_end(self, name: str, count: int) -> tuple[bytes, int]:
        """The last bytes of an object, and the size of all of it, in one request where the store can."""
        with self._explained(name) as key:
            try:
                found = obstore.get(self._store, key, options={"range": {"suffix": count}})
                return bytes(found.bytes()), found.meta["size"]
            except failures.NotSupportedError:  # Azure
                size = self.size(name)
                return self.read_span(name, max(size - count, 0), size), size

    def size(self, name: str) -> int:
        """Size of an object in bytes."""
        with self._explained(name) as key:
            return obstore.head(self._store, key)["size"]

    def list(self, folder: str) -> list[str]:
        """Names directly under a prefix, sorted."""
        with self._explained(folder) as key:
            found = obstore.list_with_delimiter(self._store, key or None)
        paths = [*found["common_prefixes"], *(it["path"] for it in found["objects"])]
        return sorted(path.rpartition("/")[2] for path in paths)

    def write(self, name: str, data: bytes, sync: bool = False) -> None:
        """Replace an object."""
        with self._explained(name) as key:
            obstore.put(self._store, key, data)

    def create(self, name: str, data: bytes) -> None:
        """Write an object that must not be there yet.

        One that is there with these very bytes is taken for the same write, whose answer got lost.

        Raises:
            BusyError: if somebody else has written it; it is left as it is.
        """
        with self._explained(name) as key:
            try:
                obstore.put(self._store, key, data, mode="create")
            except failures.AlreadyExistsError:
                if self.read(name) != data:
                    raise BusyError(f"{self._url}/{key} has been written by somebody else meanwhile") from None

    def sync(self, names: Iterable[str]) -> None:
        """Nothing to do: what has been written is durable."""

    def remove(self, name: str) -> None:
        """Remove an object, and all under it."""
        with self._explained(name) as key:
            with suppress(*_MISSING):
                obstore.delete(self._store, key)
            self._delete(self._under(key))

    def clean(self, folder: str) -> int:
        """Nothing to do: interrupted writes leave no objects."""
        return 0

    def lock(self, shared: bool) -> "_NoLock":
        """Nothing that keeps others out."""
        return _NoLock()

    def journal(self, segment: str, sync: bool, create: bool = True) -> ObjectJournal:
        """A segment's journal; an existing one is taken over, and its writer stops at its next event.

        Raises:
            BusyError: if its writer writes it at this very moment.
            FileNotFoundError: if there is none and none is to be created.
        """
        self._numbered(segment)
        if not create and segment not in self._journals:
            self.size(f"{segment}/{JOURNAL}")  # or there is none
        return ObjectJournal(self, segment, self._journals.get(segment, []))

    def read_journal(self, segment: str) -> bytes:
        """All lines; of what was read before only news are fetched."""
        if segment not in self._journals:
            with suppress(FileNotFoundError):
                return self.read(f"{segment}/{JOURNAL}")
        with suppress(FileNotFoundError):  # replaced while it was read
            self._numbered(segment)
        try:
            data = self.read(f"{segment}/{JOURNAL}")  # comes before the numbered ones go
        except FileNotFoundError:
            if segment not in self._journals:
                raise
            return b"".join(self._journals[segment])
        self._journals.pop(segment, None)
        return data

    def replace_journal(self, segment: str, data: bytes) -> None:
        """Write one object, then remove the numbered ones.

        Those with which the journal was taken over stay: a writer that was thought dead finds its number taken and
        stops.
        """
        with suppress(FileNotFoundError):
            self._numbered(segment)
        lines = b"".join(self._journals.get(segment, [])).splitlines()
        taken = {n for n, line in enumerate(lines) if n and b'"event":"open"' in line}
        self.write(f"{segment}/{JOURNAL}", data)
        self._journals.pop(segment, None)
        names = self._under(f"{segment}/{JOURNAL_FOLDER}")
        self._delete([name for name in names if event_number(name) not in taken])

    def _numbered(self, segment: str) -> None:
        """Bring the known blocks of a segment's journal up to date, as far as there is no gap."""
        blocks = self._journals.get(segment, [])
        first = max(len(blocks) - 1, 0) * BLOCK
        known = first + blocks[-1].count(b"\n") if blocks else 0
        folder = f"{segment}/{JOURNAL_FOLDER}"
        after = event_name(folder, known - 1) if known else None
        there = {event_number(name) for name in self._under(folder, after)}
        stop = known
        while stop in there:
            stop += 1
        if stop > known:
            lasts = [min(start + BLOCK, stop) - 1 for start in range(first, stop, BLOCK)]
            news = each(self, lambda last: self.read(event_name(folder, last)), lasts)
            self._journals[segment] = [*blocks[:-1], *news]

    def _under(self, folder: str, after: str | None = None) -> Iterator[str]:
        """Names of all objects under a prefix, in order, from behind one on."""
        with self._explained(folder) as key:
            offset = after.strip("/") if after else None
            for page in obstore.list(self._store, key or None, offset=offset):
                yield from (it["path"] for it in page)

    def _delete(self, names: Iterable[str]) -> None:
        paths = list(names)
        if paths:
            with self._explained(paths[0]), suppress(*_MISSING):
                obstore.delete(self._store, paths)

    @contextmanager
    def _explained(self, name: str) -> Iterator[str]:
        """The key of a name, for work whose failures become Python's own errors with one clear line."""
        if os.getpid() != self._pid:
            raise OSError(
                f"{self._url} was opened before this process was forked, which its client does not survive: open it "
                "here, or start processes by spawn, e.g. DataLoader(..., multiprocessing_context='spawn')"
            )
        key = name.strip("/")
        try:
            yield key
        except _MISSING as error:
            if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                raise OSError(_reason(error)) from None
            raise FileNotFoundError(f"{self._url}/{key} is not there") from None
        except (*_DENIED, failures.BaseError) as error:
            if isinstance(error, _DENIED) or "403 Forbidden" in str(error):  # lists say so in words only
                raise PermissionError(f"access was denied to {key or 'the list'}, {_reason(error)}") from None
            raise OSError(f"{key or 'the list'}, {_reason(error)}") from None


class _NoLock:
    def release(self) -> None:
        pass


def _reason(error: Exception) -> str:
    """What went wrong, out of obstore's pages of details."""
    text = str(error)
    if said := re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", text):
        return f"{said[1]}, {said[2]}"
    line = text.partition("\n")[0].rpartition(" - ")[2]
    where = re.search(r"https?://[^/\s]+", text)
    cause = re.findall(r'message: "(.*?)"', text)
    return " ".join([line, *([f"to {where[0]}"] if where else []), *([f"({cause[-1]})"] if cause else [])])
