"""What is asked for between two steps: other passes, other conditions, cuts."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import switching
from .state import WorldState

if TYPE_CHECKING:
    from .rollout import World


@dataclass
class BetweenSteps:
    """The state after a step, and what is to be done before the next one.

    All of it is done anew whenever more is asked for, in one order: passes, conditions, cuts. So the last call of each
    kind counts, what is asked for and taken back leaves no trace, and what a recording notes with a step is all that
    there is to know.
    """

    state: WorldState
    """as it was after the step; does not change"""
    world: "World"
    """by which that was drawn"""
    conditions: dict[int, tuple[int, str]] = field(default_factory=dict)
    """of rollouts: the number of the condition they go on under, and what becomes of their past then"""
    cuts: set[int] = field(default_factory=set)
    """rollouts whose scene ends"""

    def done(self, world: "World", stagger: int | None) -> WorldState:
        """The state with all of it done, drawn on by `world`; frames in flight `stagger` apart, None: as they are."""
        state = self.state.clone()
        if stagger is not None:
            world.take_off(state, stagger)
        for row, (condition, how) in self.conditions.items():
            switching.set_condition(world, state, [row], condition, how)
        switching.cut(world, state, sorted(self.cuts))
        return state

    def put(self, rows: list[int], state: WorldState, stagger: int | None) -> None:
        """Rollouts `rows` are others now, see `WorldState.put`; nothing has been asked of them."""
        state = state.clone()
        if stagger is not None:
            self.world.take_off(state, stagger)
        self.state.put(rows, state)
        for row in rows:
            self.conditions.pop(row, None)
        self.cuts -= {*rows}
