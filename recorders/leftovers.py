"""Puts in order what writers have left that were killed."""

from dataclasses import dataclass, field

from .collection import segment_names
from .journal import Journal
from .layout import DATA, JOURNAL, JOURNAL_FOLDER, BusyError, RecordingError, has_journal
from .progress import Progress
from .sealing import seal_segment
from .segment_reader import SegmentReader
from .storage import Storage, each


@dataclass
class RepairReport:
    """What was found and done: names of segments, and ids of episodes."""

    sealed: list[str] = field(default_factory=list)
    """segments whose chunks were joined into shards"""
    live: list[str] = field(default_factory=list)
    """segments somebody is writing; left alone"""
    kept: list[str] = field(default_factory=list)
    """episodes without an end, kept as unfinished"""
    removed: list[str] = field(default_factory=list)
    """segments that held no whole step"""
    damaged: list[str] = field(default_factory=list)
    """what cannot be repaired, with the reason; left as it is"""
    litter: int = 0
    """files of interrupted writes that were removed"""


def repair_storage(
    storage: Storage, progress: bool = True, seal: bool = True, alone: bool = False
) -> RepairReport:
    """Bring every segment that no writer holds into its final state. Steps that count go on counting.

    A torn last line of a journal is cut, an episode without an end is kept as unfinished up to its last readable
    step, files of interrupted writes are removed, and chunks are joined into shards.

    Args:
        storage: the collection.
        progress: whether a bar is shown.
        seal: whether to join chunks.
        alone: whether nobody else is writing; segments whose writer was killed while it made them are removed only
            then, because they look like those that another writer is making just now. Where there are no locks, as
            in object stores, nothing that is not sealed is touched otherwise.
    """
    report = RepairReport()
    if alone:
        _remove_half_made(storage, report)
    found = segment_names(storage)
    busy = each(storage, lambda name: _needs_work(storage, name), found)
    names = [name for name, needs in zip(found, busy, strict=True) if needs]
    if not (alone or storage.locks):
        report.live = names
        return report
    for name in Progress(names, "repairing", disable=not (progress and names), unit="segment"):
        try:
            _repair_segment(storage, name, report, seal)
        except FileNotFoundError:
            continue  # removed by its own writer meanwhile
        except BusyError:
            report.live.append(name)
        except RecordingError as error:
            report.damaged.append(str(error))
    return report


def _remove_half_made(storage: Storage, report: RepairReport) -> None:
    """Remove segments without a journal, with which a segment appears, or with an empty one and nothing else."""
    for name in segment_names(storage):
        inside = storage.list(name)
        bare = inside == [JOURNAL] and not storage.read_journal(name)
        if name and (bare or not has_journal(inside)):
            storage.remove(name)
            report.removed.append(name)


def _needs_work(storage: Storage, name: str) -> bool:
    """Whether a segment is not sealed, or has chunks left over."""
    inside = storage.list(name)
    return DATA in inside and has_journal(inside)


def _finish_journal(reader: SegmentReader, journal: Journal) -> list[str]:
    """Give an episode without an end one, up to its last readable step; returns its id, if there is one to keep."""
    if (begin := reader.open_episode) is None:
        return []
    stop = _readable_rows(reader, begin["start"])
    if stop - begin["start"] < 2:
        return []
    rewards = reader.read("reward", begin["start"], stop - 1)
    journal.append({
        "event": "end", "stop": stop, "episode": begin["episode"], "steps": len(rewards),
        "return": float(rewards.sum()), "terminated": False, "truncated": False, "meta": {"unfinished": True},
    }, sync=True)  # fmt: skip
    reader.refresh()
    return [f"{reader.name}/{begin['episode']}"]


def _readable_rows(reader: SegmentReader, start: int) -> int:
    """Rows up to which every chunk from `start` on can be read; a power cut may have cost the last ones."""
    stop = reader.rows
    for name, it in reader.fields.items():
        for index in range(start // it.chunk, -(-stop // it.chunk)):
            try:
                reader.chunk(name, index)
            except RecordingError:
                stop = min(stop, index * it.chunk)
                break
    return stop


def _repair_segment(storage: Storage, name: str, report: RepairReport, seal: bool) -> None:
    if SegmentReader(storage, name).recorded_with < 1:
        return  # older formats are read as they are
    journal = storage.journal(name, True, create=False)
    try:
        report.litter += storage.clean(name)
        finish_segment(storage, name, journal, seal, report)
    finally:
        journal.close()


def finish_segment(storage: Storage, name: str, journal: Journal, seal: bool, report: RepairReport) -> None:
    """Bring a segment whose journal the caller holds into its final state."""
    reader = SegmentReader(storage, name)
    report.kept += _finish_journal(reader, journal)
    if not reader.rows:
        for entry in (JOURNAL, JOURNAL_FOLDER):  # first, so that readers never find a journal without a group
            storage.remove(f"{name}/{entry}")
        storage.remove(name)
        report.removed.append(name)
    elif seal and seal_segment(reader):
        report.sealed.append(name)


def repair_alone_if_possible(storage: Storage, alone: bool) -> RepairReport:
    """Repair, holding the collection if it is one and nobody is recording there; `alone` says so without locks."""
    if not storage.locks:
        return repair_storage(storage, alone=alone)
    if segment_names(storage) == [""]:
        return repair_storage(storage)
    try:
        lock = storage.lock(shared=False)
    except BusyError:
        return repair_storage(storage)
    try:
        return repair_storage(storage, alone=True)
    finally:
        lock.release()
