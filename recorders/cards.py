"""What is known of a recording and its episodes beside the steps, as JSON that moves along into other formats."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import notes
from .episode_data import EpisodeData
from .recording import Recording
from .schema import Extra
from .spaces import space_card

_OWN = ("format", "version", "observation_space", "action_space", "extras", "lanes", "lane")
_ORIGIN = ("created", "software", "machine", "process")


def recording_card(recording: Recording) -> dict[str, Any]:
    """A recording as a whole: `meta, observation_space, action_space, extras, fps`."""
    return {
        "meta": portable_meta(recording.meta),
        "observation_space": space_card(recording.observation_space),
        "action_space": space_card(recording.action_space),
        "extras": extra_cards(recording),
        "fps": recording.fps,
    }


def portable_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Notes on a recording without what every recorder notes anew; who recorded it first is kept under `origin`."""
    kept = {key: value for key, value in meta.items() if key not in (*_OWN, *_ORIGIN)}
    origin = {key: meta[key] for key in _ORIGIN if key in meta}
    return kept if "origin" in kept or not origin else {**kept, "origin": origin}


def extra_cards(recording: Recording) -> dict[str, dict[str, Any]]:
    """What a recording's extras are, by name; also where it was not noted."""
    return {name: _extra_card(recording, name) for name in recording.extras}


def extras_of(card: Mapping[str, Any]) -> dict[str, Extra]:
    """The extras that a recording's card lists."""
    return {name: Extra(extra["dtype"], tuple(extra["shape"]), extra["unit"], extra["description"])
            for name, extra in card["extras"].items()}  # fmt: skip


def episode_card(data: EpisodeData) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """An episode beside its steps, as JSON and the arrays it refers to."""
    arrays = dict(data.arrays)
    options = None if data.options is None else notes.split(data.options, "options", arrays)
    card = {"id": data.id, "seed": data.seed, "options": options, "meta": data.meta, "unfinished": data.unfinished}
    return card, arrays


def episode_notes(card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The attributes of `EpisodeData` that `episode_card` was made of."""
    options, found = notes.join(card["options"], arrays), dict[str, np.ndarray]()
    notes.split(options, "options", found)
    own = {name: array for name, array in arrays.items() if name not in found}
    return {**card, "options": options, "arrays": own}


def _extra_card(recording: Recording, name: str) -> dict[str, Any]:
    noted = recording.meta.get("extras")
    known = noted.get(name, {}) if isinstance(noted, dict) else {}
    field = recording.fields[name]
    return {"dtype": field.dtype, "shape": list(field.shape), "unit": known.get("unit", ""),
            "description": known.get("description", "")}  # fmt: skip
