"""The segments of a collection: which there are, and whether they go together."""

import contextlib

from .layout import RecordingError, alike, describe, has_journal
from .segment_reader import SegmentReader
from .storage import Storage, each


def segment_names(storage: Storage) -> list[str]:
    """Names of the segments in a collection, in order of recording; [""] where the storage is itself a segment."""
    names = storage.list("")
    if has_journal(names):
        return [""]
    return [name for name in names if name.startswith("seg-") and not name.endswith(".tmp")]


def first_segment(storage: Storage) -> SegmentReader | None:
    """The first segment of a collection that can be read, if there is one."""
    for name in segment_names(storage):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return SegmentReader(storage, name, salvage=True)
    return None


def open_segments(storage: Storage, skip: set[str] | None = None, salvage: bool = False) -> list[SegmentReader]:
    """All segments of a collection that are there, but for some by name; with `salvage`, what is left of each.

    Raises:
        RecordingError: if one is damaged or of a newer version.
    """

    def opened(name: str) -> SegmentReader | None:
        try:
            return SegmentReader(storage, name, salvage)
        except (FileNotFoundError, NotADirectoryError):
            return None  # not there yet, just removed, or a file of somebody else's

    found = each(storage, opened, [name for name in segment_names(storage) if name not in (skip or ())])
    return [segment for segment in found if segment is not None]


def check_alike(path: str, segments: list[SegmentReader]) -> None:
    """Refuse segments of different kinds.

    Raises:
        RecordingError: if their fields differ.
    """
    first = segments[0]
    for segment in segments[1:]:
        if not alike(segment.fields, first.fields):
            raise RecordingError(
                f"in {path}, {segment.name} and {first.name} differ in fields: {describe(segment.fields)} and "
                f"{describe(first.fields)}; keep recordings of different games in different folders"
            )
