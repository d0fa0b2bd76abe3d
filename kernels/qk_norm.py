"""Queries and keys made ready for attention in one pass: split of the fused projection, RMS norm, rotation.

Queries and keys are normalised per head before they meet (Henry et al. 2020, arXiv:2010.04245; with the RMS norm of
Zhang & Sennrich 2019, arXiv:1910.07467), which bounds the scores, and then rotated by position (Su et al. 2021,
arXiv:2104.09864). Composed of torch's operators this is about ten passes over the projection.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import decide
from .operands import composed_eagerly, require_floating, unfit_dtype, wide, without_autocast
from .rope import apply_rope

WIDTHS = (16, 32, 64, 128, 256)
"""head widths that the triton kernel has tiles for"""

Heads = tuple[Tensor, Tensor, Tensor]


def qk_norm_rope(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, *, heads: int,
                 kv_heads: int | None = None, eps: float = 1e-6) -> Heads:
    """Queries, keys and values of a fused projection; queries and keys RMS-normed per head, then rotated.

    Args:
        qkv: [B, N, (Hq + 2*Hkv) * D], heads of queries, then of keys, then of values; any floating dtype.
        gq, gk: [D] what normed queries and keys are multiplied by.
        cos, sin: [R, D] of `kernels.rotation_tables`; token n is rotated by row n % R. No gradient flows to them.
        heads: Hq.
        kv_heads: Hkv; None for as many as queries.
        eps: added to the mean square.

    Returns:
        q [B, N, Hq, D], k and v [B, N, Hkv, D] of the dtype of `qkv`, each head contiguous.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit.
    """
    kv_heads = heads if kv_heads is None else kv_heads
    check_projection(qkv, gq, gk, cos, sin, heads, kv_heads)
    if composed_eagerly(qkv.device, unfit_projection(qkv, gq, gk, cos, sin)):
        return _composed(qkv, gq, gk, cos, sin, heads, kv_heads, eps)
    return _qk_norm_rope(qkv, gq, gk, cos, sin, heads, kv_heads, eps)


def qk_norm_rope_reference(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, *, heads: int,
                           kv_heads: int | None = None, eps: float = 1e-6) -> Heads:
    """The definition of `qk_norm_rope`."""
    kv_heads = heads if kv_heads is None else kv_heads
    q, k, v = _split(qkv, gq.numel(), heads, kv_heads)
    cos, sin = (_each_token(table, qkv.shape[1]) for table in (cos, sin))

    def ready(x: Tensor, gain: Tensor) -> Tensor:
        x = x.to(wide(x.dtype))
        normed = x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * gain
        return (normed * cos + _swapped(normed) * sin).to(qkv.dtype)

    return ready(q, gq), ready(k, gk), v


@torch.library.custom_op("foreframe::qk_norm_rope", mutates_args=())
def _qk_norm_rope(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int,
                  eps: float) -> tuple[Tensor, Tensor, Tensor]:
    backend = decide(qkv.device, unfit_projection(qkv, gq, gk, cos, sin)).backend
    if backend == "triton":
        from . import qk_norm_triton

        return qk_norm_triton.qk_norm_rope(qkv, gq, gk, cos, sin, heads, kv_heads, eps)
    if backend == "torch":
        q, k, v = _composed(qkv, gq, gk, cos, sin, heads, kv_heads, eps)
        return q.contiguous(), k.contiguous(), _copied(v)
    with without_autocast(qkv.device):
        q, k, v = qk_norm_rope_reference(qkv, gq, gk, cos, sin, heads=heads, kv_heads=kv_heads, eps=eps)
        return q.contiguous(), k.contiguous(), _copied(v)


def _composed(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int,
              eps: float) -> Heads:
    """Queries and keys together, which halves the calls; what comes back are views."""
    both, width = heads + kv_heads, gq.numel()
    x, v = qkv.unflatten(2, (both + kv_heads, width)).split([both, kv_heads], 2)
    with without_autocast(qkv.device):
        gain = torch.cat([gq.expand(heads, width), gk.expand(kv_heads, width)]).to(x.dtype)
        normed = (F.rms_norm(x, (width,), None, eps) * gain).unflatten(1, (-1, cos.shape[0]))
        q, k = apply_rope(normed, cos[:, None], sin[:, None]).flatten(1, 2).split([heads, kv_heads], 2)
    return q, k, v


@torch.library.custom_op("foreframe::qk_norm_rope_backward", mutates_args=())
def _qk_norm_rope_backward(dq: Tensor, dk: Tensor, dv: Tensor, qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor,
                           sin: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by qkv, gq and gk; the last two in float32, or float64 where that was given."""
    backend = decide(qkv.device, unfit_projection(qkv, gq, gk, cos, sin)).backend
    if backend == "triton":
        from . import qk_norm_triton

        return qk_norm_triton.qk_norm_rope_backward(dq, dk, dv, qkv, gq, gk, cos, sin, eps)
    with without_autocast(qkv.device):
        q, k, _ = _split(qkv, gq.numel(), dq.shape[2], dk.shape[2])
        by_q, dgq = _ready_backward(dq, q, gq, cos, sin, eps)
        by_k, dgk = _ready_backward(dk, k, gk, cos, sin, eps)
        return torch.cat([part.flatten(2) for part in (by_q, by_k, dv)], -1), dgq, dgk


def _ready_backward(grad: Tensor, x: Tensor, gain: Tensor, cos: Tensor, sin: Tensor,
                    eps: float) -> tuple[Tensor, Tensor]:
    """Through the rotation, whose transpose swaps after multiplying by sin, then through the norm."""
    dtype = wide(x.dtype)
    repeats = (-1, cos.shape[0])
    grad, value = grad.unflatten(1, repeats).to(dtype), x.unflatten(1, repeats).to(dtype)
    by_scaled = grad * cos[:, None] + _swapped(grad * sin[:, None])
    reciprocal = (value.square().mean(-1, keepdim=True) + eps).rsqrt()
    normed = value * reciprocal
    by_normed = by_scaled * gain
    dx = reciprocal * (by_normed - normed * (by_normed * normed).mean(-1, keepdim=True))
    return dx.flatten(1, 2).to(x.dtype), (by_scaled * normed).sum((0, 1, 2, 3)).to(dtype)


@_qk_norm_rope.register_fake
def _(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int, eps: float) -> Heads:
    q, k, v = (qkv.new_empty(*qkv.shape[:2], count, gq.shape[0]) for count in (heads, kv_heads, kv_heads))
    return q, k, v


@_qk_norm_rope_backward.register_fake
def _(dq: Tensor, dk: Tensor, dv: Tensor, qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor,
      eps: float) -> Heads:
    dgq, dgk = (gain.new_empty(gain.shape, dtype=wide(qkv.dtype)) for gain in (gq, gk))
    return qkv.new_empty(qkv.shape), dgq, dgk


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Heads) -> None:
    qkv, gq, gk, cos, sin, _heads, _kv_heads, ctx.eps = inputs
    ctx.save_for_backward(qkv, gq, gk, cos, sin)


def _gradients(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor | None, ...]:
    _qkv, gq, gk, _cos, _sin = ctx.saved_tensors
    dqkv, dgq, dgk = _qk_norm_rope_backward(dq, dk, dv, *ctx.saved_tensors, ctx.eps)
    return dqkv, dgq.to(gq.dtype), dgk.to(gk.dtype), None, None, None, None, None


_qk_norm_rope.register_autograd(_gradients, setup_context=_keep)


def _split(qkv: Tensor, width: int, heads: int, kv_heads: int) -> Heads:
    q, k, v = qkv.unflatten(-1, (-1, width)).split([heads, kv_heads, kv_heads], -2)
    return q, k, v


def _copied(x: Tensor) -> Tensor:
    """Contiguous, and never the same memory: what an operator returns must be new."""
    return x.clone(memory_format=torch.contiguous_format)


def _each_token(table: Tensor, tokens: int) -> Tensor:
    """[R, D] -> [N, 1, D]."""
    return table.repeat(tokens // table.shape[0], 1)[:, None]


def _swapped(x: Tensor) -> Tensor:
    """Halves of the last axis exchanged."""
    first, second = x.chunk(2, -1)
    return torch.cat([second, first], -1)


def unfit_projection(*tensors: Tensor) -> str:
    """Why the triton kernel cannot take these: the projection, then gains [D], then anything else."""
    width = tensors[1].numel()
    return unfit_dtype(*tensors) or ("" if width in WIDTHS else f"head width {width} is none of {WIDTHS}")


def check_projection(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int) -> None:
    """Raise a ValueError unless the tensors of `qk_norm_rope` fit each other."""
    if qkv.dim() != 3:
        raise ValueError(f"qkv must be [batch, tokens, all heads * width], got {list(qkv.shape)}")
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads, both at least 1, got {heads} and {kv_heads}")
    parts = heads + 2 * kv_heads
    width = qkv.shape[2] // parts  # no divmod: torch.compile refuses it where sizes are symbols
    if qkv.shape[2] % parts or width % 2:
        raise ValueError(f"the last axis of qkv must be {parts} heads of an even width, got {qkv.shape[2]}")
    for name, gain in (("gq", gq), ("gk", gk)):
        if list(gain.shape) != [width]:
            raise ValueError(f"{name} must be [{width}], got {list(gain.shape)}")
    for name, table in (("cos", cos), ("sin", sin)):
        if table.dim() != 2 or table.shape != cos.shape or table.shape[1] != width:
            raise ValueError(f"{name} must be [positions, {width}] and as long as cos, got {list(table.shape)}")
    if not cos.shape[0] or qkv.shape[1] % cos.shape[0]:
        raise ValueError(f"rows of cos and sin must divide the {qkv.shape[1]} tokens of qkv, got {cos.shape[0]}")
    require_floating(qkv=qkv, gq=gq, gk=gk, cos=cos, sin=sin)
