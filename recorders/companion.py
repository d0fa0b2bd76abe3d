"""What another format has no place for, in a folder `foreframe` beside its files, so that an import brings it back."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .cards import episode_card, episode_notes
from .episode_data import EpisodeData
from .layout import RecordingError

FOLDER = "foreframe"
_CARD = "recording.json"


class Companion:
    """Writes the folder.

    Args:
        folder: the export's; `foreframe` is made in it.
        card: what `recording_card` says.
    """

    def __init__(self, folder: Path, card: dict[str, Any]) -> None:
        self.folder = folder / FOLDER
        self.folder.mkdir(parents=True)
        self._card, self._episodes = card, list[dict[str, Any]]()

    def add(self, data: EpisodeData) -> None:
        """Note an episode's seed, options, meta and arrays; its steps are the other format's."""
        card, arrays = episode_card(data)
        if arrays:
            np.savez_compressed(self.folder / _arrays_name(len(self._episodes)), allow_pickle=False, **arrays)
        self._episodes.append(card)

    def close(self) -> None:
        """Write what was noted."""
        text = json.dumps({"version": 1, "recording": self._card, "episodes": self._episodes}, indent=1)
        (self.folder / _CARD).write_text(text, encoding="utf-8")


def read_companion(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The recording's card and its episodes' attributes for `EpisodeData`; None if there are none.

    Raises:
        RecordingError: if they cannot be read.
    """
    folder = folder / FOLDER
    path = folder / _CARD
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["version"] != 1:
            raise RecordingError(f"{path} has version {found['version']}, this program reads 1: update foreframe")
        cards = [episode_notes(card, _arrays(folder, n)) for n, card in enumerate(found["episodes"])]
        return found["recording"], cards
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{path} is damaged ({error!r}): restore it from a copy") from None


def _arrays(folder: Path, number: int) -> dict[str, np.ndarray]:
    path = folder / _arrays_name(number)
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _arrays_name(number: int) -> str:
    return f"arrays_{number:06d}.npz"
