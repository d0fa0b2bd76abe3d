"""Which episodes a world is trained on and which are held out, the same for the whole life of a run."""

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from recorders import Episode, Recording

SPLIT_FILE = "split.json"

Split = tuple[list[Episode], list[Episode]]
"""episodes trained on, episodes held out"""


def split(episodes: list[Episode], share: float, conditions: Sequence[int] = ()) -> Split:
    """(training, held-out) episodes; the last ones are held out, at least one where there are two and share > 0.

    With `conditions`, one for each episode, so it is for the episodes under each of them.
    """
    training, heldout = list[Episode](), list[Episode]()
    under = conditions or [0] * len(episodes)
    for condition in sorted(set(under)):
        mine = [e for e, its in zip(episodes, under, strict=True) if its == condition]
        count = min(max(1, round(len(mine) * share)), len(mine) - 1) if share > 0 else 0
        training += mine[: len(mine) - count]
        heldout += mine[len(mine) - count :]
    return sorted(training, key=lambda e: e.start), sorted(heldout, key=lambda e: e.start)


def conditions_of(recording: Recording) -> list[int]:
    """Number of the condition that each episode begins under; empty where the recording has none."""
    if not recording.meta.get("conditions"):
        return []
    under = recording.extra("condition")
    return [int(under[episode.start]) for episode in recording.episodes]


def shown_episodes(recording: Recording, training: list[Episode], heldout: list[Episode],
                   frames: int) -> list[Episode]:
    """Held-out episodes of more than so many frames; under a condition that has none of those, those trained on."""
    under = dict(zip((e.id for e in recording.episodes), conditions_of(recording), strict=False))
    shown = list[Episode]()
    for condition in sorted({*under.values()} or {0}):
        mine = [e for e in heldout if under.get(e.id, 0) == condition and e.stop - e.start > frames]
        shown += mine or [e for e in training if under.get(e.id, 0) == condition]
    return sorted(shown, key=lambda e: e.start)


def split_for(folder: Path, episodes: list[Episode], share: float, before: Collection[str] = (),
              conditions: Sequence[int] = ()) -> Split:
    """`split`, unless a run has begun in `folder`: what it held out stays so, episodes recorded since are trained on.

    Args:
        folder: of the run.
        episodes: of the recording.
        share: that is held out of a recording of which nothing has been.
        conditions: under which each episode was recorded, where they differ.
        before: ids that a world which the run begins with held out; they stay so, too.

    Raises:
        ValueError: if the folder's split cannot be read.
    """
    held = _held_out(folder / SPLIT_FILE)
    if held is None or (held and not any(e.id in held for e in episodes)):  # none, or of another recording
        held = {e.id for e in episodes} & set(before)
        if not held:
            return split(episodes, share, conditions)
    return [e for e in episodes if e.id not in held], [e for e in episodes if e.id in held]


def _held_out(path: Path) -> set[str] | None:
    """Ids that a split names, None where there is none."""
    if not path.exists():
        return None
    try:
        return set(json.loads(path.read_text())["heldout"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say which episodes are held out ({error}): restore it, or pass another "
                         "out=") from error


def note_split(folder: Path, training: list[Episode], heldout: list[Episode]) -> None:
    """Write ids of both kinds of episodes into the run's folder."""
    part = folder / (SPLIT_FILE + ".part")
    part.write_text(json.dumps({"heldout": [e.id for e in heldout], "training": [e.id for e in training]}, indent=1))
    os.replace(part, folder / SPLIT_FILE)
