"""Frames that may be asked for next: what is guessed, and which steps a guess answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .state import WorldState

if TYPE_CHECKING:
    from .rollout import Drawn, World

KeepOn = Callable[[], bool]
Policy = Callable[[Tensor], Tensor]
"""last pictures uint8 [B, K, H, W, 3], newest last -> actions int64 [B]"""


@dataclass
class Guess:
    """A step that may come: `actions` int64 [B], or every action of one rollout when None."""

    actions: Tensor | None

    def answers(self, actions: Tensor) -> bool:
        """Whether a step with these actions is what was guessed."""
        return self.actions is None or torch.equal(self.actions, actions)


@dataclass
class Ahead:
    """A guess that has been drawn."""

    guess: Guess
    state: WorldState
    drawn: "Drawn"
    seconds: float
    """that drawing it took"""

    @property
    def frames(self) -> int:
        """Frames drawn for it."""
        return len(self.state)

    def chosen(self, actions: Tensor) -> "tuple[WorldState, Drawn]":
        """State and frame of the step that came."""
        if self.guess.actions is not None:
            return self.state, self.drawn
        row = int(actions[0])
        parts = (x[row : row + 1].clone() for x in (self.drawn.frames, self.drawn.rewards, self.drawn.terminated))
        return self.state.take([row]), type(self.drawn)(*parts)


@dataclass
class Guesser:
    """What may come after a state; called by the thread that looks ahead."""

    world: "World"
    mode: str
    """repeat, policy or branch"""
    policy: Policy | None = None

    @property
    def ready(self) -> bool:
        """Whether there is anything to guess with."""
        return self.mode != "policy" or self.policy is not None

    def __call__(self, state: WorldState) -> Guess:
        """The guess for the step after `state`."""
        if self.mode == "branch":
            return Guess(None)
        if self.mode == "repeat" or self.policy is None:
            return Guess(self._known(self.world.actions.taken(state.last_actions)))
        actions = torch.as_tensor(self.policy(state.pictures))
        try:
            checked = self.world.actions.checked(actions.detach().cpu().numpy(), len(state))
        except ValueError as error:
            raise ValueError(f"what the policy of set_policy() returned is refused: {error}") from None
        return Guess(torch.from_numpy(checked).to(self.world.device))

    def _known(self, actions: Tensor) -> Tensor:
        """Actions, those that nobody knows replaced by one that is possible."""
        kind = self.world.actions
        if not kind.continuous:
            return actions.clamp(max=kind.count - 1)
        middle = (torch.tensor(kind.low) + torch.tensor(kind.high)) / 2
        return torch.where(actions.isnan(), middle.to(actions), actions)


@dataclass
class Drawer:
    """Draws what a guess leads to.

    A branch is one batch of all actions, and the frame of an action always its row: with branches every step is drawn
    so, guessed or not, as rows of a batch round otherwise than a rollout alone.
    """

    world: "World"

    def __call__(self, state: WorldState, guess: Guess, keep_on: KeepOn | None = None) -> Ahead:
        """Draw from a copy: `state` stays as it is.

        Raises:
            Cancelled: if `keep_on` said so.
        """
        if guess.actions is not None:
            state, actions = state.clone(), guess.actions
        else:
            state = state.take([0] * self.world.num_actions)
            actions = torch.arange(self.world.num_actions, device=self.world.device)
        return Ahead(guess, state, self.world.step_tensors(state, actions, keep_on=keep_on), seconds=0.0)
