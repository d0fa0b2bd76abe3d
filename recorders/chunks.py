"""Bytes of chunks and shards: encoding, checked decoding, and joining chunks into shards without encoding anew."""

import struct
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numcodecs  # type: ignore[import-untyped]
import numpy as np

from .layout import MAX_CHUNK_BYTES, Field, RecordingError

_ZSTD = numcodecs.Zstd(level=1, checksum=True)
_TEXT = numcodecs.VLenUTF8()
_MAGIC = b"\x28\xb5\x2f\xfd"
_MISSING = (1 << 64) - 1


def encode(field: Field, rows: np.ndarray) -> bytes:
    """Chunk bytes of [chunk, *shape] rows.

    Raises:
        RecordingError: if text cannot be written as UTF-8.
    """
    if not field.is_text:
        return bytes(_ZSTD.encode(np.ascontiguousarray(rows)))
    try:
        return bytes(_ZSTD.encode(_TEXT.encode(rows)))
    except UnicodeEncodeError as error:
        raise RecordingError(f"text cannot be recorded as UTF-8: {error}") from None


def decode(field: Field, data: bytes) -> np.ndarray:
    """[chunk, *shape] rows of chunk bytes; read only.

    The size that the bytes claim is compared with the field's before anything is unpacked, and zstd's own checksum
    with the rows that come out.

    Raises:
        ValueError: if the bytes are no chunk of this field; the message says why.
    """
    claimed = content_size(data)
    expected = field.chunk * field.row_bytes
    if field.is_text:
        if claimed > MAX_CHUNK_BYTES:
            raise ValueError(f"it unpacks to {claimed} bytes of text, more than {MAX_CHUNK_BYTES}")
    elif claimed != expected:
        raise ValueError(f"it unpacks to {claimed} bytes instead of {expected}")
    if not expected:
        return field.zeros(field.chunk)  # numcodecs takes an empty frame for a damaged one
    try:
        raw = _ZSTD.decode(data)
        if not field.is_text:
            return np.frombuffer(raw, field.dtype).reshape(field.chunk, *field.shape)
        rows = _TEXT.decode(raw)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if len(rows) != field.chunk:
        raise ValueError(f"it holds {len(rows)} strings instead of {field.chunk}")
    return rows


def content_size(data: bytes) -> int:
    """Bytes that a zstd frame says it unpacks to (RFC 8878, section 3.1.1.1).

    Raises:
        ValueError: if it is no such frame, or does not say.
    """
    if len(data) < 6 or data[:4] != _MAGIC:
        raise ValueError("it is not zstd data")
    descriptor = data[4]
    flag, single = descriptor >> 6, descriptor >> 5 & 1
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    size = (1 if single else 0, 2, 4, 8)[flag]
    if not size or len(data) < start + size:
        raise ValueError("it does not say how much it unpacks to")
    value = int.from_bytes(data[start : start + size], "little")
    return value + 256 if size == 2 else value


def join_shard(chunks: Sequence[bytes], per_shard: int) -> bytes:
    """A shard of encoded chunks: their bytes, an index of (offset, size) pairs and its crc32c (ZEP 2)."""
    index, offset = bytearray(), 0
    for chunk in chunks:
        index += struct.pack("<QQ", offset, len(chunk))
        offset += len(chunk)
    index += struct.pack("<QQ", _MISSING, _MISSING) * (per_shard - len(chunks))
    return b"".join([*chunks, bytes(index), struct.pack("<I", google_crc32c.value(bytes(index)))])


def index_bytes(per_shard: int) -> int:
    """Size of a shard's index with its checksum."""
    return 16 * per_shard + 4


def chunk_span(index: bytes, place: int, shard_bytes: int) -> tuple[int, int]:
    """Start and stop of one chunk in its shard.

    Args:
        index: the last `index_bytes` of the shard.
        place: number of the chunk in it.
        shard_bytes: size of the shard.

    Raises:
        ValueError: if the index is damaged or the chunk is not there.
    """
    checksum = struct.unpack("<I", index[-4:])[0]
    if google_crc32c.value(index[:-4]) != checksum:
        raise ValueError("its index does not have its checksum")
    offset, size = struct.unpack_from("<QQ", index, 16 * place)
    if offset == _MISSING or offset + size > shard_bytes - len(index):
        raise ValueError(f"its index has no chunk {place}")
    return offset, offset + size


def field_of(name: str, card: dict[str, Any]) -> tuple[Field, int]:
    """A field and its number of rows from Zarr metadata.

    Raises:
        ValueError: if it is not an array as `array_card` writes them; the message says why.
    """
    grid = card["chunk_grid"]["configuration"]["chunk_shape"]
    shape, codecs = card["shape"], card["codecs"]
    sizes = [*shape, *grid]
    if any(not isinstance(n, int) or n < 0 for n in sizes) or len(shape) != len(grid) or not grid or grid[0] < 1:
        raise ValueError(f"{name} has shape {shape} in chunks of {grid}")
    chunk, shard = grid[0], 0
    if codecs[0]["name"] == "sharding_indexed":
        chunk = codecs[0]["configuration"]["chunk_shape"][0]
        if not isinstance(chunk, int) or chunk < 1:
            raise ValueError(f"{name} has shards of chunks of {chunk!r} rows")
        shard, rest = divmod(grid[0], chunk)
        codecs = codecs[0]["configuration"]["codecs"]
        if rest or shard > 1 << 20:
            raise ValueError(f"{name} has shards of {grid[0]} rows with chunks of {chunk}")
    if [codec["name"] for codec in codecs] not in (["bytes", "zstd"], ["vlen-utf8", "zstd"]) or grid[1:] != shape[1:]:
        raise ValueError(f"{name} has chunks of {grid} with codecs {[codec['name'] for codec in codecs]}")
    return Field(shape=tuple(shape[1:]), dtype=card["data_type"], chunk=chunk, shard=shard), shape[0]
