"""Rows of small fields inside journal lines, until there are enough of them for a chunk.

A file replaced at every commit costs ext4 about a millisecond, six of them cost six; one journal line costs nothing
of the kind. Fields whose chunks hold more rows than a commit go this way.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np

from .chunks import content_size
from .layout import COMMIT_ROWS, MAX_CHUNK_BYTES, Field

_ZSTD = numcodecs.Zstd(level=1)


def small_fields(fields: Mapping[str, Field]) -> dict[str, Field]:
    """The fields that go through the journal, in order of their names."""
    return {name: field for name, field in sorted(fields.items()) if field.chunk > COMMIT_ROWS}


def encode_tail(columns: Mapping[str, np.ndarray], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Entries of a journal event.

    Args:
        columns: name to the rows of each small field, equally many.
        fields: what `small_fields` gave.

    Returns:
        `tail`, base64 of the zstd-compressed bytes of all numbers, field after field; `text`, lists of strings.
    """
    numbers = b"".join(columns[name].tobytes() for name, field in fields.items() if not field.is_text)
    texts = {name: list(columns[name]) for name, field in fields.items() if field.is_text}
    packed = base64.b64encode(bytes(_ZSTD.encode(numbers))).decode()
    return {"tail": packed, "text": texts} if texts else {"tail": packed}


def decode_tail(event: Mapping[str, Any], rows: int, fields: Mapping[str, Field]) -> dict[str, np.ndarray]:
    """Inverse of `encode_tail` for so many rows.

    Raises:
        ValueError: if the event holds something else; the message says what.
    """
    packed = base64.b64decode(event["tail"], validate=True)
    expected = rows * sum(field.row_bytes for field in fields.values() if not field.is_text)
    if expected > MAX_CHUNK_BYTES:
        raise ValueError(f"a journal line holds {rows} rows of {expected} bytes, more than {MAX_CHUNK_BYTES}")
    if content_size(packed) != expected:
        raise ValueError(f"a journal line unpacks to {content_size(packed)} bytes instead of {expected}")
    numbers, at = bytes(_ZSTD.decode(packed)), 0
    columns: dict[str, np.ndarray] = {}
    for name, field in fields.items():
        if field.is_text:
            columns[name] = np.array([*map(str, event["text"][name]), ""], object)[:-1]
            if len(columns[name]) != rows:
                raise ValueError(f"a journal line holds {len(columns[name])} of {rows} rows of {name}")
        else:
            stop = at + rows * field.row_bytes
            columns[name] = np.frombuffer(numbers[at:stop], field.dtype).reshape(rows, *field.shape)
            at = stop
    return columns
