"""How a recording lies in storage: names, version, fields and the Zarr metadata of each, for writers and readers.

    <collection>/seg-<time>-<process>-<random>/
        journal.jsonl        what counts: one checksummed line per event; in an object store they are
                             journal/00000000.jsonl and so on until the segment is sealed
        data.zarr/           while it is written: a Zarr v3 group, one array per field, a file per chunk
        sealed.zarr/         once it is finished: the same chunks joined into shards, exact shapes
        arrays/000000.npz    an episode's own arrays, e.g. the context a learned world started from

Row t holds observation t and the action taken after seeing it, with that action's reward and flags; the last
row of an episode holds its last observation and padding. docs/recording-format.md is the specification.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMAT = "foreframe-recording"
VERSION = 1
JOURNAL = "journal.jsonl"
JOURNAL_FOLDER = "journal"
DATA = "data.zarr"
SEALED = "sealed.zarr"
ARRAYS = "arrays"
META = "zarr.json"
FRAMES = "frames"
OUTCOME = {"reward": "float64", "terminated": "bool", "truncated": "bool"}
CAPACITY = 1 << 22
"""rows a segment holds at most"""
COMMIT_ROWS = 32
"""rows between two commits, at most"""
SHARD_CHUNKS = 64
MAX_CHUNK_BYTES = 1 << 28
MAX_TEXT_BYTES = MAX_CHUNK_BYTES // 1024 - 8
"""of a row, so that a chunk of 1024 rows, each with its length, can be read again"""
TEXT = "string"
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
          "float64", TEXT)  # fmt: skip


class RecordingError(ValueError):
    """A recording cannot be read or written; the message says which, why and what to do."""


class BusyError(RecordingError):
    """Another writer is at work there."""


@dataclass(kw_only=True)
class Field:
    """One array of a recording.

    Attributes:
        shape: shape of one row.
        dtype: numpy name of the number format, or "string" for text of any length.
        chunk: rows per chunk.
        shard: chunks per file of a sealed segment; 0 where every chunk is a file of its own.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk: int = 0
    shard: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise RecordingError(f"fields are of one of {list(DTYPES)}, got {self.dtype!r}: convert before recording")
        if self.dtype == TEXT and self.shape:
            raise RecordingError(f"a row of text is one string, got shape {list(self.shape)}")
        if not self.chunk:
            self.chunk = chunk_rows(self.row_bytes)
        if self.chunk * self.row_bytes > MAX_CHUNK_BYTES:
            raise RecordingError(
                f"a row of {list(self.shape)} {self.dtype} takes {self.row_bytes} bytes, chunks of {self.chunk} rows "
                f"are limited to {MAX_CHUNK_BYTES} bytes"
            )

    @property
    def is_text(self) -> bool:
        """Whether rows are strings."""
        return self.dtype == TEXT

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; 64 is assumed of text."""
        return 64 if self.is_text else math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def chunk_name(self, group: str, name: str, index: int) -> str:
        """Where chunk (or shard) `index` of the field called `name` lies."""
        return f"{group}/{name}/c." + ".".join(map(str, (index, *[0] * len(self.shape))))

    def zeros(self, rows: int) -> np.ndarray:
        """[rows, *shape] of padding: zeros, or empty strings."""
        return np.full(rows, "", object) if self.is_text else np.zeros((rows, *self.shape), self.dtype)


def has_journal(names: Iterable[str]) -> bool:
    """Whether a folder of these names is a segment: the journal comes last when one is made."""
    return not {JOURNAL, JOURNAL_FOLDER}.isdisjoint(names)


def alike(first: Mapping[str, Field], second: Mapping[str, Field]) -> bool:
    """Whether rows of both are of one kind; chunks may differ."""
    return first.keys() == second.keys() and all(
        (field.shape, field.dtype) == (second[name].shape, second[name].dtype) for name, field in first.items()
    )


def describe(fields: Mapping[str, Field]) -> str:
    """Fields in a few words, for messages."""
    return ", ".join(f"{name} {field.dtype} {list(field.shape)}" for name, field in sorted(fields.items()))


def chunk_rows(row_bytes: int) -> int:
    """Rows per chunk, a power of two: 1024 of small rows; 32 frames up to 256 x 256 pixels, fewer above."""
    if row_bytes <= 512:
        return 1024
    for rows, limit in ((32, 256 * 256 * 3), (16, 384 * 384 * 3)):
        if row_bytes <= limit:
            return rows
    return min(8, 1 << max(8 * 512 * 512 * 3 // row_bytes, 1).bit_length() - 1)


def commit_rows(fields: dict[str, Field]) -> int:
    """Rows between two commits: 32, or fewer where a chunk holds fewer."""
    return min(COMMIT_ROWS, *(field.chunk for field in fields.values()))


def array_card(name: str, field: Field, rows: int) -> dict[str, Any]:
    """The Zarr v3 metadata of a field with so many rows (Zarr core specification 3.1, `zarr.json`)."""
    inner: list[dict[str, Any]] = [_serializer(field), _codec("zstd", level=1, checksum=True)]
    chunk = [field.chunk, *field.shape]
    codecs = [_sharding(chunk, inner)] if field.shard else inner
    grid = [field.chunk * max(field.shard, 1), *field.shape]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [rows, *field.shape],
        "data_type": field.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": _fill_value(field),
        "codecs": codecs,
        "attributes": {},
        "dimension_names": _dimensions(name, field),
        "storage_transformers": [],
    }


def group_card(attributes: dict[str, Any]) -> dict[str, Any]:
    """The Zarr v3 metadata of a segment's group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _codec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def _serializer(field: Field) -> dict[str, Any]:
    if field.is_text:
        return _codec("vlen-utf8")
    return {"name": "bytes"} if np.dtype(field.dtype).itemsize == 1 else _codec("bytes", endian="little")


def _sharding(chunk: list[int], inner: list[dict[str, Any]]) -> dict[str, Any]:
    index = [_codec("bytes", endian="little"), {"name": "crc32c"}]
    return _codec("sharding_indexed", chunk_shape=chunk, codecs=inner, index_codecs=index, index_location="end")


def _fill_value(field: Field) -> Any:
    if field.is_text:
        return ""
    return False if field.dtype == "bool" else 0.0 if field.dtype.startswith("float") else 0


def _dimensions(name: str, field: Field) -> list[str]:
    if name == FRAMES:
        return ["row", "height", "width", "channel"]
    return ["row", *(f"{name}_{axis}" for axis in range(len(field.shape)))]
