"""Pre-LN transformer block with adaLN-Zero per frame (Peebles & Xie 2022, arXiv:2212.09748) and QK-norm."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q, k, v) each [B, T, N, H, D/H], normalised, not yet rotated -> [B, T, N, H, D/H]"""


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights, then scale and shift. x [B, T, N, D], shift and scale [B, T, 1, D]."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D], same dtype."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), 1e-6)


class Block(nn.Module):
    """Attention and MLP, both modulated and gated by the frame's conditioning vector."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, condition_dim: int):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(condition_dim, 6 * dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.norm_q, self.norm_k = RMSNorm(dim // heads), RMSNorm(dim // heads)
        self.out = nn.Linear(dim, dim, bias=False)
        self.up = nn.Linear(dim, mlp_ratio * dim)
        self.down = nn.Linear(mlp_ratio * dim, dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor, attend: Attend) -> Tensor:
        """X [B, T, N, D], condition [B, T, condition_dim] (already through SiLU) -> [B, T, N, D]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, :, None].chunk(6, -1)
        q, k, v = self._project(modulate(x, shift1, scale1))
        x = x + gate1 * self.out(attend(q, k, v).flatten(-2))
        return x + gate2 * self.down(F.gelu(self.up(modulate(x, shift2, scale2))))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        return self.norm_q(q), self.norm_k(k), v
