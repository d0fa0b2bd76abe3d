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

