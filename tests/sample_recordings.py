"""Small recordings of any spaces, and what it means that two of them are the same."""

from collections.abc import Mapping
from pathlib import Path

import gymnasium
import numpy as np

from recorders import Extra, ZarrRecorder, open_recording

PICTURE = gymnasium.spaces.Box(0, 255, (36, 33, 3), np.uint8)
VECTOR = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
MIXED = gymnasium.spaces.Dict({
    "camera": PICTURE,
    "arm": gymnasium.spaces.Tuple([VECTOR, gymnasium.spaces.Discrete(3, start=-1)]),
    "grid": gymnasium.spaces.Box(-5, 5, (2, 3), np.int16),
})  # fmt: skip
DISCRETE = gymnasium.spaces.Discrete(6)
EXTRAS = {"actor": "uint8", "latency_ms": Extra("float32", unit="ms"), "latent": Extra("float64", (2,)),
          "said": "string"}  # fmt: skip
META = {"game": {"id": "Sample-v0", "fps": 15.0}, "behaviours": ["held-random", "scripted"]}


def record(
    folder: Path,
    observation_space: gymnasium.Space = PICTURE,
    action_space: gymnasium.Space = DISCRETE,
    lengths: tuple[int, ...] = (5, 3),
    extras: Mapping = EXTRAS,
    meta: Mapping = META,
    unfinished: bool = False,
    seed: int = 0,
) -> Path:
    """Record random values; every episode but the last terminates, the last is cut or, if asked, breaks off."""
    rng = np.random.default_rng(seed)
    observation_space.seed(seed)
    action_space.seed(seed + 1)
    with ZarrRecorder(folder, observation_space, action_space, extras=extras, meta=meta) as recorder:
        for number, length in enumerate(lengths):
            options = {"level": 3, "start": np.arange(3)} if number == 0 else None
            recorder.begin(seed=100 + number, options=options, arrays={"context": rng.random(2)}, world="abc")
            for t in range(length):
                last = t == length - 1 and not unfinished
                ends = number < len(lengths) - 1
                values = {name: extra_value(extra, rng) for name, extra in extras.items()}
                recorder.add(observation_space.sample(), action_space.sample(), rng.normal(), last and ends,
                             last and not ends, **values)  # fmt: skip
            if not (unfinished and number == len(lengths) - 1):
                recorder.end(observation_space.sample(), note=number)
            else:
                recorder.end(observation_space.sample(), unfinished=True)
    return folder


def extra_value(extra: str | Extra, rng: np.random.Generator):
    """A random value for an extra."""
    extra = Extra(extra) if isinstance(extra, str) else extra
    if extra.dtype == "string":
        return f"{rng.integers(1000)} ä"
    return rng.integers(0, 200, extra.shape).astype(extra.dtype)


def assert_same_recordings(first: Path, second: Path, numbers: list[int] | None = None, arrays: bool = True) -> None:
    """See that two recordings hold the same spaces, steps, seeds, options and notes, in dtype and bit for bit.

    Args:
        first: one recording.
        second: the other.
        numbers: which episodes of the first the second holds; None for all.
        arrays: whether episodes' own arrays are compared.
    """
    a, b = open_recording(first), open_recording(second)
    assert a.observation_space == b.observation_space and a.action_space == b.action_space
    assert type(a.observation_space) is type(b.observation_space) and sorted(a.extras) == sorted(b.extras)
    assert a.meta["game"] == b.meta["game"] and a.fps == b.fps
    assert [a.meta["extras"][name] for name in a.extras] == [b.meta["extras"][name] for name in a.extras]
    episodes = [a.episodes[n] for n in (range(len(a.episodes)) if numbers is None else numbers)]
    assert len(episodes) == len(b.episodes)
    for x, y in zip(episodes, b.episodes, strict=True):
        assert (x.seed, x.unfinished, x.steps, x.return_) == (y.seed, y.unfinished, y.steps, y.return_)
        assert x.meta == {key: value for key, value in y.meta.items() if key != "merged_from"}
        assert_equal(x.options(), y.options())
        if arrays:
            assert_equal(x.arrays(), y.arrays())
        one, other = a.read(x), b.read(y)
        for name in ("observations", "actions", "rewards", "terminated", "truncated", "extras"):
            assert_equal(getattr(one, name), getattr(other, name), name)


def assert_equal(first, second, place: str = "") -> None:
    """See that two values are the same, also in type and dtype."""
    assert type(first) is type(second), place
    if isinstance(first, Mapping):
        assert first.keys() == second.keys(), place
        for key in first:
            assert_equal(first[key], second[key], f"{place}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), place
        for n, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_equal(one, other, f"{place}.{n}")
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype and first.shape == second.shape, place
        np.testing.assert_array_equal(first, second, place)
    else:
        assert first == second, place


def files_in(folder: Path) -> dict[str, bytes]:
    """All files under a folder, with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
