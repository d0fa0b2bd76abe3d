"""Our recorder as `benchmarks.recording` compares it: read as chunk files, as sealed shards, and through a cache."""

from functools import partial
from pathlib import Path
from typing import cast

from recorders import TrainingCache, ZarrRecorder, open_recording

from .recording_contenders import Clip, Contender, Reader, Writer
from .recording_play import Play


def write_ours(path: Path, play: Play, seal: bool) -> Writer:
    """Our recorder; `seal` decides how it leaves the recording, and so what is read."""
    return cast(Writer, ZarrRecorder(path, play.observation_space, play.action_space, seal=seal))


def read_ours(path: Path) -> Reader:
    """Clips of a recording, open or sealed."""
    recording = open_recording(path)

    def read(episode: int, start: int, n: int) -> Clip:
        clip = recording.read(episode, start, start + n)
        return clip.observations[:n], clip.actions, clip.rewards

    return read


def read_cache(path: Path) -> Reader:
    """Clips from the memory-mapped training cache beside a recording, which the first call builds."""
    recording = open_recording(path)
    cache = TrainingCache.build(recording, path.with_name("cache"), progress=False)
    actions, rewards = recording.actions, recording.rewards

    def read(episode: int, start: int, n: int) -> Clip:
        first = cache.episodes[episode].start + start
        return cache.frames(first, first + n), actions[first : first + n], rewards[first : first + n]

    return read


OURS = [
    Contender("ours, open", partial(write_ours, seal=False), read_ours),
    Contender("ours, sealed", partial(write_ours, seal=True), read_ours),
    Contender("ours, cached", partial(write_ours, seal=True), read_cache),
]
