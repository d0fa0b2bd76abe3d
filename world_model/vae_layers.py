"""What an AR-VAE is made of: attention inside a frame, and to the frames before it through a bounded cache.

Attention in time has no positions but how many frames ago, a learned bias per head, so what a frame draws does not
depend on how many there were before.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Past = tuple[Tensor, Tensor]
"""keys and values of the last window - 1 frames, [B, W - 1, N, H, D/H] each, oldest first"""


class SpatialBlock(nn.Module):
    """Pre-LN transformer block over all tokens of a frame (Dosovitskiy et al. 2021), with QK-norm."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.norm_q, self.norm_k = nn.RMSNorm(dim // heads), nn.RMSNorm(dim // heads)
        self.out = nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, mlp_ratio * dim), nn.Linear(mlp_ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[F, N, D] tokens of F frames -> the same shape; no frame sees another."""
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(self.norm_q(q), self.norm_k(k), v)
        x = x + self.out(seen.transpose(1, 2).flatten(-2))
        return x + self.down(F.gelu(self.up(self.between(x))))


class TemporalAttention(nn.Module):
    """Attention of a frame's tokens to those of the last frames, itself included; adds nothing at first.

    Two kinds (AR-VAE of arXiv:2503.07418): "fine", each patch looks at its own place in the frames before; "coarse",
    all look at the few tokens that frames are made from.
    """

    def __init__(self, dim: int, heads: int, window: int, coarse: bool):
        super().__init__()
        self.heads, self.window, self.coarse = heads, window, coarse
        self.before, self.before_memory = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.kv = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.norm_q, self.norm_k = nn.RMSNorm(dim // heads), nn.RMSNorm(dim // heads)
        self.ago = nn.Parameter(torch.zeros(heads, window))  # bias by how many frames ago
        self.out = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, memory: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """What is added to tokens.

        Args:
            x: [B, T, N, D] tokens that look.
            memory: [B, T, M, D] what is looked at, of the same frames; M = N where attention is fine.
            past: of the frames before; None at the beginning.

        Returns:
            [B, T, N, D], and the past of the frames to come.
        """
        q = self.norm_q(self.q(self.before(x)).unflatten(-1, (self.heads, -1)))
        k, v = self.kv(self.before_memory(memory)).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        k = self.norm_k(k)
        known = 0 if past is None else past[0].shape[1]
        if past is not None:
            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)
        look = self._coarse if self.coarse else self._fine
        seen = look(q, k, v, known)
        keep = self.window - 1
        first = max(0, k.shape[1] - keep)
        return self.out(seen.flatten(-2)), (k[:, first:], v[:, first:])

    def _mask(self, frames: int, known: int, device: torch.device) -> Tensor:
        """What is added to logits of `frames` queries and `known` + `frames` keys: [H, T, K], -inf where unseen."""
        ago = torch.arange(known, known + frames, device=device)[:, None] - torch.arange(known + frames, device=device)
        bias = self.ago[:, ago.clamp(0, self.window - 1)]
        return bias.masked_fill((ago < 0) | (ago >= self.window), -torch.inf)

    def _fine(self, q: Tensor, k: Tensor, v: Tensor, known: int) -> Tensor:
        """Q [B, T, N, H, E], k and v [B, K, N, H, E] -> [B, T, N, H, E], every place on its own."""
        q, k, v = (x.permute(0, 2, 3, 1, 4) for x in (q, k, v))
        mask = self._mask(q.shape[3], known, q.device).to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).permute(0, 3, 1, 2, 4)

    def _coarse(self, q: Tensor, k: Tensor, v: Tensor, known: int) -> Tensor:
        """Q [B, T, N, H, E], k and v [B, K, M, H, E] -> [B, T, N, H, E]."""
        frames, tokens, memory = q.shape[1], q.shape[2], k.shape[2]
        mask = self._mask(frames, known, q.device).to(q.dtype)
        mask = mask.repeat_interleave(tokens, 1).repeat_interleave(memory, 2)
        q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return seen.transpose(1, 2).unflatten(1, (frames, tokens))
