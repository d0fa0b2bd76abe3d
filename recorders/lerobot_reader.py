"""Reads LeRobot data sets that were exported from recordings; the folder `foreframe` in them has what LeRobot lacks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .cards import extras_of
from .companion import read_companion
from .episode_data import EpisodeData, Source
from .layout import RecordingError
from .leaves import from_columns
from .lerobot_data import FINAL
from .lerobot_features import MARKS, Feature, features_of, numpy_column
from .parquet import import_pyarrow
from .schema import Extra
from .spaces import Space, space_from_card


def open_lerobot(folder: Path) -> Source:
    """Open a data set in layout v3.0.

    Args:
        folder: the one with `meta/info.json` in it.

    Raises:
        RecordingError: if pyarrow is missing, the data set comes from elsewhere, or its pictures are films, which are
            not what was recorded.
    """
    import_pyarrow()
    companion = read_companion(folder)
    if companion is None:
        raise RecordingError(
            f"{folder} does not come from recorders.export: a LeRobot data set has no observation after the last "
            "action and no spaces, so it cannot become a recording"
        )
    try:
        info = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
        films = [name for name, card in info["features"].items() if card["dtype"] == "video"]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise RecordingError(f"{folder}/meta/info.json is damaged ({error!r}): restore it from a copy") from None
    if films:
        raise RecordingError(f"{films} are films, which lose detail: import from an export without video=true")
    card, notes = companion
    observation_space, action_space = (space_from_card(card[f"{n}_space"]) for n in ("observation", "action"))
    return Source(
        name=str(folder), observation_space=observation_space, action_space=action_space, extras=extras_of(card),
        meta=card["meta"], episodes=_read(folder, info, notes, (observation_space, action_space), extras_of(card)),
        total=len(notes),
    )  # fmt: skip


def _read(folder: Path, info: dict[str, Any], notes: list[dict[str, Any]], spaces: tuple[Space, Space],
          extras: dict[str, Extra]) -> Iterator[EpisodeData]:  # fmt: skip
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        episodes = [row for path in sorted(folder.glob("meta/episodes/*/*.parquet")) for row in pq.read_table(
            path, columns=["episode_index", "data/chunk_index", "data/file_index", "length"]).to_pylist()]  # fmt: skip
        finals = pq.read_table(folder / FINAL)
        if len(episodes) != len(notes) or len(finals) != len(notes):
            raise RecordingError(f"{folder} has {len(episodes)} episodes, {len(notes)} were exported: export again")
        for row, noted in zip(episodes, notes, strict=True):
            place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
            number = row["episode_index"]
            table = pq.read_table(folder / info["data_path"].format(**place), filters=[("episode_index", "=", number)])
            yield _episode(table, finals.slice(number, 1), noted, spaces, extras)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{folder} cannot be read as a LeRobot data set: {error!r}") from None


def _episode(table: Any, final: Any, noted: dict[str, Any], spaces: tuple[Space, Space],
             extras: dict[str, Extra]) -> EpisodeData:  # fmt: skip
    columns: dict[str, Any] = {}
    for name, feature in features_of(*spaces, extras).items():
        values = numpy_column(feature, table.column(name))
        if feature.column.startswith("observation"):
            last = numpy_column(feature, final.column(name))
            values = values + last if isinstance(values, list) else np.concatenate([values, last])
        columns[feature.column] = values
    marks = {n: numpy_column(Feature(column=n, dtype=d, shape=(1,)), table.column(n)) for n, d in MARKS.items()}
    return EpisodeData(
        observations=from_columns("observation", spaces[0], columns),
        actions=from_columns("action", spaces[1], columns),
        rewards=marks["next.reward"],
        terminated=marks["next.terminated"],
        truncated=marks["next.truncated"],
        extras={name: _extra(columns[f"extra.{name}"], extra) for name, extra in extras.items()},
        **noted,
    )


def _extra(values: Any, extra: Extra) -> np.ndarray:
    if isinstance(values, list):
        return np.array(values, object)
    return values.reshape(len(values), *extra.shape)
