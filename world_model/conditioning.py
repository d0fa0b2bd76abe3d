"""What every frame is told besides its pixels: its noise level and the action that leads to it."""

import math

import torch
from torch import Tensor, nn


class Conditioning(nn.Module):
    """Per-frame embedding of (noise level, actions), the input of every adaLN-Zero modulation.

    A frame is told the action that leads to it and the `memory` actions before that one: games have inertia, and
    a past action is cheaper told than inferred from pictures.

    Action ids are 0..num_actions-1; `null_action` (= num_actions) stands for an unknown action: before the
    first frame of an episode, for look-ahead, and for guidance.
    """

    speeds: Tensor

    def __init__(self, num_actions: int, dim: int, memory: int, frequencies: int = 64):
        super().__init__()
        self.null_action = num_actions
        self.memory = memory
        self.action = nn.Embedding(num_actions + 1, dim)
        self.earlier = nn.ModuleList(nn.Embedding(num_actions + 1, dim) for _ in range(memory))
        for weight in self.earlier.parameters():
            nn.init.zeros_(weight)
        self.level = nn.Sequential(nn.Linear(2 * frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.register_buffer("speeds", wave_speeds(frequencies), persistent=False)

    def forward(self, levels: Tensor, actions: Tensor) -> Tensor:
        """Embed T frames.

        Args:
            levels: [B, T] in [0, 1] (0 = clean, 1 = noise).
            actions: int64 [B, memory + T], those that led to the `memory` frames before come first.

        Returns:
            [B, T, D].
        """
        frames, memory = levels.shape[1], self.memory
        if actions.shape[1] != memory + frames:
            raise ValueError(f"need the actions of {memory} + {frames} frames, got {actions.shape[1]}")
        told = self.embed_levels(levels) + self.action(actions[:, memory:])
        for i, table in enumerate(self.earlier, start=1):
            told = told + table(actions[:, memory - i : memory - i + frames])
        return told

    def embed_levels(self, levels: Tensor) -> Tensor:
        """What noise levels alone say: any shape [...] in [0, 1] -> [..., D]."""
        angles = levels[..., None].float() * self.speeds.float()
        waves = torch.cat([angles.cos(), angles.sin()], -1).to(self.action.weight.dtype)
        return self.level(waves)


def wave_speeds(frequencies: int) -> Tensor:
    """What levels are multiplied by before sines and cosines are taken, from 1 to 1000: float32 [frequencies]."""
    return torch.exp(torch.linspace(0, math.log(1000.0), frequencies, dtype=torch.float32))
