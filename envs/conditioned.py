"""What may be changed of a learned world while it is stepped: the condition it is drawn under, and scenes that end."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from world_model import Engine, World, WorldState, condition_of, switching

from .step_queue import StepQueue

CUTS = "cuts"


class Conditioned:
    """Conditions and cuts of an environment; to be inherited by those that hold a world."""

    world: World
    switch: str
    """what becomes of the past when the condition changes: keep, flush, recache or cut"""
    start_condition: int | None
    """number of the condition that episodes begin under; None: that of the clip they begin at"""
    _engine: Engine
    _steps: StepQueue

    def _choose_condition(self, condition: str | int | None, switch: str | None) -> None:
        """Take the arguments of the two environments.

        Raises:
            ValueError: if the world has no such condition, or there is no such switch.
        """
        self.start_condition = None if condition is None else condition_of(self.world.conditions, condition)
        self.switch = switching.checked_switch(switch or str(self.world.card.get("switch", "keep")))

    @property
    def recording_controls(self) -> dict[str, str]:
        """What may change between steps and recordings note with each: attribute, and the method that sets it."""
        conditions = {"condition": "set_condition"} if self.world.conditions else {}
        return {"passes": "set_passes", **conditions, CUTS: "set_cuts"}

    @property
    def conditions(self) -> list[str]:
        """Names of what the world can be drawn under, e.g. the games that it holds; empty where there is only one."""
        return list(self.world.conditions)

    @property
    def condition(self) -> int | NDArray[np.int64]:
        """Number of the present one, 0 before the first `reset`; of a vector, int64 [B]."""
        return self._of_each(self._engine.state.conditions if self._engine.begun else [])

    def set_condition(self, condition: str | int, rows: Sequence[int] | None = None) -> None:
        """Draw what comes under another condition, in the middle of an episode. The one there is changes nothing.

        What becomes of what is remembered is `switch`, which the environment was made with: "keep" leaves it, "flush"
        forgets all but the sinks and the last frame, "recache" reads the last frames again under the new condition,
        "cut" forgets everything, and the next frame is the first of a scene. Of several calls before a step the last
        one counts. Recordings note the condition with every step.

        Args:
            condition: name or number.
            rows: environments of a vector; None for all.

        Raises:
            ResetNeeded: before the first `reset`.
            ValueError: if the world has no such condition, or there are no such rows.
        """
        number, places = condition_of(self.world.conditions, condition), self._rows("set_condition", rows)
        if any(self._engine.state.conditions[row] != number for row in places):
            self._engine.switch(places, number, self.switch)
            self._look_ahead()

    @property
    def cuts(self) -> int | NDArray[np.int64]:
        """How many scenes of the episode were ended by `cut`; of a vector, int64 [B]."""
        episodes = self._engine.state.episodes if self._engine.begun else []
        return self._of_each([int(episode.notes.get(CUTS, 0)) for episode in episodes])

    def cut(self, rows: Sequence[int] | None = None) -> None:
        """End the scene: forget everything, so that the next frame is the first of another.

        A world draws a first frame well if it was trained with `trainer.openings`. Recordings note `cuts`.

        Args:
            rows: environments of a vector; None for all.

        Raises:
            ResetNeeded: before the first `reset`.
            ValueError: if there are no such rows.
        """
        places = self._rows("cut", rows)
        self._engine.cut(places)
        for row in places:
            notes = self._engine.state.episodes[row].notes
            notes[CUTS] = notes.get(CUTS, 0) + 1
        self._look_ahead()

    def set_cuts(self, cuts: int) -> None:
        """`cut` as often as is needed for so many in the episode; what a replay calls.

        Raises:
            ResetNeeded: before the first `reset`.
            ValueError: if there were more already, or this is a vector.
        """
        now = self.cuts
        if not isinstance(now, int) or cuts < now:
            raise ValueError(f"cuts can only become more, and of one environment; there were {now}, got {cuts}")
        for _ in range(cuts - now):
            self.cut()

    def _rows(self, call: str, rows: Sequence[int] | None) -> list[int]:
        """Places of rollouts.

        Raises:
            ValueError: if there are no such.
        """
        self._steps.require_empty(call)
        count = len(self._begun(call))
        places = list(range(count)) if rows is None else [int(row) for row in rows]
        if not places or len(set(places)) < len(places) or not 0 <= min(places) <= max(places) < count:
            raise ValueError(f"rows must be different places in [0, {count}), got {rows}")
        return places

    def _of_each(self, values: list[int]) -> int | NDArray[np.int64]:
        """A value of every rollout, as one where there is one."""
        count = getattr(self, "num_envs", None)
        if count is None:
            return values[0] if values else 0
        return np.array(values or [0] * count, np.int64)

    def _begun(self, call: str) -> WorldState:
        raise NotImplementedError

    def _look_ahead(self) -> None:
        raise NotImplementedError
