"""Looks at every byte of a recording and says what is wrong with it."""

from collections.abc import Iterator

import numpy as np

from .episode import Episode
from .journal import parse_events, whole_bytes
from .layout import RecordingError
from .progress import Progress
from .recording import Recording
from .segment_reader import SegmentReader


def problems(recording: Recording, progress: bool = True) -> list[str]:
    """Everything that is missing, damaged or contradicts itself; empty for a recording in order.

    Every chunk of every field is unpacked, which compares it with its checksum, and so are the episodes' own arrays;
    journals are read to their end; returns are added up again.

    Args:
        recording: what to look at.
        progress: whether a bar is shown.
    """
    found = [problem for segment in recording.segments for problem in _journal_problems(segment)]
    jobs = [(segment, name, index) for segment in recording.segments for name, field in segment.fields.items()
            for index in range(-(-segment.rows // field.chunk))]  # fmt: skip
    for segment, name, index in Progress(jobs, f"checking {recording.path}", disable=not progress, unit="chunk"):
        try:
            segment.chunk(name, index)
        except RecordingError as error:
            found.append(str(error))
    if not found:
        found += [problem for episode in recording.episodes for problem in _episode_problems(recording, episode)]
    return found


def _journal_problems(segment: SegmentReader) -> Iterator[str]:
    data = segment.storage.read_journal(segment.name)
    end = whole_bytes(data)
    if b"\n" in data[end:]:
        yield (f"the journal of {segment.place} is damaged at byte {end} of {len(data)}; what it says after that does "
               "not count: restore it from a copy")  # fmt: skip
    elif end < len(data):
        yield f"the last line of the journal of {segment.place} is torn: python -m recorders.repair cuts it off"
    begins = [event for event in parse_events(data) if event["event"] == "begin"]
    if [event["episode"] for event in begins] != list(range(len(begins))):
        yield f"the journal of {segment.place} does not count its episodes from 0: restore it from a copy"


def _episode_problems(recording: Recording, episode: Episode) -> Iterator[str]:
    try:
        episode.arrays()
        episode.options()
    except RecordingError as error:
        yield f"{episode.id}: {error}"
    rows = slice(episode.start, episode.stop - 1)
    total = float(recording.rewards[rows].sum(dtype=np.float64))
    if not np.isclose(total, episode.return_, rtol=1e-6, atol=1e-6):
        yield f"{episode.id}: rewards add up to {total:g}, its end says {episode.return_:g}"
    ends = recording.terminated[rows] | recording.truncated[rows]
    if ends[:-1].any():
        yield f"{episode.id}: it goes on after its end at step {int(np.argmax(ends))}"
