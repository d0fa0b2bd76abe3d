"""Where something new goes: it appears whole or not at all, and what is there is not touched unless asked."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .layout import RecordingError
from .storage import LOCK


@contextmanager
def building(out: Path, overwrite: bool, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """A path to write a file or folder to; it becomes `out` when the block ends, and is removed when it fails.

    Args:
        out: where the result goes.
        overwrite: whether an `out` that exists is replaced.
        is_ours: whether what is at a path may be replaced, e.g. an earlier export of the same kind.

    Raises:
        RecordingError: if `out` exists and may not be replaced, or cannot be written.
    """
    if os.path.lexists(out):
        if not overwrite:
            raise RecordingError(f"{out} exists already: choose another out, or overwrite=true to replace it")
        if not is_ours(out):
            raise RecordingError(f"{out} holds something else and is left alone: choose another place")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent.resolve()))  # Minari wants it absolute
    except OSError as error:
        raise RecordingError(f"{out} cannot be written: {error}") from None
    try:
        yield scratch / out.name
        if os.path.lexists(out):
            out.rename(scratch / "replaced")
        (scratch / out.name).rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def local_path(place: str, what: str) -> Path:
    """The path of a file or folder of this machine.

    Args:
        place: where something is to be written.
        what: what that is, for the message.

    Raises:
        RecordingError: if it is an address.
    """
    if "://" in place:
        raise RecordingError(f"{what} go to a folder of this machine, got {place}: write there, then copy")
    return Path(place)


@contextmanager
def new_recording(path: str) -> Iterator[str]:
    """Where to record what becomes the collection at `path` when the block ends.

    In an object store it is `path` itself, where what was recorded stays when the block fails.

    Raises:
        RecordingError: if something else is there.
    """
    if "://" in path:
        yield path
        return
    with building(Path(path), overwrite=True, is_ours=_is_empty) as it:
        yield str(it)


def _is_empty(path: Path) -> bool:
    """Whether a folder holds nothing, or only what recorders lock a collection with."""
    return path.is_dir() and all(file.name == LOCK for file in path.iterdir())
