"""Whether what a caller gives a world can be of its game."""

import numpy as np


def check_start(frames: np.ndarray, actions: np.ndarray, shape: tuple[int, int, int],
                num_actions: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames [B, k, H, W, 3] and the actions [B, k - 1] between them, fit to start from.

    Raises:
        ValueError: if shapes, dtype or action ids do not fit.
    """
    frames, actions = np.asarray(frames), np.asarray(actions)
    if frames.ndim != 5 or frames.shape[2:] != shape or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames must be uint8 [k, {shape[0]}, {shape[1]}, 3] with k >= 1, "
                         f"got {frames.dtype} {list(frames.shape[1:])}")
    if actions.shape != (len(frames), frames.shape[1] - 1):
        raise ValueError(f"actions must hold one action between frames, [{frames.shape[1] - 1}], "
                         f"got {list(actions.shape[1:])}")
    if actions.size:
        check_actions(actions.reshape(-1), actions.size, num_actions)
    return np.ascontiguousarray(frames), actions.astype(np.int64)


def check_actions(actions: np.ndarray, count: int, num_actions: int) -> np.ndarray:
    """So many actions as int64 [count].

    Raises:
        ValueError: if they are not integers from 0 to num_actions - 1.
    """
    actions = np.asarray(actions)
    if actions.shape != (count,) or not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(f"need {count} integer actions, got {actions.dtype} {list(actions.shape)}")
    if actions.min() < 0 or actions.max() >= num_actions:
        raise ValueError(f"actions must be from 0 to {num_actions - 1}, got {actions.tolist()[:8]}")
    return actions.astype(np.int64)
