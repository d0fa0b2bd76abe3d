"""Block-causal attention over frames: every token sees its own frame and the frames before it, inside a window.

Of a clip of T frames with P tokens each, query frame f sees key frame g iff

    s(f) <= g <= f  and  (f - g < window  or  g - s(f) < sinks),

where s(f) is the frame at which the episode that holds f begins (0 unless told otherwise). With `frame_attention_tf`
a clip is given twice, clean frames 0..T-1 then noisy frames 1..T (teacher forcing in one pass, skip-causal attention
of ACDiT, arXiv:2412.07720): clean frames attend as above; noisy frame f sees the clean frames before it under the same
rule, and itself.

What a frame sees is at most three runs of neighbouring tokens, known by arithmetic. The triton kernels walk those runs
without a mask, with an online softmax (FlashAttention-2, arXiv:2307.08691), backward without atomics. On a CPU torch's
attention takes each frame's gathered window or, where frames are small or windows unequal, everything under a mask.
"""

from typing import Any

import torch
from torch import Tensor

from .dispatch import decide
from .frame_attention_torch import backward_torch, forward_torch, one_call_is_faster
from .frame_mask import frame_mask, teacher_mask


def frame_attention(q: Tensor, k: Tensor, v: Tensor, P: int, *, window: int | None = None, sinks: int = 0,
                    seg_start: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Attention of every frame to itself and the frames before it.

    Args:
        q: [B, T*P, H, D].
        k, v: [B, T*P, Hkv, D]; Hkv divides H, query head h reads head h // (H // Hkv).
        P: tokens per frame.
        window: frames seen, the frame itself included; None for all.
        sinks: first frames of an episode that stay visible beyond the window.
        seg_start: int32 [B, T], the frame at which the episode of each frame begins; None where every clip is one.
        scale: of the products before the softmax; None for 1 / sqrt(D).

    Returns:
        [B, T*P, H, D].

    Raises:
        ValueError: if shapes, dtypes or devices do not go together, naming what was expected and what came.
    """
    q, k, v = _autocast(q, k, v)
    frames = _check(q, k, v, P, window, sinks)
    if seg_start is not None:
        _check_starts(seg_start, q, frames)
    return _run(q, k, v, seg_start, P, _within(window, frames), sinks, False, _scale(q, scale))


def frame_attention_tf(q: Tensor, k: Tensor, v: Tensor, P: int, *, window: int | None = None, sinks: int = 0,
                       scale: float | None = None) -> Tensor:
    """Attention of a clip given twice, clean frames 0..T-1 then noisy frames 1..T, in one pass.

    Args:
        q: [B, 2*T*P, H, D].
        k, v: [B, 2*T*P, Hkv, D].
        P, window, sinks, scale: as in `frame_attention`; a noisy frame counts in its own window.

    Returns:
        [B, 2*T*P, H, D].

    Raises:
        ValueError: as `frame_attention`, and if the number of frames is odd.
    """
    q, k, v = _autocast(q, k, v)
    frames = _check(q, k, v, P, window, sinks)
    if frames % 2:
        raise ValueError(f"expected clean and noisy frames in equal number, got {frames} frames")
    return _run(q, k, v, None, P, _within(window, frames // 2 + 1), sinks, True, _scale(q, scale))


def frame_attention_reference(q: Tensor, k: Tensor, v: Tensor, P: int, *, window: int | None = None, sinks: int = 0,
                              seg_start: Tensor | None = None, scale: float | None = None,
                              teacher: bool = False) -> Tensor:
    """The definition of both: a softmax under a dense mask. Arguments as theirs."""
    frames = q.shape[1] // P
    mask = _mask(frames, _within(window, frames), sinks, seg_start, teacher, q.device)
    return _dense(q, k, v, mask, P, _scale(q, scale))[0]


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors in the dtype of autocast, where it is on."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(x.to(torch.get_autocast_dtype(kind)) for x in tensors)


def _run(q: Tensor, k: Tensor, v: Tensor, *settings: Any) -> Tensor:
    """The operator where gradients or a graph need it; called without it a step is some 30 us cheaper on a CPU."""
    recorded = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    needed = recorded or torch.compiler.is_compiling()
    return (_forward if needed else _compute)(q, k, v, *settings)[0]


def _scale(q: Tensor, scale: float | None) -> float:
    return q.shape[-1] ** -0.5 if scale is None else float(scale)


def _mask(frames: int, window: int, sinks: int, starts: Tensor | None, teacher: bool, device: torch.device) -> Tensor:
    if teacher:
        return teacher_mask(frames // 2, window, sinks, device)[None]
    return frame_mask(frames, window, sinks, device, starts)


def _dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, P: int, scale: float) -> tuple[Tensor, Tensor]:
    """Output [B, N, H, D] and log-sum-exp [B, H, N] of attention under a mask of frames bool [B or 1, F, F]."""
    group, exact = q.shape[2] // k.shape[2], torch.promote_types(q.dtype, torch.float32)
    query, key, value = (x.to(exact).transpose(1, 2) for x in (
        q, k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)))
    allowed = mask.repeat_interleave(P, 1).repeat_interleave(P, 2)[:, None]
    scores = (scale * query @ key.transpose(-1, -2)).masked_fill(~allowed, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous().to(q.dtype), scores.logsumexp(-1)


def _dense_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, P: int,
                    scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `_dense` by the textbook formulas."""
    heads, group = k.shape[2], q.shape[2] // k.shape[2]
    exact = torch.promote_types(q.dtype, torch.float32)
    query, key, value, given = (x.to(exact).transpose(1, 2) for x in (
        q, k.repeat_interleave(group, 2), v.repeat_interleave(group, 2), grad))
    allowed = mask.repeat_interleave(P, 1).repeat_interleave(P, 2)[:, None]
    weight = (scale * query @ key.transpose(-1, -2)).masked_fill(~allowed, float("-inf")).softmax(-1)
    above = given @ value.transpose(-1, -2)
    score = scale * weight * (above - (above * weight).sum(-1, keepdim=True))
    parts = score.transpose(-1, -2) @ query, weight.transpose(-1, -2) @ given
    dk, dv = (x.unflatten(1, (heads, group)).sum(2) for x in parts)
    dq, dk, dv = (x.transpose(1, 2).contiguous().to(q.dtype) for x in (score @ key, dk, dv))
    return dq, dk, dv


def _unfit(q: Tensor) -> str:
    """Why the triton kernels cannot take these tensors."""
    if q.shape[-1] not in (16, 32, 64, 128):
        return f"triton tiles are for heads 16, 32, 64 or 128 wide, these are {q.shape[-1]}"
    return f"triton kernels take no {q.dtype}" if q.dtype == torch.float64 else ""


def _compute(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, P: int, window: int, sinks: int, teacher: bool,
             scale: float) -> tuple[Tensor, Tensor]:
    """Output [B, N, H, D] and log-sum-exp [B, H, N], natural, of the scaled products."""
    backend = decide(q.device, _unfit(q)).backend
    if backend == "triton":
        from .frame_attention_launch import forward_triton

        return forward_triton(q, k, v, starts, P, window, sinks, teacher, scale)
    frames = q.shape[1] // P
    if backend == "torch" and q.device.type == "cpu":
        one = _in_one(frames, P, window, sinks, starts)
        whole = _mask(frames, window, sinks, starts, teacher, q.device) if one else None
        return forward_torch(q, k, v, whole, P, window, teacher, scale)
    return _dense(q, k, v, _mask(frames, window, sinks, starts, teacher, q.device), P, scale)


def _in_one(frames: int, P: int, window: int, sinks: int, starts: Tensor | None) -> bool:
    """Whether a CPU makes one call under a mask: windows are unequal, or gathering them does not pay."""
    return bool(sinks) or starts is not None or one_call_is_faster(frames, P, window)


_forward = torch.library.custom_op("foreframe::frame_attention", _compute, mutates_args=())


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, P: int, window: int, sinks: int, teacher: bool,
      scale: float) -> tuple[Tensor, Tensor]:
    exact = torch.promote_types(q.dtype, torch.float32)
    return q.new_empty(q.shape), q.new_empty((q.shape[0], q.shape[2], q.shape[1]), dtype=exact)


@torch.library.custom_op("foreframe::frame_attention_backward", mutates_args=())
def _backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, starts: Tensor | None, P: int,
              window: int, sinks: int, teacher: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    backend = decide(q.device, _unfit(q)).backend
    if backend == "triton":
        from .frame_attention_launch import backward_triton

        return backward_triton(grad, q, k, v, out, lse, starts, P, window, sinks, teacher, scale)
    frames = q.shape[1] // P
    if backend == "torch" and q.device.type == "cpu":
        one = _in_one(frames, P, window, sinks, starts)
        whole = _mask(frames, window, sinks, starts, teacher, q.device) if one else None
        return backward_torch(grad, q, k, v, out, lse, whole, P, window, teacher, scale)
    return _dense_backward(grad, q, k, v, _mask(frames, window, sinks, starts, teacher, q.device), P, scale)


@_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, starts: Tensor | None, P: int,
      window: int, sinks: int, teacher: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, starts, *settings = inputs
    ctx.save_for_backward(q, k, v, *output, starts)
    ctx.settings = settings
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    nothing = (None,) * 6
    if grad is None:
        return None, None, None, *nothing
    q, k, v, out, lse, starts = ctx.saved_tensors
    return *_backward(grad, q, k, v, out, lse, starts, *ctx.settings), *nothing


_forward.register_autograd(_differentiate, setup_context=_remember)


def _within(window: int | None, frames: int) -> int:
    return frames if window is None else min(window, frames)


def _check(q: Tensor, k: Tensor, v: Tensor, P: int, window: int | None, sinks: int) -> int:
    """The number of frames."""
    if q.dim() != 4 or k.shape != v.shape or k.dim() != 4 or (q.shape[0], q.shape[1], q.shape[3]) != (
            k.shape[0], k.shape[1], k.shape[3]):
        raise ValueError("expected q [B, N, H, D] and k, v [B, N, Hkv, D] with equal B, N and D, "
                         f"got {list(q.shape)}, {list(k.shape)}, {list(v.shape)}")
    if not k.shape[2] or q.shape[2] % k.shape[2]:
        raise ValueError(f"expected heads of k and v to divide those of q, got {k.shape[2]} and {q.shape[2]}")
    if len({x.dtype for x in (q, k, v)}) > 1 or not q.is_floating_point():
        raise ValueError(f"expected one floating dtype, got {q.dtype}, {k.dtype}, {v.dtype}")
    if len({x.device for x in (q, k, v)}) > 1:
        raise ValueError(f"expected one device, got {q.device}, {k.device}, {v.device}")
    if P < 1 or q.shape[1] % P:
        raise ValueError(f"expected whole frames of P >= 1 tokens, got {q.shape[1]} tokens and P = {P}")
    if (window is not None and window < 1) or sinks < 0:
        raise ValueError(f"expected window >= 1 and sinks >= 0, got {window} and {sinks}")
    return q.shape[1] // P


def _check_starts(starts: Tensor, q: Tensor, frames: int) -> None:
    if starts.shape != (q.shape[0], frames) or starts.dtype != torch.int32 or starts.device != q.device:
        raise ValueError(f"expected seg_start int32 [{q.shape[0]}, {frames}] on {q.device}, "
                         f"got {starts.dtype} {list(starts.shape)} on {starts.device}")
    if starts.device.type == "cpu":
        at = torch.arange(frames)
        if bool((starts > at).any() or (starts < 0).any() or (starts.diff(dim=1) < 0).any()
                or (starts.gather(1, starts.long()) != starts).any()):
            raise ValueError(f"expected seg_start to be the first frame of each frame's episode, got {starts.tolist()}")
