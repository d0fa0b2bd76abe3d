"""Pictures beside each other, small enough to be part of a report."""

import base64
import io

import numpy as np
from PIL import Image

from .metrics import HORIZONS


def comparison_strip(real: np.ndarray, drawn: np.ndarray, over: np.ndarray, starts: int = 4) -> np.ndarray:
    """For a few starts the real game above the world at every horizon.

    Args:
        real, drawn: uint8 [B, T, H, W, 3].
        over: bool [B, T]; starts whose game goes on to the end are taken first.
        starts: at most this many, spread over all.

    Returns:
        uint8 [2 * starts * H, columns * W, 3].
    """
    order = np.argsort(over.any(1), kind="stable")
    going = max(int((~over.any(1)).sum()), 1)
    chosen = order[np.unique(np.linspace(0, going - 1, min(starts, going)).astype(int))]
    steps = [h - 1 for h in HORIZONS if h <= real.shape[1]]
    return strip([frames[b, steps] for b in chosen for frames in (real, drawn)])


def strip(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of pictures [n, H, W, 3] of one size, one row above the other, with a thin line between pictures."""
    framed = [np.pad(row, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=128) for row in rows]
    return np.concatenate([np.concatenate(list(row), 1) for row in framed], 0)


def encoded(picture: np.ndarray, width: int = 1200, most: int = 50_000) -> str:
    """A picture uint8 [H, W, 3] as PNG of 128 colours in base64, reduced to `width` pixels and `most` bytes."""
    image = Image.fromarray(picture)
    while True:
        if image.width > width:
            image = image.resize((width, max(image.height * width // image.width, 1)), Image.Resampling.BOX)
        file = io.BytesIO()
        image.quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() <= most or width < 100:
            return base64.b64encode(file.getvalue()).decode()
        width = min(image.width, width) * 3 // 4
