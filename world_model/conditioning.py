"""What every frame is told besides its pixels: its noise level and the action that leads to it."""

import math

import torch
from torch import Tensor, nn


class Conditioning(nn.Module):
    """Per-frame embedding of (noise level, action), the input of every adaLN-Zero modulation.

    Action ids are 0..num_actions-1; `null_action` (= num_actions) stands for an unknown action: before the
    first frame of an episode, for look-ahead, and for guidance.
    """

    def __init__(self, num_actions: int, dim: int, frequencies: int = 64):
        super().__init__()
        self.null_action = num_actions
        self.action = nn.Embedding(num_actions + 1, dim)
        self.level = nn.Sequential(nn.Linear(2 * frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.register_buffer("speeds", torch.exp(torch.linspace(0, math.log(1000.0), frequencies)), persistent=False)

    def forward(self, levels: Tensor, actions: Tensor) -> Tensor:
        """levels [B, T] in [0, 1] (0 = clean, 1 = noise), actions int64 [B, T] -> [B, T, D]."""
        angles = levels[..., None].float() * self.speeds.float()
        waves = torch.cat([angles.cos(), angles.sin()], -1).to(self.action.weight.dtype)
        return self.level(waves) + self.action(actions)
