"""Joins a finished segment's chunk files into shards: some thirty times fewer files, no byte encoded anew."""

from functools import partial

import numpy as np

from .chunks import content_size, encode, join_shard
from .journal import encode_line, parse_events
from .layout import DATA, META, SEALED, SHARD_CHUNKS, Field, RecordingError, array_card, group_card
from .segment_reader import SegmentReader
from .segment_writer import card_bytes
from .storage import Storage, each

SHARD_BYTES = 1 << 26
"""raw bytes in a shard, about"""


def seal_segment(reader: SegmentReader) -> bool:
    """Seal a segment whose every episode has its end; readers may go on reading.

    The group's metadata are written last, on disk by then, and make readers change over; only then the chunk files go.
    A seal that breaks off is begun anew by the next.

    Returns:
        Whether there was anything to seal.

    Raises:
        RecordingError: if a chunk is missing or damaged; nothing is removed then.
    """
    storage, name = reader.storage, reader.name
    if reader.sealed:
        _drop_chunks(storage, name)
        return False
    storage.remove(f"{name}/{SEALED}")
    try:
        written = [it for names in each(storage, partial(_seal_field, reader), list(reader.fields)) for it in names]
        written += _write_episode_ends(reader)
        storage.sync(written)
    except RecordingError:
        storage.remove(f"{name}/{SEALED}")
        raise
    marker = f"{name}/{SEALED}/{META}"
    storage.write(marker, card_bytes(group_card(reader.meta)), sync=True)
    storage.sync([marker])
    _drop_chunks(storage, name)
    return True


def _drop_chunks(storage: Storage, name: str) -> None:
    """Remove the chunk files of a sealed segment, and the rows of small fields from its journal."""
    events = [event for event in parse_events(storage.read_journal(name)) if event["event"] != "flush"]
    storage.replace_journal(name, b"".join(map(encode_line, events)))
    storage.remove(f"{name}/{DATA}")


def _seal_field(reader: SegmentReader, name: str) -> list[str]:
    """Write a field's shards and metadata; returns their names."""
    storage, group, field = reader.storage, f"{reader.name}/{SEALED}", reader.fields[name]
    per_shard = min(SHARD_CHUNKS, max(1, SHARD_BYTES // max(1, field.chunk * field.row_bytes)))
    sealed = Field(shape=field.shape, dtype=field.dtype, chunk=field.chunk, shard=per_shard)
    chunks = -(-reader.rows // field.chunk)
    written = []
    for first in range(0, chunks, per_shard):
        places = range(first, min(first + per_shard, chunks))
        parts = each(storage, partial(_whole_chunk, reader, name), places)
        written.append(sealed.chunk_name(group, name, first // per_shard))
        storage.write(written[-1], join_shard(parts, per_shard))
    written.append(f"{group}/{name}/{META}")
    storage.write(written[-1], card_bytes(array_card(name, sealed, reader.rows)))
    return written


def _whole_chunk(reader: SegmentReader, name: str, index: int) -> bytes:
    """A chunk's bytes, looked at before they are taken over; those still in the journal are encoded now."""
    field = reader.fields[name]
    try:
        data = reader.storage.read(field.chunk_name(f"{reader.name}/{DATA}", name, index))
        if field.is_text or content_size(data) == field.chunk * field.row_bytes:
            return data
    except (FileNotFoundError, ValueError):
        pass
    return encode(field, reader.chunk(name, index))  # or says what is wrong


def _write_episode_ends(reader: SegmentReader) -> list[str]:
    """Write `meta/episode_ends`, row after each episode's last one, as diffusion_policy has it."""
    ends = np.array([episode.stop for episode in reader.episodes(0)], np.int64)
    field = Field(shape=(), dtype="int64", chunk=max(1, len(ends)))
    group = f"{reader.name}/{SEALED}/meta"
    card = {**array_card("episode_ends", field, len(ends)), "dimension_names": ["episode"]}
    files = {
        f"{group}/{META}": card_bytes(group_card({})),
        f"{group}/episode_ends/{META}": card_bytes(card),
        field.chunk_name(group, "episode_ends", 0): encode(field, ends if len(ends) else field.zeros(1)),
    }
    for name, data in files.items():
        reader.storage.write(name, data)
    return list(files)
