"""One stream of episodes, one after another, on its way into one segment."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import notes
from .block import Block
from .layout import CAPACITY, RecordingError, commit_rows
from .schema import Schema
from .segment_writer import SegmentWriter


@dataclass
class EndedEpisode:
    """What the journal says of an episode when it is over."""

    episode: int
    steps: int
    return_: float
    terminated: bool
    truncated: bool
    meta: dict[str, Any]

    def event(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "episode": self.episode, "steps": self.steps, "return": self.return_, "terminated": self.terminated,
            "truncated": self.truncated, "meta": self.meta,
        }  # fmt: skip


class Lane:
    """Checks that calls come in order, and collects rows into blocks that end where chunks do.

    Args:
        schema: what a row holds.
        writer: the lane's segment.
    """

    def __init__(self, schema: Schema, writer: SegmentWriter) -> None:
        self.schema, self.writer = schema, writer
        self.block: Block | None = None
        self.rows = self.episodes = 0
        self.open = False
        self._commit_rows = commit_rows(schema.fields)
        self._steps, self._return = 0, 0.0
        self._terminated = self._truncated = False

    @property
    def id(self) -> str:
        """Id of the open episode, or of the next one."""
        return f"{self.writer.name}/{self.episodes}"

    @property
    def room(self) -> int:
        """Rows until the next chunk begins."""
        return self._commit_rows - self.rows % self._commit_rows

    def begin(self, seed: int | None, options: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray],
              meta: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # fmt: skip
        """The journal's event of a new episode, and the arrays to keep with it."""
        if self.open:
            raise RecordingError("an episode is open: call end before begin")
        if self.rows >= CAPACITY:
            raise RecordingError(f"a segment holds {CAPACITY} rows: close this recorder and open another one")
        kept: dict[str, np.ndarray] = {}
        for name, array in arrays.items():
            notes.split(np.asarray(array), name, kept)
        noted = None if options is None else notes.split(options, "options", kept)
        event: dict[str, Any] = {"episode": self.episodes, "seed": None if seed is None else int(seed),
                                 "time": round(time.time(), 3), "options": noted}  # fmt: skip
        if kept:
            event["arrays"] = notes.arrays_name(self.episodes)
        event["meta"] = notes.plain(meta, "meta")
        self.open, self._steps, self._return = True, 0, 0.0
        self._terminated = self._truncated = False
        return event, kept

    def step(self, observation: Any, action: Any, reward: float, terminated: bool, truncated: bool,
             extras: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
        """The row of a step."""
        self._check()
        if self._terminated or self._truncated:
            how = "terminated" if self._terminated else "been truncated"
            raise RecordingError(f"the episode has {how} and takes no more steps: call end, then begin")
        if self.rows >= CAPACITY - 1:
            raise RecordingError(f"a segment holds {CAPACITY} rows: end the episode, close and open another recorder")
        row = self.schema.step_row(observation, action, reward, terminated, truncated, extras)
        total = self._return + row["reward"]
        if not math.isfinite(total):
            raise RecordingError(f"with a reward of {reward!r} the episode's return is no finite number: scale rewards")
        self._steps += 1
        self._return = total
        self._terminated, self._truncated = row["terminated"], row["truncated"]
        return row

    def end(self, final_observation: Any, meta: Mapping[str, Any]) -> tuple[dict[str, Any], EndedEpisode]:
        """The last row, and what to note."""
        self._check()
        row = self.schema.last_row(final_observation)
        ended = EndedEpisode(self.episodes, self._steps, self._return, self._terminated, self._truncated,
                             notes.plain(meta, "meta"))  # fmt: skip
        self.open = False
        self.episodes += 1
        return row, ended

    def _check(self) -> None:
        if not self.open:
            raise RecordingError("a step needs an open episode: call begin first")
