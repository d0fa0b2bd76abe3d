"""Which episodes a world is trained on and which are held out, the same for the whole life of a run."""

import json
import os
from pathlib import Path

from recorders import Episode

SPLIT_FILE = "split.json"


def split(episodes: list[Episode], share: float) -> tuple[list[Episode], list[Episode]]:
    """(training, held-out) episodes; the last ones are held out, at least one where there are two and share > 0."""
    count = min(max(1, round(len(episodes) * share)), len(episodes) - 1) if share > 0 else 0
    return episodes[: len(episodes) - count], episodes[len(episodes) - count :]


def split_for(folder: Path, episodes: list[Episode], share: float) -> tuple[list[Episode], list[Episode]]:
    """`split`, unless a run has begun in `folder`: what it held out stays so, episodes recorded since are trained on.

    Raises:
        ValueError: if the folder's split cannot be read.
    """
    path = folder / SPLIT_FILE
    if not path.exists():
        return split(episodes, share)
    try:
        held = set(json.loads(path.read_text())["heldout"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say which episodes are held out ({error}): restore it, or pass another "
                         "out=") from error
    return [e for e in episodes if e.id not in held], [e for e in episodes if e.id in held]


def note_split(folder: Path, training: list[Episode], heldout: list[Episode]) -> None:
    """Write ids of both kinds of episodes into the run's folder."""
    part = folder / (SPLIT_FILE + ".part")
    part.write_text(json.dumps({"heldout": [e.id for e in heldout], "training": [e.id for e in training]}, indent=1))
    os.replace(part, folder / SPLIT_FILE)
