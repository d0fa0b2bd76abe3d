"""Pre-LN transformer block with adaLN-Zero per frame (Peebles & Xie 2022, arXiv:2212.09748) and QK-norm."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from kernels import adaln_modulate, gated_residual, qk_norm_rope

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q, k, v) each [B, T*N, H, D/H], q and k normalised and rotated -> [B, T*N, H, D/H]"""


class Block(nn.Module):
    """Attention and MLP, both modulated and gated by the frame's conditioning vector."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, condition_dim: int):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(condition_dim, 6 * dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.norm_q, self.norm_k = nn.RMSNorm(dim // heads), nn.RMSNorm(dim // heads)  # applied by qk_norm_rope
        self.out = nn.Linear(dim, dim, bias=False)
        self.up = nn.Linear(dim, mlp_ratio * dim)
        self.down = nn.Linear(mlp_ratio * dim, dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Transform the tokens of T frames.

        Args:
            x: [B, T*N, D].
            condition: [B, T, condition_dim], already through SiLU.
            rotation: tables of `Rotation`, of N or T*N rows.
            attend: how tokens see each other.

        Returns:
            [B, T*N, D].
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).chunk(6, -1)
        tokens = x.shape[1] // condition.shape[1]
        q, k, v = qk_norm_rope(self.qkv(adaln_modulate(x, shift1, scale1, tokens)), self.norm_q.weight,
                               self.norm_k.weight, *rotation, heads=self.heads)
        x = gated_residual(x, self.out(attend(q, k, v).flatten(-2)), gate1, tokens)
        inner = F.gelu(self.up(adaln_modulate(x, shift2, scale2, tokens)))
        return gated_residual(x, self.down(inner), gate2, tokens)
