"""Where an episode begins: a real clip that ships with the world, or any clip the caller hands over."""

from collections.abc import Mapping
from typing import Any

import numpy as np

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


def context_index(value: Any, count: int) -> int:
    """`value` as the index of one of `count` shipped clips.

    Raises:
        ValueError: if it is not an integer in [0, count).
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < count:
        raise ValueError(f"context must be an integer in [0, {count - 1}], got {value!r} ({type(value).__name__})")
    return int(value)
