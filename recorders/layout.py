"""How a recording lies on disk: names, chunks, codec and version, shared by the writer and the reader.

    <collection>/seg-<time>-<process>-<random>/
        journal.jsonl        what counts
        data.zarr/           a Zarr v3 group, one array per field, all episodes one after another
        arrays/000000.npz    an episode's own arrays, e.g. the context a learned world started from

Row t holds observation t and the action taken after seeing it, with that action's reward and flags; the last
row of an episode holds its last observation and padding.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np

FORMAT = "foreframe-recording"
VERSION = 0
DATA = "data.zarr"
ARRAYS = "arrays"
FRAMES = "frames"
CAPACITY = 1 << 22
SMALL_CHUNK = 1024
CODEC = numcodecs.Zstd(level=1)


class RecordingError(ValueError):
    """A recording cannot be read or written; the message says which, why and what to do."""


@dataclass(kw_only=True)
class Field:
    """One array of a recording.

    Attributes:
        shape: shape of one row.
        dtype: numpy name of the number format.
        chunk: rows per file.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk: int = SMALL_CHUNK

    def chunk_path(self, group: Path, name: str, index: int) -> Path:
        """The file that holds rows `index * chunk` and on."""
        return group / name / ("c." + ".".join(map(str, (index, *[0] * len(self.shape)))))

    def encode(self, rows: np.ndarray) -> bytes:
        """Chunk bytes of [chunk, *shape] rows."""
        return CODEC.encode(np.ascontiguousarray(rows))

    def decode(self, data: bytes) -> np.ndarray:
        """[chunk, *shape] rows of chunk bytes; read only."""
        return np.frombuffer(CODEC.decode(data), self.dtype).reshape(self.chunk, *self.shape)


def frames_chunk(frame_shape: tuple[int, ...]) -> int:
    """Frames per file: 32 up to 256 x 256 pixels, fewer above, so that a chunk stays below about 6 MB."""
    pixels = int(np.prod(frame_shape[:2]))
    return 32 if pixels <= 256 * 256 else 16 if pixels <= 384 * 384 else 8


def create_group(path: Path, fields: dict[str, Field], attributes: dict[str, Any]) -> None:
    """Create the Zarr group of a segment; only metadata is written, chunks come later."""
    import zarr  # here: the reader does without
    from zarr.codecs import ZstdCodec

    group = zarr.create_group(str(path), attributes=attributes)
    for name, field in fields.items():
        group.create_array(
            name,
            shape=(CAPACITY, *field.shape),
            chunks=(field.chunk, *field.shape),
            dtype=field.dtype,
            compressors=ZstdCodec(level=1),
            fill_value=0,
            config={"write_empty_chunks": True},
            chunk_key_encoding={"name": "default", "separator": "."},
        )
