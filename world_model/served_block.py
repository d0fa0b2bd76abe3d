"""A transformer block as a served world runs it on a CPU: `Block` with frozen weights, little between products."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import PastFrames, attend_alone

from .blocks import Block
from .rotation import Tables


class ServedBlock:
    """Weights of a `Block`, arranged; later changes of them are not followed."""

    def __init__(self, block: Block, rotation: Tables):
        """Args: rotation: of the tokens of one frame, [N, D/H] each."""
        self.heads = block.heads
        self.wide = torch.promote_types(block.qkv.weight.dtype, torch.float32)
        self.qkv, self.out, self.up, self.down = block.qkv, block.out, block.up, block.down
        gains = torch.cat([gain.weight.to(self.wide).expand(self.heads, -1) for gain in (block.norm_q, block.norm_k)])
        cos, sin = (table.to(self.wide)[:, None] for table in rotation)
        self.straight = cos * gains  # [N, 2 * heads, D/H]: queries and keys together
        self.swapped = sin * gains.roll(gains.shape[1] // 2, -1)

    def __call__(self, x: Tensor, told: tuple[Tensor, ...], past: PastFrames | None,
                 fresh: list[tuple[Tensor, Tensor]] | None, causal: bool) -> Tensor:
        """Transform tokens [B, T, N, D] of frames.

        Args:
            told: shift, scale and gate of attention, then of the MLP, [B, T, 1, D]; scales are 1 + what is learned.
            past: what frames look back to; None where each looks at itself alone.
            fresh: if given, keys and values of a block that looks back, [B, T*N, H, D/H], are appended to it.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = told
        q, k, v = self._heads(self.qkv(_modulated(x, shift1, scale1)))
        if past is None:
            seen = attend_alone(q, k, v)
        else:
            q, k, v = q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)
            if fresh is not None:
                fresh.append((k, v))
            seen = past.attend(q, k, v, causal)
        x = torch.addcmul(x, self.out(seen.reshape(x.shape)), gate1)
        inner = F.gelu(self.up(_modulated(x, shift2, scale2)))
        return torch.addcmul(x, self.down(inner), gate2)

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`kernels.qk_norm_rope`, [B, T, N, H, D/H] each."""
        both = qkv.unflatten(-1, (3 * self.heads, -1))
        qk, width = both[..., : 2 * self.heads, :].to(self.wide), both.shape[-1]
        size = torch.linalg.vector_norm(qk, dim=-1, keepdim=True)
        reciprocal = size.square_().mul_(1 / width).add_(1e-6).rsqrt_()
        turned = (qk * self.straight).addcmul_(qk.roll(width // 2, -1), self.swapped).mul_(reciprocal).to(qkv.dtype)
        return turned[..., : self.heads, :], turned[..., self.heads :, :], both[..., 2 * self.heads :, :]


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), scale)
