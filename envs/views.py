"""The dream, the real game, and both together, as one picture."""

import numpy as np
from numpy.typing import NDArray

VIEWS = ("dream", "real", "both", "difference")


def compose(view: str, dream: NDArray[np.uint8], real: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """One picture of both.

    Args:
        view: "dream" or "real" for one of them, "both" for the two side by side, the dream on the left, "difference"
            for both and, on the right, how far each value is from the other.
        dream: uint8 [H, W, 3].
        real: likewise; None shows the dream whatever the view.

    Raises:
        ValueError: if there is no such view.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS}, got {view!r}")
    if real is None or view == "dream":
        return dream
    if view == "real":
        return real
    parts = [dream, real]
    if view == "difference":
        parts.append(np.abs(dream.astype(np.int16) - real).astype(np.uint8))
    return np.concatenate(parts, axis=1)
