"""Recordings as Minari data sets, and back."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cards import extras_of
from .companion import Companion, read_companion
from .episode_data import EpisodeData, Source
from .layout import DTYPES, TEXT, RecordingError
from .leaves import leaf_spaces
from .parquet import import_pyarrow
from .schema import Extra
from .spaces import space_from_card

PARQUET_STEPS = (1 << 17) - 1
"""Minari takes a batch of Arrow's for an episode, and those end after 2^17 rows"""
_ID = re.compile(r"([-_\w]+/)*[-_\w]+-v\d+")
_NAMED = ("dataset_id", "algorithm_name", "author", "author_email", "code_permalink", "description", "requirements",
          "env_spec", "minari_version")  # fmt: skip


class MinariDataset:
    """Writes a Minari data set: T + 1 observations per episode, pictures kept without loss (no JPEG).

    Extras become infos with T + 1 entries, as Minari has them: entry t + 1 came with step t, the first is zero.

    Args:
        folder: of the data set, `<root>/<dataset id>`.
        dataset_id: its name for `minari.load_dataset`, e.g. `"pong/mixed-v0"`.
        card: what `recording_card` says.
        data_format: "hdf5", uncompressed and read most quickly, or "parquet", some fifty times smaller for Pong.

    Raises:
        RecordingError: if minari is missing, the id is none, or Minari cannot hold the spaces.
    """

    def __init__(self, folder: Path, dataset_id: str, card: dict[str, Any], data_format: str = "hdf5") -> None:
        minari = import_minari()
        check_id(dataset_id)
        if data_format not in ("hdf5", "parquet"):
            raise RecordingError(f"data_format must be hdf5 or parquet, got {data_format!r}")
        if data_format == "parquet":
            import_pyarrow()
        self._longest = PARQUET_STEPS if data_format == "parquet" else None
        observation_space, action_space = (space_from_card(card[f"{n}_space"]) for n in ("observation", "action"))
        _check_keys({**leaf_spaces("observation", observation_space), **leaf_spaces("action", action_space)})
        (folder / "data").mkdir(parents=True)
        try:
            self._storage = minari.dataset.minari_storage.MinariStorage.new(
                folder / "data", observation_space, action_space, data_format=data_format, jpeg_encoding=False
            )
        except (NotImplementedError, TypeError) as error:
            raise RecordingError(f"Minari cannot hold these spaces ({error}): export to npz") from None
        behaviours = card["meta"].get("behaviours")
        named = {"algorithm_name": ", ".join(map(str, behaviours))} if isinstance(behaviours, list) else {}
        self._storage.update_metadata({
            "dataset_id": dataset_id, "minari_version": minari.__version__, "description": "Recorded by Foreframe",
            **named,
        })  # fmt: skip
        self._companion = Companion(folder, card)

    def add(self, data: EpisodeData) -> None:
        """Append an episode.

        Raises:
            RecordingError: if it is longer than Minari can read back.
        """
        if self._longest is not None and data.steps > self._longest:
            raise RecordingError(
                f"episode {data.id} has {data.steps} steps, Minari reads {self._longest} at most from Parquet: "
                "choose data_format=hdf5"
            )
        from minari.data_collector import EpisodeBuffer

        self._storage.update_episodes([
            EpisodeBuffer(
                seed=data.seed if data.seed is not None and data.seed < 1 << 63 else None,
                options=_simple(data.options),
                observations=data.observations,
                actions=data.actions,
                rewards=data.rewards,
                terminations=data.terminated,
                truncations=data.truncated,
                infos={name: _shifted(values) for name, values in data.extras.items()} or None,
            )
        ])
        self._companion.add(data)

    def close(self) -> None:
        """Finish the data set."""
        self._companion.close()


def open_minari(name: str, root: Path | None = None, infos: Sequence[str] | None = None) -> Source:
    """Open a Minari data set.

    Args:
        name: its id, or the folder it lies in.
        root: the folder that ids are looked up in; None takes Minari's own.
        infos: which infos to keep as extras; None takes all that are numbers or text per step.

    Raises:
        RecordingError: if minari is missing, there is no such data set, or it cannot be read.
    """
    minari = import_minari()
    folder = Path(name)
    if not (folder / "data" / "metadata.json").is_file():
        check_id(name)
        folder = (root or _default_root()) / name
    if not (folder / "data" / "metadata.json").is_file():
        raise RecordingError(f"there is no Minari data set {name!r} at {folder}: minari download {name}, or root=...")
    try:
        dataset = minari.MinariDataset(folder / "data")
        companion = read_companion(folder)
        total = int(dataset.total_episodes)
        if companion is not None:
            card, notes = companion
            extras, meta = extras_of(card), card["meta"]
            spaces = [space_from_card(card[f"{n}_space"]) for n in ("observation", "action")]
        else:
            notes, meta = [], {"minari": _named(dataset)}
            spaces = [dataset.observation_space, dataset.action_space]
            extras = _guess_extras(dataset, infos) if total else {}
    except RecordingError:
        raise
    except Exception as error:  # whatever Minari raises on what it cannot read
        raise RecordingError(f"Minari cannot read {folder}: {error!r}") from None
    return Source(
        name=str(folder), observation_space=spaces[0], action_space=spaces[1], extras=extras, meta=meta,
        episodes=_read(dataset, extras, notes), total=total, notes=_warnings(minari, dataset),
    )  # fmt: skip


def import_minari() -> Any:
    """The minari package.

    Raises:
        RecordingError: if it is not installed.
    """
    try:
        import h5py  # noqa: F401
        import minari
        import minari.dataset.minari_storage
    except ImportError as error:
        raise RecordingError(
            f"Minari data sets need the packages minari and h5py ({error}): pip install minari h5py, "
            "or pip install -e '.[export]' in the checkout"
        ) from None
    return minari


def check_id(dataset_id: str) -> None:
    """See that a Minari data set may be called so.

    Raises:
        RecordingError: if not.
    """
    if not _ID.fullmatch(dataset_id):
        raise RecordingError(f"a Minari data set is called name-v0, or group/name-v0, got {dataset_id!r}")


def _default_root() -> Path:
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def _check_keys(leaves: dict[str, Any]) -> None:
    bad = [name for name in leaves if "%2F" in name]
    if bad:
        raise RecordingError(f"Minari cannot hold keys with '/' in them, these spaces have {bad}: export to npz")


def _warnings(minari: Any, dataset: Any) -> list[str]:
    is_image = minari.dataset.minari_storage.is_image_space
    leaves = leaf_spaces("observation", dataset.observation_space)
    if dataset.storage.jpeg_encoding and any(map(is_image, leaves.values())):
        return [f"{dataset.id} holds its pictures as JPEG: they are close to what was seen, not equal"]
    return []


def _simple(options: Any) -> dict[str, Any] | None:
    """Reset options that HDF5 attributes can hold; others are kept beside."""
    if not isinstance(options, dict):
        return None
    simple = all(isinstance(value, bool | int | float | str) for value in options.values())
    return options if options and simple and len(json.dumps(options)) < 10_000 else None


def _shifted(values: np.ndarray) -> Any:
    """[T, ...] as the T + 1 entries of infos."""
    if values.dtype.kind in "OU":
        return ["", *map(str, values)]
    shifted = np.concatenate([np.zeros_like(values, shape=(1, *values.shape[1:])), values])
    return list(shifted) if values.ndim == 1 else shifted  # Minari 0.5 cannot read arrays of single values from Parquet


def _guess_extras(dataset: Any, infos: Sequence[str] | None) -> dict[str, Extra]:
    """Extras for the infos of the first episode that hold a value per step."""
    episode = dataset[0]
    found, steps = {}, len(episode.rewards)
    for name, values in (episode.infos or {}).items():
        array = np.asarray(values) if not isinstance(values, dict) else None
        if array is None or not array.ndim or len(array) not in (steps, steps + 1):
            continue
        dtype = TEXT if array.dtype.kind in "OUS" else str(array.dtype)
        if dtype in DTYPES and name.replace("_", "a").isalnum() and (infos is None or name in infos):
            found[name] = Extra(dtype, array.shape[1:])
    if missing := sorted(set(infos or ()) - found.keys()):
        raise RecordingError(f"there are no infos {missing} with one value per step; choose from {sorted(found)}")
    return found


def _named(dataset: Any) -> dict[str, Any]:
    """What a data set says of itself, as JSON."""
    metadata = dataset.storage.metadata
    return {name: sorted(value) if isinstance(value := metadata[name], set) else value
            for name in _NAMED if name in metadata}  # fmt: skip


def _read(dataset: Any, extras: dict[str, Extra], notes: list[dict[str, Any]]) -> Iterator[EpisodeData]:
    for number in range(dataset.total_episodes):
        try:
            found = dataset[number]
            known = next(iter(dataset.storage.get_episode_metadata([number])))
        except Exception as error:  # whatever Minari raises on what it cannot read
            raise RecordingError(f"Minari cannot read episode {number} of {dataset.id}: {error!r}") from None
        noted = notes[number] if notes else {"id": str(number), "seed": known.get("seed"),
                                             "options": _json(known.get("options"))}  # fmt: skip
        steps = len(found.rewards)
        yield EpisodeData(
            observations=found.observations,
            actions=found.actions,
            rewards=np.asarray(found.rewards, np.float64),
            terminated=np.asarray(found.terminations, bool),
            truncated=np.asarray(found.truncations, bool),
            extras={name: _extra(found.infos or {}, name, extra, steps, number) for name, extra in extras.items()},
            **noted,
        )


def _extra(infos: dict[str, Any], name: str, extra: Extra, steps: int, number: int) -> np.ndarray:
    if name not in infos or len(infos[name]) not in (steps, steps + 1):
        raise RecordingError(f"episode {number} lacks the info {name!r} that the first one has: leave it out of infos=")
    values = infos[name][len(infos[name]) - steps :]
    if extra.dtype == TEXT:
        return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values], object)
    return np.asarray(values, extra.dtype).reshape(steps, *extra.shape)


def _json(options: Any) -> Any:
    if isinstance(options, dict):
        return {key: _json(value) for key, value in options.items()}
    return options.item() if isinstance(options, np.generic) else options
