"""Values of any space taken apart into named columns, as files of other formats hold them."""

import json
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .spaces import ARRAYS, from_rows, parts, space_fields

Space = gymnasium.Space[Any]


def leaf_spaces(name: str, space: Space) -> dict[str, Space]:
    """The parts of a space that are no Dict or Tuple, by the name of their column: `name`, or `name.key.0` inside."""
    return dict(zip(space_fields(name, space), _leaves(space), strict=True))


def is_array(space: Space) -> bool:
    """Whether values of a leaf are arrays of one shape; all others are text, or JSON in a text."""
    return isinstance(space, ARRAYS)


def is_picture_leaf(space: Space) -> bool:
    """Whether values of a leaf are uint8 pictures: [H, W], or [H, W, C] with 1, 3 or 4 channels."""
    shape = space.shape or ()
    right = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and right and min(shape[:2]) > 1


def to_columns(name: str, space: Space, values: Any) -> dict[str, np.ndarray | list[str]]:
    """Values of a space as `Recording.read` gives them, as columns: arrays [n, ...], or lists of n strings.

    Text stays as it is; values of Sequence, Graph and OneOf become the JSON of `space.to_jsonable`.
    """
    leaves = leaf_spaces(name, space)
    return {n: _column(leaf, v) for (n, leaf), v in zip(leaves.items(), _leaf_values(space, values), strict=True)}


def from_columns(name: str, space: Space, columns: dict[str, Any]) -> Any:
    """The values that `to_columns` took apart, arrays in the dtype and shape of their space.

    Raises:
        KeyError: if a column is missing; its argument is the column's name.
        ValueError: if a column does not have the space's shape.
    """
    rows = {n: _rows(leaf, columns[n]) for n, leaf in leaf_spaces(name, space).items()}
    return from_rows(name, space, rows)


def count(space: Space, values: Any) -> int:
    """How many values there are in what `Recording.read` gives."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        leaves = list(_leaf_values(space, values))
        return len(leaves[0]) if leaves else 0
    return len(values)


def _leaves(space: Any) -> list[Space]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return [leaf for _, part in parts(space) for leaf in _leaves(part)]
    return [space]


def _leaf_values(space: Any, values: Any) -> list[Any]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return [leaf for key, part in parts(space) for leaf in _leaf_values(part, values[key])]
    return [values]


def _column(space: Space, values: Any) -> np.ndarray | list[str]:
    if is_array(space):
        return np.asarray(values)
    if isinstance(space, spaces.Text):
        return [str(value) for value in values]
    return [json.dumps(space.to_jsonable([value])) for value in values]


def _rows(space: Space, column: np.ndarray | Sequence[str]) -> Any:
    if is_array(space):
        given = np.asarray(column)
        return given.reshape(len(given), *(space.shape or ())).astype(space.dtype, copy=False)
    return [str(value) for value in column]
