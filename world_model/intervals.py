"""Figures with 95% intervals: the same statistic of a thousand resamples of the starts (Efron's bootstrap, 1979)."""

from collections.abc import Callable

import numpy as np

Figure = dict[str, float]
"""`value`, and `low` and `high` between which 95% of the resamples lie; nan where nothing could be measured"""

RESAMPLES = 1000

Statistic = Callable[..., np.ndarray]
"""(one or more float [..., B]) -> float [...]"""


def figure(statistic: Statistic, *samples: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Figure:
    """A statistic of B starts and its interval.

    Args:
        statistic: over the last axis of its arguments, any number of axes before it.
        samples: float [B] each; what belongs to one start is drawn together.
        resamples: how many.
        seed: decides the resamples.

    Raises:
        ValueError: if the samples are not of one length.
    """
    count = len(samples[0])
    if any(sample.shape != (count,) for sample in samples):
        raise ValueError(f"samples must be of one length, got {[list(sample.shape) for sample in samples]}")
    if not count:
        return dict.fromkeys(("value", "low", "high"), float("nan"))
    chosen = np.random.default_rng(seed).integers(count, size=(resamples, count))
    samples = tuple(np.asarray(sample, np.float64) for sample in samples)
    value, drawn = statistic(*samples), statistic(*(sample[chosen] for sample in samples))
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not nan; nan where all is."""
    there = ~np.isnan(values)
    return share(np.where(there, values, 0), there)


def median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis of what is not nan; nan where all is."""
    ordered, count = np.sort(values, axis=-1), (~np.isnan(values)).sum(-1, keepdims=True)  # nan come last
    last = values.shape[-1] - 1
    pair = [np.take_along_axis(ordered, np.clip(at, 0, last), -1)[..., 0] for at in ((count - 1) // 2, count // 2)]
    return np.where(count[..., 0] > 0, (pair[0] + pair[1]) / 2, np.nan)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Sum of `part` over sum of `whole`, both over the last axis; nan where the latter is 0."""
    top, bottom = part.sum(-1, dtype=np.float64), whole.sum(-1, dtype=np.float64)
    return np.asarray(np.where(bottom != 0, top / np.where(bottom != 0, bottom, 1), np.nan))


def f1(hits: np.ndarray, drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall, from counts; nan where nothing happened in either."""
    return share(2 * hits, drawn + real)
