"""NumPy files of other programs: spaces are guessed from the arrays, and said to be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from .episode_data import EpisodeData, Source
from .layout import RecordingError
from .npz_files import npz_paths, read_arrays

_NAMES = {
    "observations": ("observations",),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminated": ("terminated", "terminations"),
    "truncated": ("truncated", "truncations"),
}
REPEATED = "last_observation_repeated"


def open_foreign_npz(path: Path, allow_missing_last: bool = False) -> Source:
    """Open `.npz` files of one episode each, with the arrays of `_NAMES`.

    Args:
        path: a file, or a folder of them.
        allow_missing_last: take files with as many observations as actions; the last one is then repeated, and the
            episode's meta says so under `last_observation_repeated`.

    Raises:
        RecordingError: if an array is missing or has the wrong length, a file holds several episodes, or they differ.
    """
    paths = npz_paths(path)
    firsts = [read_arrays(file, ["actions"]) for file in paths]
    sample = _load(paths[0])
    for file, arrays in zip(paths, firsts, strict=True):
        if "actions" not in arrays:
            _load(file)
    observation_space = _observation_space(sample["observations"])
    action_space = _action_space(paths, [arrays["actions"] for arrays in firsts])
    return Source(
        name=str(path),
        observation_space=observation_space,
        action_space=action_space,
        extras={},
        meta={"spaces": "guessed from the arrays"},
        episodes=_read(paths, observation_space, allow_missing_last),
        total=len(paths),
        notes=[f"{path} does not say its spaces; guessed observations {_short(observation_space)}, "
               f"actions {_short(action_space)}"],
    )  # fmt: skip


def _read(paths: list[Path], space: spaces.Box, allow_missing_last: bool) -> Iterator[EpisodeData]:
    for path in paths:
        arrays = _load(path)
        observations, steps, meta = arrays["observations"], len(arrays["rewards"]), {}
        if observations.dtype != space.dtype or observations.shape[1:] != space.shape:
            raise RecordingError(
                f"{path} has observations {observations.dtype} {list(observations.shape[1:])}, the first file "
                f"{space.dtype} {list(space.shape)}: import them apart"
            )
        if len(observations) == steps:
            if not allow_missing_last:
                raise RecordingError(
                    f"{path} has {steps} observations for {steps} actions: the one after the last action is missing; "
                    "allow_missing_last=true repeats the last one, which is not what the game showed"
                )
            observations = np.concatenate([observations, observations[-1:]])
            meta = {REPEATED: True}
        ended = arrays["terminated"].astype(bool) | arrays["truncated"].astype(bool)
        if ended[:-1].any():
            raise RecordingError(
                f"{path} holds several episodes, the first ends at step {int(ended.argmax())}: save one per file"
            )
        yield EpisodeData(
            observations=observations,
            actions=arrays["actions"],
            rewards=arrays["rewards"].astype(np.float64),
            terminated=arrays["terminated"].astype(bool),
            truncated=arrays["truncated"].astype(bool),
            meta=meta,
            id=path.name,
        )


def _load(path: Path) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    found = {}
    for name, spellings in _NAMES.items():
        have = [spelling for spelling in spellings if spelling in arrays]
        if not have:
            wanted = ", ".join(" or ".join(spellings) for spellings in _NAMES.values())
            raise RecordingError(f"{path} has no {' or '.join(spellings)}: expected {wanted}, got {sorted(arrays)}")
        found[name] = arrays[have[0]]
    steps = found["rewards"].shape
    if len(steps) != 1 or steps == (0,):
        raise RecordingError(f"{path} has rewards of shape {list(steps)}: expected [T] with T steps of one episode")
    for name in ("observations", "actions", "terminated", "truncated"):
        array, n = found[name], steps[0]
        fits = array.ndim and len(array) in ((n, n + 1) if name == "observations" else (n,))
        if not fits or array.dtype.kind not in "biuf" or (name[0] == "t" and array.ndim != 1):
            expected = f"{n + 1} observations (or {n})" if name == "observations" else f"{n} {name}"
            raise RecordingError(
                f"{path} has {n} rewards, so it needs {expected} as numbers, got {array.dtype} {list(array.shape)}"
            )
    return found


def _observation_space(array: np.ndarray) -> spaces.Box:
    return _box(array.shape[1:], array.dtype)


def _action_space(paths: list[Path], actions: list[np.ndarray]) -> Any:
    first = actions[0]
    for path, array in zip(paths, actions, strict=True):
        if array.dtype != first.dtype or array.shape[1:] != first.shape[1:]:
            raise RecordingError(
                f"{path} has actions {array.dtype} {list(array.shape[1:])}, {paths[0]} has {first.dtype} "
                f"{list(first.shape[1:])}: import them apart"
            )
    if first.ndim == 1 and first.dtype.kind in "biu":
        low = min(0, *(int(array.min()) for array in actions))
        high = max(int(array.max()) for array in actions)
        return spaces.Discrete(high - low + 1, start=low)
    if first.dtype.kind == "b":
        return spaces.MultiBinary(first.shape[1:])
    return _box(first.shape[1:], first.dtype)


def _box(shape: tuple[int, ...], dtype: np.dtype[Any]) -> spaces.Box:
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, shape, dtype.type)
    if dtype.kind == "b":
        return spaces.Box(0, 1, shape, np.bool_)  # type: ignore[arg-type]
    limits = np.iinfo(dtype)
    return spaces.Box(limits.min, limits.max, shape, dtype.type)


def _short(space: Any) -> str:
    if isinstance(space, spaces.Box):
        return f"Box {space.dtype} {list(space.shape)}"
    return str(space)
