"""What the actions of a world are: one of so many, or a vector between bounds."""

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
    """

    count: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def continuous(self) -> bool:
        """Whether an action is a vector."""
        return bool(self.low)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one action."""
        return (len(self.low),) if self.low else ()

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
        """Unknown actions, [*lead, *shape]."""
        return torch.full((*lead, *self.shape), self.null, dtype=self.dtype, device=device)

    def pad(self, actions: Tensor, before: int = 0, after: int = 0) -> Tensor:
        """Unknown actions around those of clips, [B, T, *shape] -> [B, before + T + after, *shape]."""
        return F.pad(actions, (*(0, 0) * len(self.shape), before, after), value=self.null)

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

    def possible(self, actions: Tensor) -> bool:
        """Whether actions are known ones within bounds, or unknown."""
        if not self.continuous:
            return not bool(((actions < 0) | (actions > self.count)).any())
        low, high = (torch.tensor(bound, device=actions.device) for bound in (self.low, self.high))
        return not bool(((actions < low) | (actions > high) | actions.isinf()).any())
