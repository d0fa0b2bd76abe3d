"""What others record with, each used as its documentation shows it, frames lossless in all of them.

Plain Zarr and HDF5 buffer 32 steps and flush at an episode's end; MP4 is one file per episode, a key frame every 32.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .recording_contenders import Clip, Contender, Reader, package
from .recording_play import Play, Replay

CHUNK = 32
"""Frames that are compressed together."""


class _Columns:
    """Buffers 32 rows of five fields for a store that appends; an episode's last observation is a row of its own."""

    def __init__(self, play: Play) -> None:
        shape = play.observation_space.shape
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {
            "frames": (shape, "uint8"), "action": ((), "int64"), "reward": ((), "float64"),
            "terminated": ((), "bool"), "truncated": ((), "bool")}
        self._rows = {name: np.zeros((CHUNK, *row), dtype) for name, (row, dtype) in self.fields.items()}
        self._n = self.total = 0
        self.ends: list[int] = []

    def begin(self) -> None:
        pass

    def add(self, observation: np.ndarray, action: int, reward: float, terminated: bool, truncated: bool) -> None:
        for rows, value in zip(self._rows.values(), (observation, action, reward, terminated, truncated), strict=True):
            rows[self._n] = value
        self._n += 1
        if self._n == CHUNK:
            self._append()

    def end(self, final_observation: np.ndarray) -> None:
        self.add(final_observation, 0, 0.0, False, False)
        self._append()
        self.ends.append(self.total)
        self.note(self.ends)

    def _append(self) -> None:
        for name, rows in self._rows.items():
            self.append(name, rows[: self._n])
        self.total += self._n
        self._n = 0

    def append(self, name: str, rows: np.ndarray) -> None:
        """Append rows to one field."""
        raise NotImplementedError

    def note(self, ends: list[int]) -> None:
        """Keep where each episode ends, and bring everything to disk."""
        raise NotImplementedError


class _PlainZarr(_Columns):
    """zarr-python as its documentation shows it: `append` to resizable arrays, default codec and settings."""

    def __init__(self, path: Path, play: Play) -> None:
        super().__init__(play)
        self._group = package("zarr").create_group(str(path))
        for name, (shape, dtype) in self.fields.items():
            chunk = CHUNK if name == "frames" else 1024
            self._group.create_array(name, shape=(0, *shape), chunks=(chunk, *shape), dtype=dtype)

    def append(self, name: str, rows: np.ndarray) -> None:
        self._group[name].append(rows)

    def note(self, ends: list[int]) -> None:
        self._group.attrs["ends"] = ends

    def close(self) -> None:
        pass


class _Hdf5(_Columns):
    """h5py: resizable datasets, chunks of 32 frames, gzip 1 (zstd needs a plugin), one flush per episode."""

    def __init__(self, path: Path, play: Play) -> None:
        super().__init__(play)
        path.mkdir(parents=True)
        self._file = package("h5py").File(path / "play.h5", "w")
        for name, (shape, dtype) in self.fields.items():
            chunk = CHUNK if name == "frames" else 1024
            self._file.create_dataset(name, shape=(0, *shape), maxshape=(None, *shape), chunks=(chunk, *shape),
                                      dtype=dtype, compression="gzip", compression_opts=1)

    def append(self, name: str, rows: np.ndarray) -> None:
        data = self._file[name]
        data.resize(len(data) + len(rows), axis=0)
        data[len(data) - len(rows) :] = rows

    def note(self, ends: list[int]) -> None:
        self._file.attrs["ends"] = ends
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _read_columns(group: Any) -> Reader:
    """Clips of a group of arrays with an attribute `ends`."""
    starts = [0, *group.attrs["ends"]]
    frames, actions, rewards = group["frames"], group["action"][:], group["reward"][:]

    def read(episode: int, start: int, n: int) -> Clip:
        rows = slice(starts[episode] + start, starts[episode] + start + n)
        return frames[rows], actions[rows], rewards[rows]

    return read


class _Minari:
    """Minari's DataCollector around a replay of the play; lossless, that is without JPEG."""

    def __init__(self, path: Path, play: Play) -> None:
        minari = package("minari")
        package("jax")  # only minari[create] asks for it, but nothing is recorded without
        path.mkdir(parents=True)
        with _datasets_in(path):
            self._env = minari.DataCollector(Replay(play), jpeg_encoding=False)
        self._path = path

    def begin(self) -> None:
        self._env.reset(seed=0)

    def add(self, observation: np.ndarray, action: int, reward: float, terminated: bool, truncated: bool) -> None:
        self._env.step(action)

    def end(self, final_observation: np.ndarray) -> None:
        pass

    def close(self) -> None:
        with _datasets_in(self._path):
            self._env.create_dataset("play-v0", author="benchmark", author_email="none", code_permalink="none",
                                     description="none", algorithm_name="none")
            self._env._tmp_dir.cleanup()  # its own close removes the folder too, but leaves a ResourceWarning behind


def _read_minari(path: Path) -> Reader:
    """Clips of a Minari dataset; it can only read whole episodes."""
    minari = package("minari")
    with _datasets_in(path):
        dataset = minari.load_dataset("play-v0")

    def read(episode: int, start: int, n: int) -> Clip:
        whole, rows = dataset[episode], slice(start, start + n)
        return whole.observations[rows], whole.actions[rows], whole.rewards[rows]

    return read


class _Mp4:
    """PyAV: one H.264 file per episode, RGB with crf 0, which is lossless; small fields as JSON beside it."""

    def __init__(self, path: Path, play: Play) -> None:
        self._av = package("av")
        path.mkdir(parents=True)
        self._path, self._shape, self._count = path, play.observation_space.shape, 0

    def begin(self) -> None:
        self._file = self._av.open(str(self._path / f"{self._count:06d}.mp4"), "w")
        self._stream = self._file.add_stream("libx264rgb", rate=60)
        self._stream.height, self._stream.width, self._stream.pix_fmt = *self._shape[:2], "rgb24"
        self._stream.options = {"crf": "0", "preset": "ultrafast", "g": str(CHUNK), "bf": "0"}
        self._stream.thread_count = 1
        self._rows: list[tuple[int, float, bool, bool]] = []

    def add(self, observation: np.ndarray, action: int, reward: float, terminated: bool, truncated: bool) -> None:
        self._encode(observation)
        self._rows.append((int(action), reward, terminated, truncated))

    def end(self, final_observation: np.ndarray) -> None:
        self._encode(final_observation)
        self._file.mux(self._stream.encode())
        self._file.close()
        (self._path / f"{self._count:06d}.json").write_text(json.dumps(self._rows))
        self._count += 1

    def close(self) -> None:
        pass

    def _encode(self, observation: np.ndarray) -> None:
        self._file.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(observation, format="rgb24")))


def _read_mp4(path: Path) -> Reader:
    """Clips of one file per episode: open, seek to the key frame before, decode."""
    av = package("av")
    rows = [json.loads(file.read_text()) for file in sorted(path.glob("*.json"))]

    def read(episode: int, start: int, n: int) -> Clip:
        frames: list[np.ndarray] = []
        with av.open(str(path / f"{episode:06d}.mp4")) as file:
            stream = file.streams.video[0]
            stream.thread_count = 1
            per_frame = 1 / (stream.average_rate * stream.time_base)
            file.seek(round(start * per_frame), stream=stream)
            for frame in file.decode(stream):
                if round(frame.pts / per_frame) >= start:
                    frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == n:
                    break
        part = rows[episode][start : start + n]
        return np.stack(frames), np.array([row[0] for row in part]), np.array([row[1] for row in part])

    return read


@contextmanager
def _datasets_in(path: Path) -> Iterator[None]:
    """Minari keeps its datasets under `path` meanwhile, and does not warn that a replay has no specification."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _read_zarr(path: Path) -> Reader:
    return _read_columns(package("zarr").open_group(str(path), mode="r"))


def _read_hdf5(path: Path) -> Reader:
    return _read_columns(package("h5py").File(path / "play.h5"))


OTHERS = [
    Contender("zarr-python", _PlainZarr, _read_zarr),
    Contender("h5py gzip 1", _Hdf5, _read_hdf5),
    Contender("minari raw", _Minari, _read_minari),
    Contender("mp4 lossless", _Mp4, _read_mp4),
]
