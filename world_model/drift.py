"""Whether a long run stays what it was, and what the real game is: drift, exposure, motion, colours.

VDE is the video drift error of BlockVid (2025): chunks of a run against its own first one. It cannot see what is wrong
from the start, and a picture that never changes has none. So every chunk is also compared with a run of the real game.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .intervals import figure, mean
from .metrics import luminance, motion

BINS = 16
"""of brightness per channel in a palette"""

SCALARS = ("exposure", "clarity", "motion")


@dataclass
class Look:
    """How T pictures in a row look, each array [T].

    Attributes:
        exposure: mean luminance, in [0, 255].
        clarity: variance of the luminance's Laplacian, which blur takes away.
        motion: see `metrics.motion`, from the picture before, in [0, 255]; nan where there is none.
        palette: [T, 3, BINS] shares of the pixels by brightness, summing to one per channel.
    """

    exposure: np.ndarray
    clarity: np.ndarray
    motion: np.ndarray
    palette: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray, before: np.ndarray | None = None) -> "Look":
        """The look of pictures uint8 [T, H, W, 3]; `before` is the one before the first."""
        light = luminance(frames)
        first = [np.nan] if before is None else motion(np.stack([before, frames[0]]))
        return cls(light.mean((1, 2)), _laplacian(light).var((1, 2)), np.concatenate([first, motion(frames)]),
                   np.stack([_palette(frame) for frame in frames]))

    @classmethod
    def joined(cls, parts: list["Look"]) -> "Look":
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in (*SCALARS, "palette")))


def drift_figures(look: Look, real: Look) -> dict[str, Any]:
    """A run against its own first chunk (`vde`) and against a run of the real game (`likeness`).

    Args:
        look: of the run.
        real: of a run of the real game, played alike.

    Returns:
        chunks: how many, at most 10, of 100 steps at least where there are as many; exposure_stability, in percent (100
        times one minus the mean deviation of luminance from the first chunk's, of 255); for exposure, clarity, motion
        and palette `by_chunk`, `vde` and `likeness`; score, see `score`.
    """
    count = int(np.clip(len(look.exposure) // 100, 2, 10))
    result: dict[str, Any] = {"chunks": count, "exposure_stability": exposure_stability(look.exposure, count)}
    worst = []
    for name in SCALARS:
        values, wanted = by_chunk(getattr(look, name), count), float(mean(getattr(real, name)))
        like = likeness(values, wanted)
        worst.append(like.min())
        result[name] = {"by_chunk": values.tolist(), "real": wanted, "vde": vde(deviations(values)),
                        "likeness": figure(mean, like)}
    colours, wanted_colours = by_chunk(look.palette, count), real.palette.mean(0)
    like = 1 - palette_distance(colours, wanted_colours)
    worst.append(like.min())
    result["palette"] = {"by_chunk": (1 - like).tolist(), "real": 0.0, "likeness": figure(mean, like),
                         "vde": vde(palette_distance(colours[1:], colours[0]))}
    return result | {"score": score(worst)}


def score(worst: list[float]) -> float:
    """The lowest likeness to the real game of any chunk, in any of the four ways, in [0, 1].

    A world at rest has no motion, a washed-out one no clarity: neither can make up for it elsewhere. The real game does
    not reach 1, for its chunks differ.
    """
    return float(np.min(worst)) if np.isfinite(worst).all() else float("nan")


def by_chunk(values: np.ndarray, count: int) -> np.ndarray:
    """Means [count, ...] over equal chunks of [T, ...], nan left out."""
    return np.stack([mean(np.moveaxis(part, 0, -1)) for part in np.array_split(values, count)])


def deviations(values: np.ndarray) -> np.ndarray:
    """Relative deviations [N - 1] of chunks [N] from the first; nan where that is 0 and another is not."""
    difference = np.abs(values[1:] - values[0])
    return np.where(difference == 0, 0.0, difference / values[0] if values[0] else np.nan)


def vde(deviation: np.ndarray) -> dict[str, float]:
    """Video drift error from the deviations [N - 1] of chunks 2 to N.

    Weighted means; BlockVid's sums are those times the sum of the weights. `linear` (N - i + 1) and its `log` are
    BlockVid's and count earlier chunks more; `late` (i - 1) counts later ones more, `flat` all alike.
    """
    count = len(deviation) + 1
    i = np.arange(2.0, count + 1)
    left = count - i + 1
    weights = {"linear": left, "log": np.log(left) + 1e-12, "late": i - 1, "flat": np.ones(len(i))}
    return {name: float((weight * deviation).sum() / weight.sum()) for name, weight in weights.items()}


def likeness(values: np.ndarray, wanted: float) -> np.ndarray:
    """min(r, 1 / r) of the ratios r of values [N] to the wanted one, in [0, 1]; both at 0 are alike."""
    low, high = np.minimum(values, wanted), np.maximum(values, wanted)
    return np.where(high == 0, 1.0, low / np.where(high == 0, 1, high))


def palette_distance(palettes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Total variation distance, mean over channels, of palettes [..., 3, BINS]: 0 alike, 1 nothing in common."""
    return np.asarray(np.abs(palettes - wanted).sum(-1).mean(-1) / 2)


def exposure_stability(exposure: np.ndarray, count: int) -> float:
    """In percent: 100 where luminance [T] stays what it is in the first of `count` chunks."""
    return float(100 * (1 - np.abs(exposure - by_chunk(exposure, count)[0]).mean() / 255))


def _laplacian(light: np.ndarray) -> np.ndarray:
    """Four neighbours less four times the middle, [T, H, W] -> [T, H - 2, W - 2]."""
    middle = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    return np.asarray(around - 4 * middle)


def _soft_bins() -> np.ndarray:
    """Shares [256, BINS] of each brightness in the two bins that it lies between: no edge at which a colour flips."""
    place = np.arange(256) / 255 * (BINS - 1)
    return np.clip(1 - np.abs(place[:, None] - np.arange(BINS)), 0, 1)


_SOFT = _soft_bins()


def _palette(frame: np.ndarray) -> np.ndarray:
    """Shares [3, BINS] of a picture's pixels by brightness."""
    counts = np.stack([np.bincount(frame[..., c].ravel(), minlength=256) for c in range(3)])
    return counts @ _SOFT / counts[0].sum()
