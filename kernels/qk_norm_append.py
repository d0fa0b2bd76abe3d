"""What `qk_norm_rope` computes with keys and values put where a ring cache keeps them: one pass over the projection.

A frame that is committed is attended to from its own slot of the ring, so its keys and values need not exist anywhere
else. Written as `qk_norm_rope` and then `RingCache.append` they are stored, read and stored again; here they go to
their slots, as int8 where that is what the cache holds, while the queries are made ready. Inference only.
"""

import torch
from torch import Tensor

from .dispatch import decide
from .qk_norm import check_projection, qk_norm_rope, qk_norm_rope_reference, unfit_projection
from .ring import RingCache, append_frames, refuse_gradients


def qk_norm_rope_append(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, cache: RingCache, *, heads: int,
                        eps: float = 1e-6) -> Tensor:
    """Commit the keys and values of n frames to a cache and return their queries, ready for attention to it.

    The same as `qk_norm_rope` and `cache.append` of what that returns: streams may have any ages, of frames that do not
    all fit the last ones remain, and every stream is n frames older afterwards.

    Args:
        qkv: [B, n*P, (Hq + 2*Hkv) * D], heads of queries, then of keys, then of values; any floating dtype. n is at
            least 1; B, P, Hkv and D are those of the cache.
        gq, gk: [D] what normed queries and keys are multiplied by.
        cos, sin: [R, D] of `kernels.rotation_tables`; token i is rotated by row i % R, R divides n*P.
        cache: written; of any dtype.
        heads: Hq, a multiple of Hkv.
        eps: added to the mean square.

    Returns:
        q [B, n*P, Hq, D], contiguous, of the dtype of `qkv`.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit each other or the cache, which then is as it was.
        RuntimeError: if an input requires a gradient while gradients are recorded.
    """
    check_projection(qkv, gq, gk, cos, sin, heads, cache.kv_heads)
    _check_cache(qkv, gq, cache)
    refuse_gradients(qkv, gq, gk)
    run = qk_norm_rope_append_op if torch.compiler.is_compiling() else _run  # calling an operator takes 30 us
    return run(qkv, gq, gk, cos, sin, cache.k, cache.v, cache.k_scale, cache.v_scale, cache.count, heads, cache.sinks,
               eps)


def qk_norm_rope_append_reference(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, cache: RingCache, *,
                                  heads: int, eps: float = 1e-6) -> Tensor:
    """The definition of `qk_norm_rope_append`."""
    q, k, v = qk_norm_rope_reference(qkv, gq, gk, cos, sin, heads=heads, kv_heads=cache.kv_heads, eps=eps)
    cache.append(k, v)
    return q


def _run(qkv: Tensor, gq: Tensor, gk: Tensor, cos: Tensor, sin: Tensor, cache_k: Tensor, cache_v: Tensor,
         k_scale: Tensor | None, v_scale: Tensor | None, count: Tensor, heads: int, sinks: int, eps: float) -> Tensor:
    """`qk_norm_rope_append` on plain tensors, checked; those of the cache as in `kernels.ring.ring_append`."""
    unfit = unfit_projection(qkv, gq, gk, cos, sin)
    if cache_k.dtype == torch.float64:
        unfit = "no triton kernel computes in torch.float64"
    if decide(qkv.device, unfit).backend == "triton":
        from .qk_norm_append_triton import qk_norm_rope_append

        q = qk_norm_rope_append(qkv, gq, gk, cos, sin, cache_k, cache_v, k_scale, v_scale, count, heads, sinks, eps)
        count += qkv.shape[1] // cache_k.shape[2]
        return q
    q, k, v = qk_norm_rope(qkv, gq, gk, cos, sin, heads=heads, kv_heads=cache_k.shape[3], eps=eps)
    append_frames(k, v, cache_k, cache_v, k_scale, v_scale, count, sinks)
    return q.contiguous()


qk_norm_rope_append_op = torch.library.custom_op(
    "foreframe::qk_norm_rope_append", _run, mutates_args=("cache_k", "cache_v", "k_scale", "v_scale", "count"))


@qk_norm_rope_append_op.register_fake
def _(qkv, gq, gk, cos, sin, cache_k, cache_v, k_scale, v_scale, count, heads, sinks, eps):
    return qkv.new_empty(*qkv.shape[:2], heads, gq.shape[0])


def _check_cache(qkv: Tensor, gq: Tensor, cache: RingCache) -> None:
    """Whether a projection that is right in itself is one of this cache."""
    if qkv.shape[0] != cache.batch or not qkv.shape[1] or qkv.shape[1] % cache.P:
        raise ValueError(f"qkv must be [{cache.batch}, n*{cache.P}, ...] to go with the cache, got {list(qkv.shape)}")
    if gq.shape[0] != cache.width:
        raise ValueError(f"heads must be {cache.width} wide like those of the cache, got {gq.shape[0]}")
    if qkv.device != cache.count.device:
        raise ValueError(f"qkv must be on {cache.count.device} like the cache, got {qkv.device}")
