"""Rewards and ends that a world gives, against those of the real game."""

from typing import Any

import numpy as np

from .intervals import Figure, f1, figure, mean, share


def matches(drawn: np.ndarray, real: np.ndarray, slack: int) -> list[tuple[int, int]]:
    """Pairs (step drawn, step real) of events of one sign, at most `slack` steps apart, each event in one pair at most.

    Events are taken in order, each with the earliest one left that it can have: that makes the most pairs.

    Args:
        drawn, real: float [T], 0 where nothing happens.
        slack: steps.
    """
    pairs = []
    for sign in (-1, 1):
        ours, theirs = (list(np.flatnonzero(np.sign(row) == sign)) for row in (drawn, real))
        while ours and theirs:
            if abs(ours[0] - theirs[0]) <= slack:
                pairs.append((int(ours.pop(0)), int(theirs.pop(0))))
            else:
                (ours if ours[0] < theirs[0] else theirs).pop(0)
    return pairs


def event_figures(drawn: np.ndarray, real: np.ndarray, slack: int) -> dict[str, Any]:
    """Precision, recall and F1 of events over B starts, with intervals.

    Args:
        drawn, real: float [B, T], 0 where nothing happens.
        slack: steps that a match may be off.

    Returns:
        precision, recall, f1; same_value: share of the matches that agree in size, too; drawn, real: counts.
    """
    pairs = [matches(ours, theirs, slack) for ours, theirs in zip(drawn, real, strict=True)]
    hits = np.array([len(found) for found in pairs])
    equal = np.array([sum(np.isclose(drawn[b, i], real[b, j]) for i, j in found) for b, found in enumerate(pairs)])
    ours, theirs = (drawn != 0).sum(1), (real != 0).sum(1)
    return {
        "precision": figure(share, hits, ours), "recall": figure(share, hits, theirs),
        "f1": figure(f1, hits, ours, theirs),
        "same_value": figure(share, equal, hits), "drawn": int(ours.sum()), "real": int(theirs.sum()),
    }  # fmt: skip


def return_error(drawn: np.ndarray, real: np.ndarray) -> Figure:
    """Mean difference, without sign, of the sums of rewards [B, T] of both."""
    return figure(mean, np.abs(drawn.sum(1) - real.sum(1)))


def ends(over: np.ndarray) -> np.ndarray:
    """The step at which each start ends as an event: bool [B, T], true from the end on, to float [B, T]."""
    before = np.pad(over[:, :-1], ((0, 0), (1, 0)))
    return (over & ~before).astype(np.float32)
