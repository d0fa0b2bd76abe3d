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
        wide = torch.promote_types(block.qkv.weight.dtype, torch.float32)
        gains = torch.cat([gain.weight.to(wide).expand(block.heads, -1) for gain in (block.norm_q, block.norm_k)])
        cos, sin = (table.to(wide)[:, None] for table in rotation)
        # [N, 2 * heads, D/H]: what queries and keys, and their halves exchanged, are multiplied by
        self.turns = cos * gains, sin * gains.roll(gains.shape[1] // 2, -1)
        self.qkv = block.qkv.weight
        self.rest = block.out.weight, block.up.weight, block.up.bias, block.down.weight, block.down.bias

    def __call__(self, x: Tensor, told: tuple[Tensor, ...], past: PastFrames | None,
                 fresh: list[tuple[Tensor, ...]] | None, causal: bool) -> Tensor:
        """Transform tokens [B, T, N, D] of frames.

        Args:
            told: shift, scale and gate of attention, then of the MLP, [B, T, 1, D]; scales are 1 + what is learned.
            past: what frames look back to; None where each looks at itself alone.
            fresh: if given, keys and values of a block that looks back, [B, T*N, H, D/H], are appended to it.
        """
        shift, scale, *others = told
        q, k, v = _ready(x, shift, scale, self.qkv, *self.turns)
        if past is None:
            seen = attend_alone(q, k, v)
        else:
            q, k, v = q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)
            if fresh is not None:
                fresh.append((k, v))
            seen = past.attend(q, k, v, causal)
        return _settle(x, seen.reshape(x.shape), others, self.rest)


def _ready(x: Tensor, shift: Tensor, scale: Tensor, weight: Tensor, straight: Tensor,
           swapped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of tokens, `kernels.qk_norm_rope`: [B, T, N, H, D/H] each."""
    count, width = straight.shape[1:]
    heads = steady_linear(_modulated(x, shift, scale), weight).unflatten(-1, (-1, width))
    qk = heads[..., :count, :].to(straight.dtype)
    reciprocal = (qk.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    turned = (torch.addcmul(qk * straight, qk.roll(width // 2, -1), swapped) * reciprocal).to(x.dtype)
    return turned[..., : count // 2, :], turned[..., count // 2 :, :], heads[..., count:, :]


def _settle(x: Tensor, seen: Tensor, told: list[Tensor], weights: tuple[Tensor, ...]) -> Tensor:
    """Tokens [B, T, N, D] after what attention has seen, and after the MLP."""
    gate1, shift, scale, gate2 = told
    out, up, up_bias, down, down_bias = weights
    x = torch.addcmul(x, steady_linear(seen, out), gate1)
    inner = F.gelu(steady_linear(_modulated(x, shift, scale), up, up_bias))
    return torch.addcmul(x, steady_linear(inner, down, down_bias), gate2)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), scale)


def steady_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of B rollouts' pictures, [B, ..., rows, K]: same bits for every B and number of threads.

    On a CPU how a long sum is cut depends on the number of rows and threads, and few rows of float32 take another way:
    those are made picture by picture. (Seen for bfloat16 on processors with AMX, not promised: tests compare whole
    steps there.)
    """
    many = x.dtype == torch.bfloat16 or x[0].numel() >= 16 * x.shape[-1]
    pictures = x.flatten(0, -3)
    if len(pictures) == 1 or (many and x.shape[-1] <= 256):
        return F.linear(x, weight, bias)
    return torch.stack([F.linear(picture, weight, bias) for picture in pictures]).unflatten(0, x.shape[:-2])
