"""What every frame is told besides its pixels: its noise level, the action that leads to it, and its condition."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .actions import Actions


class Conditioning(nn.Module):
    """Per-frame embedding of (noise level, actions), the input of every adaLN-Zero modulation.

    A frame is told the action that leads to it and the `memory` actions before that one: games have inertia, and
    a past action is cheaper told than inferred from pictures.

    Some actions are unknown (`Actions.null`): before the first frame of an episode, for look-ahead, and for guidance.

    A condition, say the game of a world that holds several, reaches the frames of its own segment alone (the segment
    mask of Mask2DiT), while frames go on seeing each other: so it may change with any frame.
    """

    speeds: Tensor

    def __init__(self, actions: Actions, dim: int, memory: int, frequencies: int = 64):
        super().__init__()
        self.memory, self.kind = memory, actions
        self.action, *earlier = (_told_by(actions, dim) for _ in range(1 + memory))
        self.earlier = nn.ModuleList(earlier)
        for table in earlier:
            nn.init.zeros_(table.weight)
            if isinstance(table, ActionVector):
                nn.init.zeros_(table.unknown)
        self.condition = nn.Embedding(actions.conditions, dim) if actions.conditions else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
        self.level = nn.Sequential(nn.Linear(2 * frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.register_buffer("speeds", wave_speeds(frequencies), persistent=False)

    def forward(self, levels: Tensor, actions: Tensor) -> Tensor:
        """Embed T frames.

        Args:
            levels: [B, T] in [0, 1] (0 = clean, 1 = noise).
            actions: [B, memory + T, ...], those that led to the `memory` frames before come first.

        Returns:
            [B, T, D].
        """
        frames, memory = levels.shape[1], self.memory
        if actions.shape[1] != memory + frames:
            raise ValueError(f"need the actions of {memory} + {frames} frames, got {actions.shape[1]}")
        return self.embed_levels(levels) + self.embed_actions(actions)

    def embed_actions(self, actions: Tensor) -> Tensor:
        """What actions alone say: [B, memory + T, ...] -> [B, T, D]."""
        memory, frames = self.memory, actions.shape[1] - self.memory
        taken = self.kind.taken(actions)
        told: Tensor = self.action(taken[:, memory:])
        for i, table in enumerate(self.earlier, start=1):
            told = told + table(taken[:, memory - i : memory - i + frames])
        return told if self.condition is None else told + self.condition(self.kind.condition(actions[:, memory:]))

    def fill(self) -> None:
        """Make anew what is not in a world's file, once the weights are where they belong."""
        self.speeds = wave_speeds(len(self.speeds)).to(self.speeds.device)
        for table in (self.action, *self.earlier):
            if isinstance(table, ActionVector):
                table.fill()

    def embed_levels(self, levels: Tensor) -> Tensor:
        """What noise levels alone say: any shape [...] in [0, 1] -> [..., D]."""
        angles = levels[..., None].float() * self.speeds.float()
        waves = torch.cat([angles.cos(), angles.sin()], -1).to(self.action.weight.dtype)
        return self.level(waves)


class ActionVector(nn.Module):
    """Embedding of continuous actions: bent inside, so that twice as much need not mean twice as far."""

    centre: Tensor
    reach: Tensor

    def __init__(self, actions: Actions, dim: int):
        super().__init__()
        self.bounds = actions.low, actions.high
        for name in ("centre", "reach"):
            self.register_buffer(name, torch.zeros(len(actions.low)), persistent=False)
        self.fill()
        self.inside = nn.Linear(len(actions.low), dim)
        self.weight = nn.Parameter(torch.randn(dim, dim) * dim**-0.5)
        self.unknown = nn.Parameter(torch.randn(dim))

    def fill(self) -> None:
        """Put the bounds, which are not in a world's file, where the weights are."""
        low, high = (torch.tensor(bound, dtype=torch.float32, device=self.centre.device) for bound in self.bounds)
        self.centre, self.reach = (low + high) / 2, (high - low) / 2

    def forward(self, actions: Tensor) -> Tensor:
        """[..., A] -> [..., D]; what is NaN is unknown."""
        known = ~actions.isnan().any(-1, keepdim=True)
        x = (torch.where(known, actions, 0).float() - self.centre) / self.reach
        bent = F.silu(self.inside(2 * x.to(self.weight.dtype)))
        return torch.where(known, F.linear(bent, self.weight), self.unknown)


def _told_by(actions: Actions, dim: int) -> nn.Embedding | ActionVector:
    return ActionVector(actions, dim) if actions.continuous else nn.Embedding(actions.count + 1, dim)


def wave_speeds(frequencies: int) -> Tensor:
    """What levels are multiplied by before sines and cosines are taken, from 1 to 1000: float32 [frequencies]."""
    return torch.exp(torch.linspace(0, math.log(1000.0), frequencies, dtype=torch.float32))
