"""Conditioning of a transformer block by its frame: adaLN-Zero (Peebles & Xie 2022, arXiv:2212.09748), fused.

A token of frame f is normalised, scaled and shifted by that frame's vectors before each branch of a block, and what the
branch returns is gated by another one. Composed of torch's operators this reads and writes the tokens three times;
in one pass it costs what reading and writing them once costs. Token n of [B, N, C] belongs to frame n // P.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import decide
from .operands import composed_eagerly, require_floating, result_dtype, unfit_dtype, wide, without_autocast

WIDEST = 8192
"""channels of a row that one triton program holds"""


def adaln_modulate(x: Tensor, shift: Tensor, scale: Tensor, P: int, *, eps: float = 1e-6) -> Tensor:
    """LayerNorm without weights, then scale and shift by frame: LN(x) * (1 + scale) + shift.

    Args:
        x: [B, T*P, C] tokens, any floating dtype.
        shift, scale: [B, T, C]; any floating dtype.
        P: tokens per frame, at least 1.
        eps: added to the variance.

    Returns:
        [B, T*P, C], contiguous, of the dtype the three promote to.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit.
    """
    _check(x, P, shift=shift, scale=scale)
    if composed_eagerly(x.device, _unfit(x, shift, scale)):
        return _modulate_composed(x, shift, scale, P, eps)
    return _modulate(x, shift, scale, P, eps)


def adaln_modulate_reference(x: Tensor, shift: Tensor, scale: Tensor, P: int, *, eps: float = 1e-6) -> Tensor:
    """The definition of `adaln_modulate`."""
    dtype = result_dtype(x, shift, scale)
    normed, _ = _normed(x.to(wide(dtype)), eps)
    return (normed * (1 + _each_token(scale, P)) + _each_token(shift, P)).to(dtype)


def gated_residual(x: Tensor, y: Tensor, gate: Tensor, P: int) -> Tensor:
    """Add what a branch returned, gated by frame: x + gate * y.

    Args:
        x, y: [B, T*P, C] tokens, any floating dtype.
        gate: [B, T, C]; any floating dtype.
        P: tokens per frame, at least 1.

    Returns:
        [B, T*P, C], contiguous, of the dtype the three promote to.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit.
    """
    _check(x, P, gate=gate)
    if y.shape != x.shape:
        raise ValueError(f"y must be of the shape of x, {list(x.shape)}, got {list(y.shape)}")
    require_floating(x=x, y=y)
    if composed_eagerly(x.device, unfit_dtype(x, y, gate)):
        return _gated_composed(x, y, gate, P)
    return _gated(x, y, gate, P)


def gated_residual_reference(x: Tensor, y: Tensor, gate: Tensor, P: int) -> Tensor:
    """The definition of `gated_residual`."""
    dtype = result_dtype(x, y, gate)
    return (x.to(wide(dtype)) + _each_token(gate, P) * y).to(dtype)


@torch.library.custom_op("foreframe::adaln_modulate", mutates_args=())
def _modulate(x: Tensor, shift: Tensor, scale: Tensor, P: int, eps: float) -> Tensor:
    backend = decide(x.device, _unfit(x, shift, scale)).backend
    if backend == "triton":
        from . import modulate_triton

        return modulate_triton.modulate(x, shift, scale, P, eps)
    if backend == "torch":
        return _modulate_composed(x, shift, scale, P, eps)
    with without_autocast(x.device):
        return adaln_modulate_reference(x, shift, scale, P, eps=eps).contiguous()


def _modulate_composed(x: Tensor, shift: Tensor, scale: Tensor, P: int, eps: float) -> Tensor:
    with without_autocast(x.device):
        normed = F.layer_norm(_frames(x, P), x.shape[-1:], eps=eps)
        return (normed * (1 + scale[:, :, None]) + shift[:, :, None]).flatten(1, 2).contiguous()


@torch.library.custom_op("foreframe::adaln_modulate_backward", mutates_args=())
def _modulate_backward(grad: Tensor, x: Tensor, scale: Tensor, P: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by x, shift and scale; the last two in float32, or float64 where that was given."""
    backend = decide(x.device, _unfit(grad, x, scale)).backend
    if backend == "triton":
        from . import modulate_triton

        return modulate_triton.modulate_backward(grad, x, scale, P, eps)
    with without_autocast(x.device):
        run = _modulate_backward_reference if backend == "reference" else _modulate_backward_torch
        return run(grad, x, scale, P, eps)


def _modulate_backward_reference(grad: Tensor, x: Tensor, scale: Tensor, P: int,
                                 eps: float) -> tuple[Tensor, Tensor, Tensor]:
    dtype = wide(grad.dtype)
    normed, reciprocal = _normed(x.to(dtype), eps)
    by_normed = grad * (1 + _each_token(scale.to(dtype), P))
    along = (by_normed * normed).mean(-1, keepdim=True)
    dx = reciprocal * (by_normed - by_normed.mean(-1, keepdim=True) - normed * along)
    wide_grad = grad.to(dtype)
    return dx.to(x.dtype).contiguous(), _frames(wide_grad, P).sum(2), _frames(wide_grad * normed, P).sum(2)


def _modulate_backward_torch(grad: Tensor, x: Tensor, scale: Tensor, P: int,
                             eps: float) -> tuple[Tensor, Tensor, Tensor]:
    dtype = wide(grad.dtype)
    grad = _frames(grad, P).to(dtype)
    tokens = _frames(x, P).to(dtype)
    normed, mean, reciprocal = torch.native_layer_norm(tokens, x.shape[-1:], None, None, eps)
    dx, _, _ = torch.ops.aten.native_layer_norm_backward(
        grad * (1 + scale[:, :, None]), tokens, x.shape[-1:], mean, reciprocal, None, None, [True, False, False])
    return dx.flatten(1, 2).to(x.dtype).contiguous(), grad.sum(2), normed.mul_(grad).sum(2)


@torch.library.custom_op("foreframe::gated_residual", mutates_args=())
def _gated(x: Tensor, y: Tensor, gate: Tensor, P: int) -> Tensor:
    backend = decide(x.device, unfit_dtype(x, y, gate)).backend
    if backend == "triton":
        from . import modulate_triton

        return modulate_triton.gated(x, y, gate, P)
    if backend == "torch":
        return _gated_composed(x, y, gate, P)
    with without_autocast(x.device):
        return gated_residual_reference(x, y, gate, P).contiguous()


def _gated_composed(x: Tensor, y: Tensor, gate: Tensor, P: int) -> Tensor:
    with without_autocast(x.device):
        return (_frames(x, P) + gate[:, :, None] * _frames(y, P)).flatten(1, 2).contiguous()


@torch.library.custom_op("foreframe::gated_residual_backward", mutates_args=())
def _gated_backward(grad: Tensor, y: Tensor, gate: Tensor, P: int) -> tuple[Tensor, Tensor]:
    """Gradients by y and gate; the last in float32, or float64 where that was given."""
    backend = decide(y.device, unfit_dtype(grad, y, gate)).backend
    if backend == "triton":
        from . import modulate_triton

        return modulate_triton.gated_backward(grad, y, gate, P)
    with without_autocast(y.device):
        grad = _frames(grad, P).to(wide(grad.dtype))
        dy = (grad * gate[:, :, None]).flatten(1, 2)
        return dy.to(y.dtype).contiguous(), (grad * _frames(y, P)).sum(2)


@_modulate.register_fake
def _(x: Tensor, shift: Tensor, scale: Tensor, P: int, eps: float) -> Tensor:
    return x.new_empty(x.shape, dtype=result_dtype(x, shift, scale))


@_modulate_backward.register_fake
def _(grad: Tensor, x: Tensor, scale: Tensor, P: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    by_frame = [scale.new_empty(scale.shape, dtype=wide(grad.dtype)) for _ in range(2)]
    return x.new_empty(x.shape), by_frame[0], by_frame[1]


@_gated.register_fake
def _(x: Tensor, y: Tensor, gate: Tensor, P: int) -> Tensor:
    return x.new_empty(x.shape, dtype=result_dtype(x, y, gate))


@_gated_backward.register_fake
def _(grad: Tensor, y: Tensor, gate: Tensor, P: int) -> tuple[Tensor, Tensor]:
    return y.new_empty(y.shape), gate.new_empty(gate.shape, dtype=wide(grad.dtype))


def _keep_modulate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, shift, scale, ctx.P, ctx.eps = inputs
    ctx.save_for_backward(x, scale)
    ctx.shift_dtype = shift.dtype


def _modulate_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, scale = ctx.saved_tensors
    dx, dshift, dscale = _modulate_backward(grad, x, scale, ctx.P, ctx.eps)
    return dx, dshift.to(ctx.shift_dtype), dscale.to(scale.dtype), None, None


def _keep_gated(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, y, gate, ctx.P = inputs
    ctx.save_for_backward(y, gate)
    ctx.x_dtype = x.dtype


def _gated_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    y, gate = ctx.saved_tensors
    dy, dgate = _gated_backward(grad, y, gate, ctx.P)
    return grad.to(ctx.x_dtype), dy, dgate.to(gate.dtype), None


_modulate.register_autograd(_modulate_gradients, setup_context=_keep_modulate)
_gated.register_autograd(_gated_gradients, setup_context=_keep_gated)


def _normed(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Rows of mean 0 and variance 1, and one over each row's deviation: [..., C] -> [..., C], [..., 1]."""
    centred = x - x.mean(-1, keepdim=True)
    reciprocal = (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
    return centred * reciprocal, reciprocal


def _each_token(by_frame: Tensor, P: int) -> Tensor:
    """[B, T, C] -> [B, T*P, C]."""
    return by_frame.repeat_interleave(P, 1)


def _frames(x: Tensor, P: int) -> Tensor:
    """[B, T*P, C] -> [B, T, P, C]."""
    return x.unflatten(1, (-1, P))


def _unfit(*tensors: Tensor) -> str:
    width = tensors[0].shape[-1]
    return unfit_dtype(*tensors) or (f"{width} channels are more than {WIDEST}" if width > WIDEST else "")


def _check(x: Tensor, P: int, **by_frame: Tensor) -> None:
    """Raise a ValueError unless all fits."""
    if x.dim() != 3:
        raise ValueError(f"x must be [batch, tokens, channels], got {list(x.shape)}")
    if P < 1 or x.shape[1] % P:
        raise ValueError(f"P must divide the {x.shape[1]} tokens of x, got {P}")
    wanted = [x.shape[0], x.shape[1] // P, x.shape[2]]
    for name, value in by_frame.items():
        if list(value.shape) != wanted:
            raise ValueError(f"{name} must be [batch, frames, channels] = {wanted}, got {list(value.shape)}")
    require_floating(x=x, **by_frame)
