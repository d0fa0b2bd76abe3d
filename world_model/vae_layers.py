"""What an AR-VAE is made of: attention inside a frame, and to the frames before it through a bounded cache.

Attention in time has no positions but how many frames ago, a learned bias per head, so what a frame draws does not
depend on how many there were before.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Past = tuple[Tensor, Tensor, Tensor]
"""keys and values of the last window - 1 frames, [B, W - 1, N, H, D/H] each, oldest first, and how many of them there
were, int64 [B]: what lies before is of no meaning"""


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
            [B, T, N, D], and the past of the frames to come, always of one size.
        """
        q = self.norm_q(self.q(self.before(x)).unflatten(-1, (self.heads, -1)))
        k, v = self.kv(self.before_memory(memory)).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        k, frames = self.norm_k(k), x.shape[1]
        before = self.beginning(len(k), k.shape[2]) if past is None else past
        k, v = torch.cat([before[0], k], 1), torch.cat([before[1], v], 1)
        mask = self._mask(frames, before[2]).to(q.dtype)
        seen = self._coarse(q, k, v, mask) if self.coarse else self._fine(q, k, v, mask)
        known = (before[2] + frames).clamp(max=self.window - 1)
        return self.out(seen.flatten(-2)), (k[:, frames:], v[:, frames:], known)

    def beginning(self, batch: int, places: int) -> Past:
        """The past of B rollouts before their first frame, of which so many tokens are looked at."""
        like = self.kv.weight
        shape = batch, self.window - 1, places, self.heads, like.shape[1] // self.heads
        kind = like.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
        k, v = torch.zeros(2, *shape, dtype=dtype, device=like.device)
        return k, v, torch.zeros(batch, dtype=torch.int64, device=like.device)

    def _mask(self, frames: int, known: Tensor) -> Tensor:
        """What is added to logits of `frames` queries and the keys of past and present: [B, H, T, K]; -inf: unseen."""
        slots = self.window - 1
        place = torch.arange(slots + frames, device=known.device)
        ago = place[slots:, None] - place
        bias = self.ago[:, ago.clamp(0, slots)].masked_fill((ago < 0) | (ago > slots), -torch.inf)
        missing = place < slots - known[:, None]
        return bias.masked_fill(missing[:, None, None], -torch.inf)

    def _fine(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Every place on its own: q [B, T, N, H, E], k and v [B, K, N, H, E] -> [B, T, N, H, E]."""
        q, k, v = (x.permute(0, 2, 3, 1, 4) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None]).permute(0, 3, 1, 2, 4)

    def _coarse(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """All places together: q [B, T, N, H, E], k and v [B, K, M, H, E] -> [B, T, N, H, E]."""
        frames, tokens, memory = q.shape[1], q.shape[2], k.shape[2]
        mask = mask.repeat_interleave(tokens, 2).repeat_interleave(memory, 3)
        q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return seen.transpose(1, 2).unflatten(1, (frames, tokens))
