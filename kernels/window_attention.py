"""Attention of the frames being drawn to a ring cache of committed frames and to each other.

With W frames in flight, query frame w sees every cached frame and, causally, frames in flight <= w (or all of them:
Rolling Forcing, arXiv:2509.25161, lets a window see itself whole). Rotary time is applied to the query: a rotation of
both sides equals one of the query by the distance (Su et al. 2021, arXiv:2104.09864, eq. 16), so keys are stored
un-rotated, wherever the ring has put them, and are never rotated again. Inference only.
"""

import torch
from torch import Tensor

from .dispatch import decide
from .ring import RingCache, refuse_gradients
from .window_attention_torch import attend, attend_reference

WIDTHS = (16, 32, 64, 128)
"""head widths the triton kernel has tiles for"""


def window_attention(q: Tensor, k: Tensor, v: Tensor, cache: RingCache, *, causal: bool = True,
                     rope_t: tuple[Tensor, Tensor] | None = None, splits: int | str = "auto",
                     scale: float | None = None) -> Tensor:
    """Attention of W frames in flight to the cache and to each other; streams may have any ages.

    Args:
        q: [B, W*P, Hq, D] floating, oldest frame first; Hq is a multiple of the cache's Hkv.
        k, v: [B, W*P, Hkv, D] of the same dtype.
        cache: committed frames, of P tokens each; read, not written.
        causal: whether a frame in flight sees only frames in flight up to itself.
        rope_t: (cos, signed sin), float32 [L, D] of `rotation_tables`, row d for a distance of d frames in time and
            L >= C + W; planes that do not stand for time hold cos 1 and sin 0. Then k, and what is in the cache, must
            be un-rotated in time. A frame in flight is 1 + age frames from the cached one of that age.
        splits: parts in which the cache is read side by side on a GPU, in [1, 32]; "auto" fills the device.
        scale: what scores are multiplied by, D**-0.5 if None.

    Returns:
        [B, W*P, Hq, D] in the dtype of q.

    Raises:
        ValueError: if a shape, dtype or device does not fit the others or the cache, or `splits` is out of range.
        RuntimeError: if an input requires a gradient while gradients are recorded.
    """
    cache.check_tokens(k=k, v=v)
    _check_query(q, k)
    cos, sin = _checked_tables(rope_t, cache.capacity + q.shape[1] // cache.P, q)
    refuse_gradients(q, k, v)
    parts = 0 if splits == "auto" else splits
    if not isinstance(parts, int) or not 0 <= parts <= 32 or splits == 0:
        raise ValueError(f"splits must be 'auto' or in [1, 32], got {splits!r}")
    factor = q.shape[-1] ** -0.5 if scale is None else float(scale)
    run = window_attention_op if torch.compiler.is_compiling() else _attend  # calling an operator takes 30 us
    return run(q, k, v, cache.k, cache.v, cache.k_scale, cache.v_scale, cache.count, cos, sin, cache.sinks, causal,
               factor, parts)


def _attend(q: Tensor, k: Tensor, v: Tensor, cache_k: Tensor, cache_v: Tensor, k_scale: Tensor | None,
            v_scale: Tensor | None, count: Tensor, cos: Tensor | None, sin: Tensor | None, sinks: int, causal: bool,
            scale: float, splits: int) -> Tensor:
    """`window_attention` on plain tensors; `splits` 0 means auto."""
    backend = decide(q.device, _unfit(q, cache_k, cos)).backend
    if backend == "triton":
        from .window_attention_triton import launch

        return launch(q, k, v, cache_k, cache_v, k_scale, v_scale, count, cos, sin, sinks, causal, scale, splits)
    path = attend_reference if backend == "reference" else attend
    return path(q, k, v, cache_k, cache_v, k_scale, v_scale, count, cos, sin, sinks, causal, scale)


window_attention_op = torch.library.custom_op("foreframe::window_attention", _attend, mutates_args=())


@window_attention_op.register_fake
def _(q, k, v, cache_k, cache_v, k_scale, v_scale, count, cos, sin, sinks, causal, scale, splits):
    return q.new_empty(q.shape)


def _unfit(q: Tensor, cache_k: Tensor, cos: Tensor | None) -> str:
    """Why the triton kernel cannot take these; empty if it can."""
    if q.shape[-1] not in WIDTHS:
        return f"the triton kernel has head widths {WIDTHS}, got {q.shape[-1]}"
    if torch.float64 in (q.dtype, cache_k.dtype) or (cos is not None and cos.dtype == torch.float64):
        return "triton kernels do not compute in float64"
    return ""


def _check_query(q: Tensor, k: Tensor) -> None:
    batch, tokens, heads, width = k.shape
    if q.dim() != 4 or q.shape[:2] != k.shape[:2] or q.shape[3] != width or not q.shape[2] or q.shape[2] % heads:
        raise ValueError(f"q must be [{batch}, {tokens}, n*{heads}, {width}] to go with k, got {list(q.shape)}")
    if q.dtype != k.dtype or q.device != k.device:
        raise ValueError(f"q must be {k.dtype} on {k.device} like k, got {q.dtype} on {q.device}")


def _checked_tables(rope_t: tuple[Tensor, Tensor] | None, rows: int, q: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if rope_t is None:
        return None, None
    cos, sin = rope_t
    for name, x in (("cos", cos), ("sin", sin)):
        if x.dim() != 2 or x.shape[0] < rows or x.shape[1] != q.shape[-1] or x.shape != cos.shape:
            raise ValueError(f"{name} of rope_t must be [L, {q.shape[-1]}] with L >= {rows}, got {list(x.shape)}")
        if x.dtype not in (torch.float32, torch.float64) or x.dtype != cos.dtype or x.device != q.device:
            raise ValueError(f"{name} of rope_t must be float32 on {q.device}, got {x.dtype} on {x.device}")
    if q.shape[-1] % 2:
        raise ValueError(f"a rotated head needs an even width, got {q.shape[-1]}")
    return cos, sin
