"""Our recorder as `benchmarks.recording` compares it: read as chunk files, as sealed shards, and through a cache."""

from functools import partial
from pathlib import Path
from typing import cast

from recorders import Recording, TrainingCache, ZarrRecorder, open_recording

from .recording_contenders import Clip, Contender, Reader, Writer
from .recording_play import Play


def write_ours(path: Path, play: Play, seal: bool) -> Writer:
    """Our recorder; `seal` decides how it leaves the recording, and so what is read."""
    return cast(Writer, ZarrRecorder(path, play.observation_space, play.action_space, seal=seal))


def read_ours(path: Path) -> Reader:
    """Clips of a recording, open or sealed."""
    return _read(open_recording(path))


def read_cache(path: Path) -> Reader:
    """Clips from the memory-mapped training cache beside a recording, which the first call builds."""
    return _read(TrainingCache.build(open_recording(path), path.with_name("cache"), progress=False))


def _read(source: Recording | TrainingCache) -> Reader:
    """What `ClipDataset` does at places that are given: frames as they are asked for, small fields from memory."""
    actions, rewards = source.extra("action"), source.extra("reward")

    def read(episode: int, start: int, n: int) -> Clip:
        first = source.episodes[episode].start + start
        return source.frames(first, first + n), actions[first : first + n], rewards[first : first + n]

    return read


OURS = [
    Contender("ours, open", partial(write_ours, seal=False), read_ours),
    Contender("ours, sealed", partial(write_ours, seal=True), read_ours),
    Contender("ours, cached", partial(write_ours, seal=True), read_cache),
]
