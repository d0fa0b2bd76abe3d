"""What a row of a recording holds: the fields that follow from the spaces, and the extras of the one who records."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .layout import FORMAT, FRAMES, OUTCOME, TEXT, VERSION, Field, RecordingError
from .preprocess import is_picture
from .software import machine, versions
from .spaces import Space, as_text, space_card, space_fields, to_rows

RESERVED = ("observation", "action", FRAMES, "lane", "meta")


@dataclass
class Extra:
    """One more value per step.

    Attributes:
        dtype: numpy name of its number format, or "string".
        shape: shape of the value.
        unit: e.g. "ms".
        description: what it means.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    description: str = ""


class Schema:
    """The arrays of a recording and how a step becomes a row of them.

    Args:
        observation_space: any Gymnasium space; pictures, uint8 [H, W, 3], become the field `frames`.
        action_space: any Gymnasium space.
        extras: name to what a step holds besides; a string is short for a single value of that dtype.

    Raises:
        RecordingError: if a name is taken or a space or dtype is of no known kind.
    """

    def __init__(
        self, observation_space: Space, action_space: Space, extras: Mapping[str, str | Extra] | None = None
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.observation = FRAMES if is_picture(observation_space) else "observation"
        self.extras = {name: Extra(e) if isinstance(e, str) else e for name, e in (extras or {}).items()}
        self.fields = {
            **space_fields(self.observation, observation_space),
            **space_fields("action", action_space),
            **{name: Field(shape=(), dtype=dtype) for name, dtype in OUTCOME.items()},
        }
        if taken := sorted(self.extras.keys() & {*self.fields, *RESERVED}):
            raise RecordingError(f"rename the extras {taken}: every recording has {sorted({*self.fields, *RESERVED})}")
        for name, extra in self.extras.items():
            if not name.replace("_", "a").isalnum():
                raise RecordingError(f"names of extras are letters, digits and _, got {name!r}")
            self.fields[name] = Field(shape=tuple(extra.shape), dtype=_dtype_name(extra.dtype))
        self._padding = {name: field.zeros(1)[0] for name, field in self.fields.items()}

    def attributes(self) -> dict[str, Any]:
        """What a segment that is made now says of itself and its rows, as JSON."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "created": round(time.time(), 3),
            "software": versions(),
            "machine": machine(),
            "process": os.getpid(),
            "observation_space": space_card(self.observation_space),
            "action_space": space_card(self.action_space),
            "extras": {
                name: {"dtype": e.dtype, "shape": list(e.shape), "unit": e.unit, "description": e.description}
                for name, e in self.extras.items()
            },
        }

    def step_row(self, observation: Any, action: Any, reward: float, terminated: bool, truncated: bool,
                 extras: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
        """The row of a step.

        Raises:
            RecordingError: if anything is not of the announced kind, or the reward is not a finite number.
        """
        if extras.keys() != self.extras.keys():
            raise RecordingError(f"every step needs the extras {sorted(self.extras)}, got {sorted(extras)}")
        value = float(reward)
        if not abs(value) < float("inf"):
            raise RecordingError(f"a reward must be a finite number, got {reward!r}")
        row = self._observation(observation)
        row |= to_rows("action", self.action_space, action)
        row |= {"reward": value, "terminated": bool(terminated), "truncated": bool(truncated)}
        for name, given in extras.items():
            row[name] = self._extra(name, given)
        return row

    def last_row(self, observation: Any) -> dict[str, Any]:
        """The row of an episode's last observation; all else is padding."""
        return {**self._padding, **self._observation(observation)}

    def _observation(self, observation: Any) -> dict[str, Any]:
        if self.observation == FRAMES:
            shape = self.fields[FRAMES].shape
            if getattr(observation, "shape", None) == shape and observation.dtype == np.uint8:
                return {FRAMES: observation}
            given = np.asarray(observation)
            raise RecordingError(f"observations are uint8 {list(shape)}, got {given.dtype} {list(given.shape)}")
        return to_rows(self.observation, self.observation_space, observation)

    def _extra(self, name: str, value: Any) -> Any:
        field = self.fields[name]
        if field.is_text:
            return as_text(f"the extra {name}", value)
        if field.dtype[0] == "f" and not field.shape and isinstance(value, float) and abs(value) < 65504:
            return value  # fits into all of them
        given = np.asarray(value)
        if given.shape != field.shape or given.dtype.kind not in "biuf":
            raise RecordingError(f"the extra {name} is {field.dtype} {list(field.shape)}, got {given!r}")
        with np.errstate(over="ignore"):
            taken = given.astype(field.dtype)
        overflown = (np.isinf(taken) & np.isfinite(given)).any()
        if overflown or (taken.dtype.kind != "f" and not np.array_equal(taken, given)):
            raise RecordingError(f"the extra {name} is {field.dtype}, {value!r} does not fit into it")
        return taken


def _dtype_name(dtype: str) -> str:
    try:
        return TEXT if dtype == TEXT else str(np.dtype(dtype))
    except TypeError:
        raise RecordingError(f"{dtype!r} is no number format: expected e.g. float32, uint8 or string") from None
