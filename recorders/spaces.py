"""Gymnasium spaces as JSON, and values of any space as rows of plain arrays."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import gymnasium
import numpy as np
from gymnasium import spaces

from .layout import MAX_TEXT_BYTES, TEXT, Field, RecordingError

Space = gymnasium.Space[Any]
ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def space_card(space: Space) -> dict[str, Any]:
    """A space as JSON, enough to make it again.

    Raises:
        RecordingError: if it is of no kind that Gymnasium has.
    """
    card: dict[str, Any] = {"type": type(space).__name__}
    if isinstance(space, ARRAYS):
        card |= {"dtype": str(space.dtype), "shape": list(space.shape or [])}
    if isinstance(space, spaces.Discrete):
        return card | {"n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        starts = {"start": space.start.tolist()} if space.start.any() else {}
        return card | {"nvec": space.nvec.tolist(), **starts}
    if isinstance(space, spaces.MultiBinary):
        return card | {"n": np.asarray(space.n).tolist()}
    if isinstance(space, spaces.Box):
        return card | {"low": _bound(space.low), "high": _bound(space.high)}
    return card | _composite_card(space)


def space_from_card(card: Mapping[str, Any]) -> Space:
    """The space a card describes; inverse of `space_card`.

    Raises:
        RecordingError: if the card is not of that form.
    """
    try:
        return _MAKERS[card["type"]](card)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise RecordingError(f"{dict(card)} does not describe a Gymnasium space ({error!r})") from None


def space_fields(name: str, space: Space) -> dict[str, Field]:
    """The arrays that hold values of a space, by name.

    A Dict or Tuple becomes one array per part, `name.key`; Text is text, and Sequence, Graph and OneOf are text that
    holds the JSON of `space.to_jsonable`.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return {n: f for key, part in parts(space) for n, f in space_fields(_part_name(name, key), part).items()}
    if isinstance(space, ARRAYS):
        return {name: Field(shape=tuple(space.shape or ()), dtype=str(np.dtype(space.dtype)))}
    return {name: Field(shape=(), dtype=TEXT)}


def to_rows(name: str, space: Space, value: Any) -> dict[str, Any]:
    """One value of a space, as what its arrays hold in one row.

    Numbers have to arrive unchanged: a float64 in a float32 space is taken if it is the same number in both. Bounds
    of a Box are not checked, since games take actions outside of them.

    Raises:
        RecordingError: if the value has another shape, type or range; the message says what was expected.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return _composite_rows(name, space, value)
    if isinstance(space, ARRAYS):
        return {name: _exact(name, space, value)}
    if isinstance(space, spaces.Text):
        return {name: as_text(name, value)}
    if not space.contains(value):
        raise RecordingError(f"{name} must be in {space}, got {value!r}")
    return {name: as_text(name, json.dumps(space.to_jsonable([value])))}


def as_text(name: str, value: Any) -> str:
    """A row of text, if a chunk of such rows can be read again.

    Raises:
        RecordingError: if it is no text, cannot be UTF-8, or is too long.
    """
    if not isinstance(value, str):
        raise RecordingError(f"{name} is text, got {value!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise RecordingError(f"{name} cannot be recorded as UTF-8: {error}") from None
    if size > MAX_TEXT_BYTES:
        raise RecordingError(f"{name} has {size} bytes of text, more than {MAX_TEXT_BYTES} in a row: keep it in a file")
    return str(value)


def in_format(space: Space, value: Any) -> Any:
    """A value in the number format of its space, where that is an array; anything else as it is.

    Real numbers are rounded to the space's format, as anybody does who converts an action.

    Raises:
        RecordingError: if the shape is another, or an integer would change.
    """
    if not isinstance(space, ARRAYS) or isinstance(space, spaces.Discrete):
        return value
    given = np.asarray(value)
    rounded = given.dtype.kind == "f" and np.dtype(space.dtype).kind == "f"
    return _exact("action", space, given.astype(space.dtype) if rounded else given)


def from_rows(name: str, space: Space, rows: Mapping[str, np.ndarray]) -> Any:
    """Values of a space from its arrays: an array [n, ...], a dict or tuple of such, or a list of n values."""
    if isinstance(space, spaces.Dict):
        return {key: from_rows(_part_name(name, key), part, rows) for key, part in parts(space)}
    if isinstance(space, spaces.Tuple):
        return tuple(from_rows(_part_name(name, key), part, rows) for key, part in parts(space))
    if isinstance(space, ARRAYS):
        return rows[name]
    if isinstance(space, spaces.Text):
        return list(rows[name])
    return [space.from_jsonable(json.loads(text))[0] if text else None for text in rows[name]]


def value_at(space: Space, values: Any, index: int) -> Any:
    """Value `index` of what `from_rows` gave, as `env.step` takes it."""
    if isinstance(space, spaces.Dict):
        return {key: value_at(part, values[key], index) for key, part in parts(space)}
    if isinstance(space, spaces.Tuple):
        return tuple(value_at(part, values[key], index) for key, part in parts(space))
    return values[index]


def values_equal(first: Any, second: Any) -> bool:
    """Whether two values of a space are the same, bit for bit where they are numbers."""
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(values_equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(values_equal, first, second))
    if isinstance(first, str) or first is None:
        return bool(first == second)
    a, b = np.asarray(first), np.asarray(second)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _inexact(values: np.ndarray) -> bool:
    return bool(np.issubdtype(values.dtype, np.inexact))


def parts(space: Any) -> list[tuple[Any, Space]]:
    """Keys and spaces of what a Dict or Tuple is made of."""
    return list(space.spaces.items()) if isinstance(space, spaces.Dict) else list(enumerate(space.spaces))


def _part_name(name: str, key: Any) -> str:
    return f"{name}.{quote(str(key), safe='').replace('.', '%2E')}"


def _composite_rows(name: str, space: Any, value: Any) -> dict[str, Any]:
    keys = [key for key, _ in parts(space)]
    have = list(value) if isinstance(value, Mapping) else list(range(len(value))) if isinstance(value, tuple) else None
    if have is None or set(have) != set(keys):
        kind = "dict with keys" if isinstance(space, spaces.Dict) else "tuple with places"
        raise RecordingError(f"{name} must be a {kind} {keys}, got {value!r}")
    return {n: v for key, part in parts(space) for n, v in to_rows(_part_name(name, key), part, value[key]).items()}


def _exact(name: str, space: Space, value: Any) -> Any:
    if isinstance(space, spaces.Discrete) and isinstance(value, int | np.integer):  # by far the most frequent
        if space.start <= value < space.start + space.n:
            return value
        raise RecordingError(f"{name} must be in {space}, got {value!r}")
    given = np.asarray(value)
    dtype, shape = np.dtype(space.dtype), tuple(space.shape or ())
    if given.dtype == dtype and given.shape == shape and not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return given
    expected = f"{name} must be {dtype} {list(shape)}"
    if given.shape != shape or given.dtype.kind not in "biuf":
        raise RecordingError(f"{expected}, got {given.dtype} {list(given.shape)}")
    with np.errstate(all="ignore"):
        taken = given.astype(dtype)
        wrapped = given.dtype.kind != "b" and dtype.kind != "b" and ((taken < 0) != (given < 0)).any()
        if wrapped or not np.array_equal(taken.astype(given.dtype), given, equal_nan=_inexact(given)):
            raise RecordingError(f"{expected}; {given.dtype} {value!r} would be altered: convert it before stepping")
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        first, count = space.start, space.n if isinstance(space, spaces.Discrete) else space.nvec
        if ((taken < first) | (taken >= first + count)).any():
            raise RecordingError(f"{name} must be in {space}, got {value!r}")
    return taken


def _bound(values: np.ndarray) -> Any:
    """One number where all are equal, else a nested list; infinite ones as text, since JSON has none."""
    if values.size and (values == values.flat[0]).all():
        return _number(values.flat[0].item())
    return [_number(value) for value in values.ravel().tolist()]


def _number(value: Any) -> Any:
    return value if np.isfinite(value) else str(value)


def _bounds(card: Mapping[str, Any], key: str) -> np.ndarray:
    values = np.array(card[key], dtype=object).ravel()
    out = np.array([float(v) if isinstance(v, str) else v for v in values], card["dtype"])
    return np.broadcast_to(out.reshape(card["shape"]) if out.size != 1 else out.reshape(()), card["shape"])


def _composite_card(space: Any) -> dict[str, Any]:
    if isinstance(space, spaces.Dict):
        return {"spaces": {key: space_card(part) for key, part in space.spaces.items()}}
    if isinstance(space, spaces.Tuple | spaces.OneOf):
        return {"spaces": [space_card(part) for part in space.spaces]}
    if isinstance(space, spaces.Text):
        charset = "".join(space.character_list)
        return {"min_length": space.min_length, "max_length": space.max_length, "charset": charset}
    if isinstance(space, spaces.Sequence):
        return {"feature": space_card(space.feature_space), "stack": space.stack}
    if isinstance(space, spaces.Graph):
        edge = None if space.edge_space is None else space_card(space.edge_space)
        return {"node": space_card(space.node_space), "edge": edge}
    raise RecordingError(f"{space} is no space that Gymnasium has: expected Box, Discrete, Dict and the like")


_MAKERS: dict[str, Any] = {
    "Box": lambda c: spaces.Box(_bounds(c, "low"), _bounds(c, "high"), tuple(c["shape"]), np.dtype(c["dtype"]).type),
    "Discrete": lambda c: spaces.Discrete(c["n"], start=c.get("start", 0)),
    "MultiDiscrete": lambda c: spaces.MultiDiscrete(c["nvec"], np.dtype(c["dtype"]).type, start=c.get("start")),
    "MultiBinary": lambda c: spaces.MultiBinary(c["n"]),
    "Text": lambda c: spaces.Text(c["max_length"], min_length=c["min_length"], charset=c["charset"]),
    "Dict": lambda c: spaces.Dict({key: space_from_card(part) for key, part in c["spaces"].items()}),
    "Tuple": lambda c: spaces.Tuple([space_from_card(part) for part in c["spaces"]]),
    "OneOf": lambda c: spaces.OneOf([space_from_card(part) for part in c["spaces"]]),
    "Sequence": lambda c: spaces.Sequence(space_from_card(c["feature"]), stack=c["stack"]),
    "Graph": lambda c: spaces.Graph(space_from_card(c["node"]), c["edge"] and space_from_card(c["edge"])),
}
