"""Statistics of the features of a LeRobot data set, per episode and over all, for policies that normalise by them."""

from typing import Any

import numpy as np

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Statistics = dict[str, np.ndarray]
"""min, max, mean, std, q01, q10, q50, q90 and q99 in one shape, and count [1]"""


def array_statistics(values: np.ndarray) -> Statistics:
    """Statistics over the first axis of [n, ...], each at least one-dimensional."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    found = {"min": numbers.min(0), "max": numbers.max(0), "mean": numbers.mean(0), "std": numbers.std(0)}
    quantiles = np.quantile(numbers, list(_QUANTILES.values()), axis=0)
    return {**found, "count": np.array([len(numbers)]), **dict(zip(_QUANTILES, quantiles, strict=True))}


def picture_statistics(pictures: np.ndarray) -> Statistics:
    """Statistics per channel over all pixels of uint8 [n, H, W, C], as [C, 1, 1] of values from 0 to 1; exact."""
    counts = np.stack([np.bincount(pictures[..., c].ravel(), minlength=256) for c in range(pictures.shape[-1])])
    levels, pixels = np.arange(256) / 255, counts[0].sum()
    mean = counts @ levels / pixels
    spread = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / pixels)
    seen, below = counts > 0, counts.cumsum(1)
    found = {"min": levels[seen.argmax(1)], "max": levels[255 - seen[:, ::-1].argmax(1)], "mean": mean, "std": spread}
    found |= {name: levels[(below >= q * pixels).argmax(1)] for name, q in _QUANTILES.items()}
    return {**{name: v.reshape(-1, 1, 1) for name, v in found.items()}, "count": np.array([len(pictures)])}


def merge_statistics(parts: list[Statistics]) -> Statistics:
    """Statistics of all from those of parts; quantiles are the parts' mean, weighted by their counts, as in LeRobot."""
    counts = np.array([part["count"][0] for part in parts], np.float64)

    def weighted(values: list[Any]) -> np.ndarray:
        return np.average(np.stack(values), axis=0, weights=counts)

    mean = weighted([part["mean"] for part in parts])
    variance = weighted([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    found = {"min": np.min([part["min"] for part in parts], axis=0), "max": np.max([p["max"] for p in parts], axis=0),
             "mean": mean, "std": np.sqrt(variance), "count": np.array([int(counts.sum())])}  # fmt: skip
    return {**found, **{name: weighted([part[name] for part in parts]) for name in _QUANTILES}}


def as_lists(statistics: Statistics) -> dict[str, list[Any]]:
    """Statistics as JSON."""
    return {name: values.tolist() for name, values in statistics.items()}
