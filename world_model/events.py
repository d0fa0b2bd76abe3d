"""What rarely happens in a recording: rewards, lives lost and ends, found so that each kind can come up alike."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recorders import Episode, Recording, TrainingCache


@dataclass
class EventKind:
    """One kind of event."""

    name: str
    """such as "reward 1", "life lost", "end" """
    rows: np.ndarray
    """int64 [n], n >= 1: rows of the frames that show it, those the step led to"""


@dataclass(kw_only=True)
class EventWeight:
    """How often a kind of event is drawn."""

    name: str
    count: int
    """in the episodes that are trained on"""
    per_clip: float
    """expected in a clip from anywhere"""
    drawn_per_clip: float
    """expected in a clip as they are drawn, apart from what other kinds and hard frames bring along"""
    weight: float
    """how many times as often as it happens it is drawn"""


def find_events(rewards: np.ndarray, terminated: np.ndarray, lost: np.ndarray, inside: np.ndarray) -> list[EventKind]:
    """All kinds that occur: each reward but 0, lives lost, ends.

    Args:
        rewards: float [rows], of the step that led to a frame; the others are bool [rows] likewise.
        terminated: whether the episode ended with it.
        lost: whether a life was.
        inside: whether the row is trained on.
    """
    masks = {f"reward {value:g}": rewards == value for value in np.unique(rewards[inside]) if value}
    masks |= {"life lost": lost, "end": terminated}
    found = [EventKind(name, np.flatnonzero(mask & inside)) for name, mask in masks.items()]
    return [kind for kind in found if len(kind.rows)]


def lives_lost(recording: Recording | TrainingCache) -> np.ndarray:
    """Whether the step that led to a frame cost a life, bool [rows]; nowhere if the recording has no extra `lives`.

    The extra holds the lives left after a row's step.
    """
    lost = np.zeros(len(recording.extra("reward")), bool)
    if "lives" not in recording.fields:
        return lost
    lives = recording.extra("lives").astype(np.int64)
    for episode in recording.episodes:
        after = lives[episode.start : episode.stop - 1]  # an episode's last row has no step
        lost[episode.start + 2 : episode.stop] = after[1:] < after[:-1]
    return lost


def event_weights(kinds: list[EventKind], episodes: list[Episode], frames: int, share: float) -> list[EventWeight]:
    """How often every kind is drawn when `share` of the clips of `frames` frames is shared out evenly among them."""
    rows = sum(e.stop - e.start for e in episodes)
    weights = []
    for kind in kinds:
        natural = len(kind.rows) * frames / rows
        drawn = (1 - share) * natural + share / len(kinds)
        weights.append(EventWeight(name=kind.name, count=len(kind.rows), per_clip=natural, drawn_per_clip=drawn,
                                   weight=drawn / natural))
    return weights


def event_table(weights: list[EventWeight]) -> str:
    """The weights as lines of text."""
    lines = [f"{'event':<14}{'count':>8}{'in a clip':>12}{'drawn':>8}{'times':>8}"]
    lines += [f"{w.name:<14}{w.count:>8}{w.per_clip:>12.4f}{w.drawn_per_clip:>8.4f}{w.weight:>8.1f}" for w in weights]
    return "\n".join(lines)


def event_card(weights: list[EventWeight]) -> list[dict[str, Any]]:
    """The weights as JSON."""
    return [asdict(w) for w in weights]
