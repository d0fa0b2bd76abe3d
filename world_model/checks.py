"""Whether what a caller gives a world can be of its game."""

import numpy as np

from .actions import Actions


def check_start(frames: np.ndarray, actions: np.ndarray, shape: tuple[int, int, int],
                kind: Actions) -> tuple[np.ndarray, np.ndarray]:
    """Frames [B, k, H, W, 3] and the actions [B, k - 1, ...] between them, fit to start from.

    Raises:
        ValueError: if shapes, dtypes or actions do not fit.
    """
    frames, actions = np.asarray(frames), np.asarray(actions)
    if frames.ndim != 5 or frames.shape[2:] != shape or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames must be uint8 [k, {shape[0]}, {shape[1]}, 3] with k >= 1, "
                         f"got {frames.dtype} {list(frames.shape[1:])}")
    if actions.shape[:2] != (len(frames), frames.shape[1] - 1):
        raise ValueError(f"actions must hold one action between frames, [{frames.shape[1] - 1}], "
                         f"got {list(actions.shape[1:])}")
    return np.ascontiguousarray(frames), kind.checked(actions, *actions.shape[:2])



def condition_of(names: list[str], condition: str | int) -> int:
    """Number of a condition, given its name or number.

    Raises:
        ValueError: if there is no such condition.
    """
    if isinstance(condition, str) and condition in names:
        return names.index(condition)
    known = isinstance(condition, int | np.integer) and not isinstance(condition, bool)
    if known and 0 <= int(condition) < max(len(names), 1):
        return int(condition)
    raise ValueError(f"condition must be one of {names} or its number, got {condition!r}" if names else
                     f"this world has one condition only, number 0; got {condition!r}")


def checked_conditions(given: "list[int] | np.ndarray | None", otherwise: int, shape: tuple[int, ...],
                       count: int) -> np.ndarray:
    """Conditions of frames [B, k]: int64 of that shape, from [B] or [B, k]; all `otherwise` if nothing is given.

    Raises:
        ValueError: if they are of another shape, or not numbers of the `count` conditions.
    """
    under = np.full(shape, otherwise, np.int64) if given is None else np.asarray(given)
    if under.shape not in (shape, shape[:1]) or under.dtype.kind not in "iu":
        raise ValueError(f"conditions must be integers {[shape[0]]} or {[*shape]}, got {under.dtype} {[*under.shape]}")
    if under.min() < 0 or under.max() >= max(count, 1):
        raise ValueError(f"conditions must be from 0 to {max(count, 1) - 1}, got {under.reshape(-1)[:8].tolist()}")
    return np.broadcast_to(under.reshape(shape[0], -1), shape).astype(np.int64)
