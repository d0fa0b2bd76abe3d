"""Where an episode begins: a real clip that ships with the world, or any clip the caller hands over."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OPTIONS = ("context", "frames", "actions")


class Start(NamedTuple):
    """A clip to continue: frames uint8 [k, H, W, 3], oldest first, and the k-1 actions between them."""

    frames: NDArray[np.uint8]
    actions: NDArray[np.int64]


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that `reset` does not know, or that contradict each other.

    Raises:
        ValueError: for an unknown key, for a context beside frames, and for actions without frames.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"unknown reset options {unknown}: expected some of {list(OPTIONS)}")
    if "context" in options and "frames" in options:
        raise ValueError("reset options name both a context and frames: give one of them")
    if "actions" in options and "frames" not in options:
        raise ValueError("reset options have actions but no frames: give the frames between which they were taken")


def start_from_clip(options: Mapping[str, Any], shape: tuple[int, int, int], num_actions: int) -> Start:
    """The clip in `options`, checked.

    Args:
        options: `frames`, uint8 [k, H, W, 3] with k >= 1, and `actions`, k-1 ids (may be absent when k is 1).
        shape: [H, W, 3] of the world's frames.
        num_actions: actions are in [0, num_actions).

    Raises:
        ValueError: saying what was expected and what came.
    """
    frames = np.asarray(options["frames"])
    expected = f"frames must be uint8 [k, {shape[0]}, {shape[1]}, {shape[2]}] with k >= 1"
    if frames.ndim != 4 or frames.shape[1:] != shape or len(frames) < 1 or frames.dtype != np.uint8:
        raise ValueError(f"{expected}, got {frames.dtype} {list(frames.shape)}")
    actions = np.asarray(options.get("actions", []))
    if actions.shape != (len(frames) - 1,):
        raise ValueError(
            f"actions must be [{len(frames) - 1}], one between each two of the {len(frames)} frames, "
            f"got {list(actions.shape)}"
        )
    if actions.size and not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(f"actions must be integers, got {actions.dtype}")
    if actions.size and not (actions.min() >= 0 and actions.max() < num_actions):
        raise ValueError(
            f"actions must lie in [0, {num_actions - 1}], got values from {actions.min()} to {actions.max()}"
        )
    return Start(frames, actions.astype(np.int64))


def context_index(value: Any, count: int) -> int:
    """`value` as the index of one of `count` shipped clips.

    Raises:
        ValueError: if it is not an integer in [0, count).
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < count:
        raise ValueError(f"context must be an integer in [0, {count - 1}], got {value!r} ({type(value).__name__})")
    return int(value)
