"""Recordings as LeRobot data sets, layout v3.0: https://huggingface.co/docs/lerobot/lerobot-dataset-v3.

One row per step, as LeRobot has it: T rows for T actions. The observation after the last action has no row there, since
a row needs an action; it is kept in `foreframe/final_observations.parquet`, which LeRobot's readers do not look at.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .cards import extras_of
from .companion import FOLDER, Companion
from .episode_data import EpisodeData
from .films import Mp4File, as_rgb, make_even
from .layout import RecordingError
from .leaves import to_columns
from .lerobot_features import INDEX, MARKS, Feature, arrow_column, features_of
from .lerobot_stats import Statistics, array_statistics, as_lists, merge_statistics, picture_statistics
from .parquet import import_pyarrow
from .spaces import space_from_card

FINAL = f"{FOLDER}/final_observations.parquet"
DATA_MB, VIDEO_MB, CHUNK = 100, 200, 1000
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"


class LeRobotDataset:
    """Writes a data set that `lerobot.datasets.LeRobotDataset(repo_id, root=folder)` opens.

    Args:
        folder: where to; it must not exist.
        card: what `recording_card` says.
        fps: rows per second.
        video: pictures as H.264 films, small and lossy, instead of PNG inside the rows.
        task: what is done, in words.

    Raises:
        RecordingError: if a package is missing or LeRobot cannot hold the spaces.
    """

    def __init__(self, folder: Path, card: dict[str, Any], fps: float, video: bool = False, task: str = "play") -> None:
        import_pyarrow()
        self.folder, self.fps, self.task = folder, fps, task
        self._spaces = space_from_card(card["observation_space"]), space_from_card(card["action_space"])
        self._features = features_of(*self._spaces, extras_of(card), video)
        self._companion = Companion(folder, card)
        self._rows = _ParquetFiles(folder / "data")
        self._films = {name: _FilmFiles(folder / "videos" / name, fps)
                       for name, feature in self._features.items() if feature.dtype == "video"}  # fmt: skip
        self._episodes: list[dict[str, Any]] = []
        self._statistics: list[dict[str, Statistics]] = []
        self._finals: list[dict[str, Any]] = []
        self._frames = 0

    def add(self, data: EpisodeData) -> None:
        """Append an episode.

        Raises:
            RecordingError: if it has no step.
        """
        if not data.steps:
            raise RecordingError(f"episode {data.id} has no step, LeRobot cannot hold it: leave it out with episodes=")
        columns: dict[str, Any] = {**to_columns("observation", self._spaces[0], data.observations),
                                   **to_columns("action", self._spaces[1], data.actions),
                                   **{f"extra.{name}": values for name, values in data.extras.items()}}  # fmt: skip
        number, first, steps = len(self._episodes), self._frames, data.steps
        marks, index = _marks(data), _index(number, first, steps, self.fps)
        place = self._rows.write(self._table({**columns, **marks, **index}, steps))
        films = {key: value for name, film in self._films.items()
                 for key, value in film.write(name, columns[self._features[name].column][:steps]).items()}  # fmt: skip
        statistics = self._describe(columns, {**marks, **index}, steps)
        self._episodes.append({
            "episode_index": number, "tasks": [self.task], "length": steps, **place, "dataset_from_index": first,
            "dataset_to_index": first + steps, **films, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
            **{f"stats/{n}/{key}": values for n, s in statistics.items() for key, values in as_lists(s).items()},
        })  # fmt: skip
        self._statistics.append(statistics)
        self._finals.append({name: c[steps:] for name, c in columns.items() if name.startswith("observation")})
        self._frames += steps
        self._companion.add(data)

    def close(self) -> None:
        """Finish the files."""
        self._rows.close()
        for film in self._films.values():
            film.close()
        _write_table(self.folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet", self._episodes)
        _write_tasks(self.folder / "meta" / "tasks.parquet", [self.task])
        self._write_finals()
        merged = {name: as_lists(merge_statistics([s[name] for s in self._statistics])) for name in self._statistics[0]}
        _write_json(self.folder / "meta" / "stats.json", merged)
        _write_json(self.folder / "meta" / "info.json", self._info())
        self._companion.close()

    def _table(self, columns: dict[str, Any], steps: int) -> Any:
        import pyarrow as pa

        parts = {name: arrow_column(feature, columns[feature.column][:steps])
                 for name, feature in self._all_features().items() if feature.dtype != "video"}  # fmt: skip
        return pa.table(parts)

    def _describe(self, columns: dict[str, Any], others: dict[str, np.ndarray], steps: int) -> dict[str, Statistics]:
        found = {}
        for name, feature in self._features.items():
            values = columns[feature.column][:steps]
            if feature.is_picture:
                found[name] = picture_statistics(values if values.ndim == 4 else values[..., None])
            elif feature.dtype != "string":
                found[name] = array_statistics(values)
        return {**found, **{name: array_statistics(values) for name, values in others.items()}}

    def _write_finals(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        still = features_of(*self._spaces, {}, video=False)
        parts = {name: pa.concat_arrays([arrow_column(f, final[f.column]) for final in self._finals])
                 for name, f in still.items() if f.column.startswith("observation")}  # fmt: skip
        pq.write_table(pa.table(parts), self.folder / FINAL)

    def _all_features(self) -> dict[str, Feature]:
        return {**self._features, **{n: Feature(column=n, dtype=d, shape=(1,)) for n, d in {**MARKS, **INDEX}.items()}}

    def _info(self) -> dict[str, Any]:
        cards = {name: feature.card() for name, feature in self._all_features().items()}
        for name in self._films:
            cards[name]["info"] = {
                "video.height": cards[name]["shape"][0], "video.width": cards[name]["shape"][1], "video.channels": 3,
                "video.codec": "h264", "video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": self.fps,
                "has_audio": False,
            }  # fmt: skip
        return {
            "codebase_version": "v3.0", "robot_type": None, "total_episodes": len(self._episodes),
            "total_frames": self._frames, "total_tasks": 1, "chunks_size": CHUNK, "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB, "fps": int(self.fps) if self.fps == int(self.fps) else self.fps,
            "splits": {"train": f"0:{len(self._episodes)}"}, "data_path": f"data/{_FILE}.parquet",
            "video_path": f"videos/{{video_key}}/{_FILE}.mp4" if self._films else None, "features": cards,
        }  # fmt: skip


class _Numbered:
    """Files chunk-000/file-000, chunk-000/file-001 and so on, a new one when the last has grown large."""

    def __init__(self, folder: Path, suffix: str, limit_mb: int) -> None:
        self._folder, self._suffix, self._limit = folder, suffix, limit_mb << 20
        self._number = -1

    @property
    def place(self) -> tuple[int, int]:
        return divmod(self._number, CHUNK)

    def path(self) -> Path:
        chunk, file = self.place
        return self._folder / f"chunk-{chunk:03d}" / f"file-{file:03d}{self._suffix}"

    def is_full(self) -> bool:
        return self._number < 0 or self.path().stat().st_size >= self._limit

    def next(self) -> Path:
        self._number += 1
        self.path().parent.mkdir(parents=True, exist_ok=True)
        return self.path()


class _ParquetFiles:
    """The rows of all episodes, one row group for each."""

    def __init__(self, folder: Path) -> None:
        self._files = _Numbered(folder, ".parquet", DATA_MB)
        self._writer: Any = None

    def write(self, table: Any) -> dict[str, int]:
        """Append an episode; returns in which file it is."""
        import pyarrow.parquet as pq

        if self._files.is_full():
            self.close()
            self._writer = pq.ParquetWriter(self._files.next(), table.schema, compression="snappy")
        self._writer.write_table(table, row_group_size=len(table))
        chunk, file = self._files.place
        return {"data/chunk_index": chunk, "data/file_index": file}

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _FilmFiles:
    """The pictures of one feature, episodes one after another."""

    def __init__(self, folder: Path, fps: float) -> None:
        self._files, self._fps = _Numbered(folder, ".mp4", VIDEO_MB), fps
        self._film: Mp4File | None = None

    def write(self, name: str, pictures: np.ndarray) -> dict[str, Any]:
        """Append an episode; returns where it is in which file."""
        if self._film is None or self._files.is_full():
            self.close()
            self._film = Mp4File(self._files.next(), self._fps, keyframes=2)  # so that any frame is found quickly
        first = self._film.frames
        for picture in as_rgb(pictures):
            self._film.add(make_even(picture))
        chunk, file = self._files.place
        return {f"videos/{name}/chunk_index": chunk, f"videos/{name}/file_index": file,
                f"videos/{name}/from_timestamp": first / self._fps,
                f"videos/{name}/to_timestamp": self._film.frames / self._fps}  # fmt: skip

    def close(self) -> None:
        if self._film is not None:
            self._film.close()
            self._film = None


def _marks(data: EpisodeData) -> dict[str, np.ndarray]:
    """What follows each action; an episode's last row is always done."""
    done = data.terminated | data.truncated
    done[-1] = True
    return {"next.reward": data.rewards, "next.done": done, "next.terminated": data.terminated,
            "next.truncated": data.truncated}  # fmt: skip


def _index(episode: int, first: int, steps: int, fps: float) -> dict[str, np.ndarray]:
    frames = np.arange(steps)
    return {"timestamp": (frames / fps).astype(np.float32), "frame_index": frames, "index": first + frames,
            "episode_index": np.full(steps, episode), "task_index": np.zeros(steps, np.int64)}  # fmt: skip


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_tasks(path: Path, tasks: list[str]) -> None:
    """The table that pandas writes for a frame with the tasks as its index; LeRobot reads it with pandas."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(name: str | None, field: str, kind: str, numpy_type: str) -> dict[str, Any]:
        return {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}

    index = "__index_level_0__"
    columns = [column("task_index", "task_index", "int64", "int64"), column(None, index, "unicode", "object")]
    note = {"index_columns": [index], "column_indexes": [], "pandas_version": "2.0.0", "columns": columns}
    table = pa.table({"task_index": list(range(len(tasks))), index: tasks})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(note)}), path)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), encoding="utf-8")
