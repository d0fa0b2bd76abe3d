"""A recording unpacked into one file that the system maps into memory: several times faster random clips."""

import json
import os
import zlib
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .destination import local_path
from .episode import Episode
from .layout import Field, RecordingError
from .progress import Progress
from .recording import Recording

_FRAMES, _MANIFEST = "frames.npy", "cache.json"
BLOCK = 1024
"""frames per checksum"""


class TrainingCache:
    """Frames of a recording in a memory-mapped file; everything else comes from the recording.

        cache = TrainingCache.build(open_recording("data/pong"), "cache/pong")

    Args:
        recording: what it was built from.
        folder: where it lies.

    Raises:
        RecordingError: if there is no cache, or it is of another recording, or of this one before it grew.
    """

    def __init__(self, recording: Recording, folder: str | Path) -> None:
        self.folder, self.recording = Path(folder), recording
        self._manifest = _read_manifest(self.folder)
        if self._manifest["of"] != identity(recording):
            raise RecordingError(f"{folder} was built from another recording, or this one has grown: build it again")
        self._shape = len(recording), *recording.frame_shape
        self.mapped  # noqa: B018

    @staticmethod
    def build(recording: Recording, folder: str | Path, progress: bool = True) -> "TrainingCache":
        """Unpack a recording, unless that has been done already.

        Args:
            recording: whose frames.
            folder: where to; created if need be.
            progress: whether a bar is shown.

        Raises:
            RecordingError: if observations are no pictures, or the folder cannot be written.
        """
        try:
            return TrainingCache(recording, folder)
        except RecordingError:
            pass
        target = local_path(str(folder), "training caches")
        shape = (len(recording), *recording.frame_shape)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".building-", dir=target) as own:  # others may be building, or reading
                building = Path(own)
                frames = np.lib.format.open_memmap(building / _FRAMES, "w+", np.uint8, shape, version=(1, 0))
                _reserve(building / _FRAMES)
                recording.load_frames(progress, frames)
                frames.flush()
                manifest = {"of": identity(recording), "crc32": _checksums(frames)}
                (building / _MANIFEST).write_text(json.dumps(manifest))
                (target / _MANIFEST).unlink(missing_ok=True)
                os.rename(building / _FRAMES, target / _FRAMES)
                os.rename(building / _MANIFEST, target / _MANIFEST)
        except OSError as error:
            raise RecordingError(f"{folder} cannot be written: {error.strerror or error}") from error
        return TrainingCache(recording, folder)

    @property
    def path(self) -> str:
        """The recording's path."""
        return self.recording.path

    @property
    def episodes(self) -> list[Episode]:
        """The recording's episodes."""
        return self.recording.episodes

    @property
    def fields(self) -> dict[str, Field]:
        """The recording's arrays."""
        return self.recording.fields

    def extra(self, name: str) -> np.ndarray:
        """All rows of one of the recording's other fields."""
        return self.recording.extra(name)

    def frames(self, start: int, stop: int) -> np.ndarray:
        """Frames of rows start to stop, uint8 [stop - start, H, W, 3].

        Raises:
            IndexError: if the rows are not all there.
        """
        if not 0 <= start <= stop <= len(self.mapped):
            raise IndexError(f"frames {start}:{stop} asked for, the cache has rows 0:{len(self.mapped)}")
        return np.array(self.mapped[start:stop])

    def verify(self, progress: bool = True) -> None:
        """Compare all frames with their checksums.

        Raises:
            RecordingError: if some differ; the message says which rows.
        """
        found = _checksums(self.mapped, progress)
        bad = [place for place, (a, b) in enumerate(zip(found, self._manifest["crc32"], strict=True)) if a != b]
        if bad:
            first = bad[0] * BLOCK
            where = f"{self.folder / _FRAMES} is damaged at rows {first} to {first + BLOCK}"
            raise RecordingError(f"{where}: remove {self.folder} and build it again")

    @cached_property
    def mapped(self) -> np.ndarray:
        """All frames, uint8 [rows, H, W, 3], mapped into memory and not to be written to.

        Raises:
            RecordingError: if the file is not whole.
        """
        try:
            mapped: np.ndarray = np.load(self.folder / _FRAMES, mmap_mode="r")
        except (OSError, ValueError):
            mapped = np.empty(0)
        if mapped.shape != self._shape or mapped.dtype != np.uint8:
            raise RecordingError(f"{self.folder / _FRAMES} is not whole: build it again")
        return mapped

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "mapped"}


def _reserve(path: Path) -> None:
    """Take a file's space on disk now: a full disk is an error here, while writing to mapped memory it is a SIGBUS."""
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


def identity(recording: Recording) -> list[Any]:
    """What tells a recording, as it is now, from any other."""
    ends = [[episode.id, episode.start, episode.stop, round(episode.return_, 6)] for episode in recording.episodes]
    return [len(recording), list(recording.frame_shape), zlib.crc32(json.dumps(ends).encode())]


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        return {"of": manifest["of"], "crc32": manifest["crc32"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{folder} is no finished training cache ({error}): build it again") from None


def _checksums(frames: np.ndarray, progress: bool = False) -> list[int]:
    blocks = range(0, len(frames), BLOCK)
    bar = Progress(blocks, "checking", disable=not progress, unit="block")
    return [zlib.crc32(frames[at : at + BLOCK].tobytes()) for at in bar]
