"""Our recorder as `benchmarks.recording` compares it: read as chunk files, as sealed shards, and through a cache."""

from functools import partial
from pathlib import Path

import recorders
from recorders import ZarrRecorder, open_recording

from .recording_contenders import Absent, Clip, Contender, Reader
from .recording_play import Play


class Ours:
    """`ZarrRecorder`; open or sealed decides how the recording is left, and so what is read."""

    def __init__(self, path: Path, play: Play, seal: bool) -> None:
        self._recorder = ZarrRecorder(path, play.observation_space, play.action_space, seal=seal)
        self.begin, self.add, self.end = self._recorder.begin, self._recorder.add, self._recorder.end
        self.close = self._recorder.close


def read_ours(path: Path) -> Reader:
    """Clips of a recording, open or sealed."""
    recording = open_recording(path)

    def read(episode: int, start: int, n: int) -> Clip:
        clip = recording.read(episode, start, start + n)
        return clip.observations[:n], clip.actions, clip.rewards

    return read


def read_cache(path: Path) -> Reader:
    """Clips of a memory-mapped training cache that is made on the first call.

    Raises:
        Absent: if this checkout has none.
    """
    if not hasattr(recorders, "TrainingCache"):
        raise Absent("this checkout has no TrainingCache")
    raise Absent("not connected yet")


OURS = [
    Contender("ours, open", partial(Ours, seal=False), read_ours),
    Contender("ours, sealed", partial(Ours, seal=True), read_ours),
    Contender("ours, cached", partial(Ours, seal=True), read_cache),
]
