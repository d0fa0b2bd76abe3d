"""What the actions of a world are: one of so many, or a vector between bounds; and what a network is told of them.

A world that holds several games, or one under several conditions, is told with every action under which of them the
frame is drawn: `told` is the action with the number of the condition behind it. Others are told the action as it is.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Actions:
    """Kind of a world's actions. In tensors a discrete one is an int64 id, a continuous one float32 [A].

    Attributes:
        count: of discrete actions, which are 0 to count - 1; 0 where they are continuous.
        low: least value of each of the A numbers of a continuous action.
        high: largest.
        conditions: of the world; 0 where it has none to tell.
    """

    count: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    conditions: int = 0

    @property
    def continuous(self) -> bool:
        """Whether an action is a vector."""
        return bool(self.low)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one action."""
        return (len(self.low),) if self.low else ()

    @property
    def told_shape(self) -> tuple[int, ...]:
        """Of what is told of one."""
        return (max(len(self.low), 1) + 1,) if self.conditions else self.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of actions in tensors."""
        return torch.float32 if self.low else torch.int64

    @property
    def null(self) -> float:
        """What stands for an unknown action: `count`, or NaN in every number."""
        return math.nan if self.low else self.count

    @property
    def rest(self) -> tuple[float, ...]:
        """The continuous action that is nearest to nothing: 0 in every number, or the bound next to it."""
        return tuple(min(max(0.0, low), high) for low, high in zip(self.low, self.high, strict=True))

    def unknown(self, *lead: int, device: torch.device | None = None) -> Tensor:
        """What is told where there is no frame, [*lead, *told_shape]: unknown actions under condition -1."""
        return self.hidden(torch.full((*lead, *self.told_shape), -1, dtype=self.dtype, device=device))

    def told(self, actions: Tensor, conditions: Tensor) -> Tensor:
        """What is told of actions [*lead, *shape] under conditions int64, of a shape that spreads to [*lead]."""
        if not self.conditions:
            return actions
        numbers = actions if self.continuous else actions[..., None]
        return torch.cat([numbers, conditions.expand(numbers.shape[:-1])[..., None].to(numbers)], -1)

    def taken(self, told: Tensor) -> Tensor:
        """The actions in what was told, [*lead, *told_shape] -> [*lead, *shape]."""
        if not self.conditions:
            return told
        return told[..., :-1] if self.continuous else told[..., 0]

    def condition(self, told: Tensor) -> Tensor:
        """The conditions in what was told, [*lead, *told_shape] -> int64 [*lead]; -1 where there is no frame.

        Zeros in a world that has none.
        """
        if self.conditions:
            return told[..., -1].long()
        lead = told.shape[:-1] if self.continuous else told.shape
        return torch.zeros(lead, dtype=torch.int64, device=told.device)

    def hidden(self, told: Tensor) -> Tensor:
        """The same, the actions unknown."""
        unknown = torch.full_like(told, self.null)
        if self.conditions:
            unknown[..., -1] = told[..., -1]
        return unknown

    def pad(self, told: Tensor, before: int = 0, after: int = 0) -> Tensor:
        """Unknown actions around those of clips, [B, T, *told_shape] -> [B, before + T + after, *told_shape].

        Before them there is no frame; after them the condition goes on.
        """
        if not self.conditions:
            return F.pad(told, (*(0, 0) * len(self.told_shape), before, after), value=self.null)
        nothing = self.unknown(len(told), before, device=told.device)
        return torch.cat([nothing, told, self.hidden(told[:, -1:]).expand(-1, after, -1)], 1)

    def describe(self) -> str:
        """What an action has to be."""
        if not self.continuous:
            return f"integers from 0 to {self.count - 1}"
        return f"[{len(self.low)}] numbers from {[*self.low]} to {[*self.high]}"

    def checked(self, actions: object, *lead: int) -> np.ndarray:
        """Actions as int64 or float32 [*lead, *shape].

        Raises:
            ValueError: if they are of another shape or kind, or out of bounds.
        """
        given = np.asarray(actions)
        kind = np.number if self.continuous else np.integer
        wanted = (*lead, *self.shape)
        if given.shape != wanted or (given.size and not np.issubdtype(given.dtype, kind)):
            raise ValueError(f"need actions {[*wanted]}, {self.describe()}, got {given.dtype} {[*given.shape]}")
        if self.continuous:
            given = given.astype(np.float32)
            low, high = (np.array(bound, np.float32) for bound in (self.low, self.high))
            if not ((given >= low) & (given <= high)).all():
                came = given.reshape(-1, *self.shape)[:4].tolist()
                raise ValueError(f"actions must be {self.describe()}, got {came}; "
                                 "gymnasium.wrappers.ClipAction clips them")
            return given
        if given.size and (given.min() < 0 or given.max() >= self.count):
            raise ValueError(f"actions must be from 0 to {self.count - 1}, got {given.reshape(-1)[:8].tolist()}")
        return given.astype(np.int64)

    def possible(self, told: Tensor) -> bool:
        """Whether actions are known ones within bounds, or unknown, and conditions are the world's."""
        actions, conditions = self.taken(told), self.condition(told)
        if bool(((conditions < -1) | (conditions >= max(self.conditions, 1))).any()):
            return False
        if not self.continuous:
            return not bool(((actions < 0) | (actions > self.count)).any())
        low, high = (torch.tensor(bound, device=actions.device) for bound in (self.low, self.high))
        return not bool(((actions < low) | (actions > high) | actions.isinf()).any())
