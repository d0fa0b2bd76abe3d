"""Where an episode begins: a real clip that ships with the world, or any clip the caller hands over."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clip = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""frames [k, H, W, 3] and the actions [k-1] between them"""

OPTIONS = ("context", "frames", "actions")


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


def clip_of(options: Mapping[str, Any], shape: tuple[int, int, int], num_actions: int) -> Clip:
    """The clip in `options`.

    Args:
        options: `frames`, uint8 [k, H, W, 3] with k >= 1, oldest first, and `actions`, k-1 ids (none needed for k = 1).
        shape: (H, W, 3) of the world's frames.
        num_actions: actions are in [0, num_actions).

    Raises:
        ValueError: saying what was expected and what came.
    """
    frames, actions = np.asarray(options["frames"]), np.asarray(options.get("actions", []))
    if frames.ndim != 4 or frames.shape[1:] != shape or len(frames) < 1 or frames.dtype != np.uint8:
        expected = f"uint8 [k, {shape[0]}, {shape[1]}, {shape[2]}] with k >= 1"
        raise ValueError(f"frames must be {expected}, got {frames.dtype} {list(frames.shape)}")
    if actions.shape != (len(frames) - 1,):
        raise ValueError(
            f"actions must be [{len(frames) - 1}], one between each two of the {len(frames)} frames, "
            f"got {list(actions.shape)}"
        )
    if actions.size and not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(f"actions must be integers, got {actions.dtype}")
    if actions.size and (actions.min() < 0 or actions.max() >= num_actions):
        raise ValueError(f"actions must lie in [0, {num_actions - 1}], got {actions.min()} to {actions.max()}")
    return frames, actions.astype(np.int64)


def context_index(value: Any, count: int) -> int:
    """`value` as the index of one of `count` shipped clips.

    Raises:
        ValueError: if it is not an integer in [0, count).
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < count:
        raise ValueError(f"context must be an integer in [0, {count - 1}], got {value!r} ({type(value).__name__})")
    return int(value)
