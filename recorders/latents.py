"""What an encoder made of a recording's frames, kept in the recording so that it is made once."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from .layout import RecordingError
from .progress import Progress
from .training_cache import TrainingCache, identity

FOLDER = "latents"
BLOCK = 1024
"""frames encoded at once, and per chunk"""


def latents(cache: TrainingCache, key: str, shape: tuple[int, ...], encode: Callable[[np.ndarray], np.ndarray],
            progress: bool = True) -> np.ndarray:
    """What `encode` makes of every frame of a recording, read if it has been made before.

    It lies under `latents/<key>` in the recording's folder, or in the cache's where that is no folder of this machine.

    Args:
        cache: of the recording.
        key: names the encoder, say by the hash of its weights.
        shape: of what it makes of a frame.
        encode: frames uint8 [n, H, W, 3] -> uint8 [n, *shape], n <= 1024.
        progress: whether a bar is shown.

    Returns:
        uint8 [rows, *shape].

    Raises:
        RecordingError: if it can be neither read nor written.
    """
    folder = (cache.folder if "://" in cache.path else Path(cache.path)) / FOLDER
    found = _read(folder / key, cache, shape)
    if found is not None:
        return found
    made = np.empty((len(cache.mapped), *shape), np.uint8)
    for first in Progress(range(0, len(made), BLOCK), "encoding", disable=not progress, unit="block"):
        made[first : first + BLOCK] = encode(np.array(cache.mapped[first : first + BLOCK]))
    try:
        _write(folder, key, cache, made)
    except OSError as error:
        raise RecordingError(f"{folder} cannot be written: {error.strerror or error}; make room or let it be written, "
                             "or copy the recording to where it can") from error
    return made


def _read(path: Path, cache: TrainingCache, shape: tuple[int, ...]) -> np.ndarray | None:
    """What is there, if it is of this recording as it is now and undamaged."""
    try:
        array: Any = zarr.open_array(path, mode="r")
        if array.attrs.get("of") != identity(cache.recording) or array.shape != (len(cache.mapped), *shape):
            return None
        return np.asarray(array[:], np.uint8)
    except (OSError, ValueError, KeyError, RuntimeError):  # none, or damaged: what can be made again is made again
        return None


def _write(folder: Path, key: str, cache: TrainingCache, made: np.ndarray) -> None:
    """Complete or not at all; what was there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".building-", dir=folder) as building:
        part = Path(building) / key
        array = zarr.create_array(part, shape=made.shape, dtype=made.dtype, chunks=(BLOCK, *made.shape[1:]),
                                  compressors=[ZstdCodec(level=3), Crc32cCodec()],
                                  attributes={"of": identity(cache.recording)})
        array[:] = made
        if (folder / key).exists():
            os.rename(folder / key, Path(building) / "replaced")
        os.rename(part, folder / key)
