"""The columns of a LeRobot data set: what they are called, what they hold, and how Arrow stores them."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .layout import TEXT, RecordingError
from .leaves import Space, is_array, is_picture_leaf, leaf_spaces
from .schema import Extra

MARKS = {"next.reward": "float64", "next.done": "bool", "next.terminated": "bool", "next.truncated": "bool"}
INDEX = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
         "task_index": "int64"}  # fmt: skip
AXES = ["height", "width", "channels"]


@dataclass(kw_only=True)
class Feature:
    """One column.

    Attributes:
        column: name of the recording's column it is made of, e.g. `observation.camera`.
        dtype: as `info.json` names it: a numpy name, "string", "image" or "video".
        shape: of one row; (1,) for a single value.
    """

    column: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_picture(self) -> bool:
        """Whether it holds pictures."""
        return self.dtype in ("image", "video")

    def card(self) -> dict[str, Any]:
        """As `info.json` has it."""
        return {"dtype": self.dtype, "shape": list(self.shape), "names": AXES if self.is_picture else None}


def features_of(observation_space: Space, action_space: Space, extras: dict[str, Extra],
                video: bool = False) -> dict[str, Feature]:  # fmt: skip
    """The features of a recording, by their LeRobot names.

    A single picture is `observation.image`, a single array `observation.state`; parts of a Dict or Tuple are
    `observation.images.key` and `observation.key`. Actions are `action` or `action.key`, extras `extra.name`.

    Raises:
        RecordingError: if two would have one name, or an array has more than five axes.
    """
    named = [(_observation_name(name, leaf), _feature(name, leaf, video))
             for name, leaf in leaf_spaces("observation", observation_space).items()]  # fmt: skip
    named += [(name, _feature(name, leaf, None)) for name, leaf in leaf_spaces("action", action_space).items()]
    named += [(f"extra.{name}", Feature(column=f"extra.{name}", dtype=e.dtype, shape=tuple(e.shape) or (1,)))
              for name, e in extras.items()]  # fmt: skip
    features = dict(named)
    if len(features) < len(named):
        raise RecordingError(f"two columns would have one name among {[n for n, _ in named]}: export to npz")
    if long := [name for name, feature in features.items() if len(feature.shape) > 5]:
        raise RecordingError(f"LeRobot holds arrays of up to five axes, {long} have more: export to npz")
    return features


def arrow_column(feature: Feature, values: Any) -> Any:
    """Rows of a feature as an Arrow array; pictures as PNG."""
    import pyarrow as pa

    if feature.dtype == "image":
        rows = [{"bytes": encode_png(picture), "path": None} for picture in values]
        return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    if feature.dtype == TEXT:
        return pa.array([str(value) for value in values], pa.string())
    array = np.asarray(values, feature.dtype)
    flat = pa.array(np.ascontiguousarray(array).ravel())
    if feature.shape == (1,):
        return flat
    if len(feature.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, feature.shape[0])
    for size in reversed(feature.shape):
        flat = pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, size), pa.int32()), flat)
    return flat


def numpy_column(feature: Feature, column: Any) -> Any:
    """Inverse of `arrow_column`: an array [n, *shape], [n] for single values, or a list of strings.

    Args:
        feature: what it holds.
        column: the Arrow column.
    """
    if feature.dtype == "image":
        return np.stack([decode_png(row["bytes"]) for row in column.to_pylist()])
    if feature.dtype == TEXT:
        return column.to_pylist()
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    inner = feature.shape if feature.shape != (1,) else ()
    for _ in inner:
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False).astype(feature.dtype, copy=False).reshape(-1, *inner)


def encode_png(picture: np.ndarray) -> bytes:
    """A picture, uint8 [H, W] or [H, W, C], as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture).save(file, "PNG")
    return file.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """The picture, uint8 [H, W] or [H, W, C]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _observation_name(column: str, leaf: Space) -> str:
    part = column.removeprefix("observation").removeprefix(".")
    if is_picture_leaf(leaf):
        return f"observation.images.{part}" if part else "observation.image"
    return f"observation.{part}" if part else "observation.state"


def _feature(column: str, leaf: Space, video: bool | None) -> Feature:
    """The feature of a leaf; `video` is None where pictures are not to be treated as such."""
    if not is_array(leaf):
        return Feature(column=column, dtype=TEXT, shape=(1,))
    shape = tuple(leaf.shape or ())
    if video is None or not is_picture_leaf(leaf):
        return Feature(column=column, dtype=str(np.dtype(leaf.dtype)), shape=shape or (1,))
    if video:
        return Feature(column=column, dtype="video", shape=(shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, 3))
    return Feature(column=column, dtype="image", shape=(*shape[:2], shape[2] if len(shape) == 3 else 1))
