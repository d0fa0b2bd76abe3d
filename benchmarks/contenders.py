"""Ways to compute the attention of a `Case`: ours, and what torch offers for the same mask."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import (
    RingCache,
    apply_rope,
    axial_angles,
    frame_attention,
    frame_attention_tf,
    rotation_tables,
    window_attention,
)

from .attention_cases import Case


class Absent(Exception):
    """This way does not exist here; says why."""


@dataclass
class Inputs:
    """Tensors of a case, [B, N, H, D] each; what the cache holds is also in `past_k` and `past_v`."""

    case: Case
    q: Tensor
    k: Tensor
    v: Tensor
    past_k: Tensor
    past_v: Tensor
    cache: RingCache | None

    @staticmethod
    def of(case: Case, device: torch.device, dtype: torch.dtype) -> "Inputs":
        """Random ones; a ring cache that has wrapped."""
        generator = torch.Generator(device).manual_seed(0)

        def draw(frames: int) -> Tensor:
            shape = case.batch, frames * case.P, case.heads, case.width
            return torch.randn(shape, generator=generator, device=device).to(dtype)

        q, k, v = (draw(case.rows) for _ in range(3))
        past_k, past_v = draw(case.cached), draw(case.cached)
        cache = None
        if case.kind == "window":
            kept = torch.int8 if case.int8 else dtype
            cache = RingCache(case.batch, case.cached, case.P, case.heads, case.width, dtype=kept, device=device)
            for f in [*range(3), *range(case.cached)]:  # three more first: the ring has turned
                frame = slice(f * case.P, (f + 1) * case.P)
                cache.append(past_k[:, frame], past_v[:, frame])
        for x in (q, k, v):
            x.requires_grad_(case.backward)
        return Inputs(case, q, k, v, past_k, past_v, cache)

    @property
    def keys(self) -> Tensor:
        """Cached, then fresh."""
        return torch.cat([self.past_k, self.k], 1)

    @property
    def values(self) -> Tensor:
        """Cached, then fresh."""
        return torch.cat([self.past_v, self.v], 1)

    def mask(self) -> Tensor:
        """Dense, bool [N, M]."""
        seen = self.case.visible().to(self.q.device)
        return seen.repeat_interleave(self.case.P, 0).repeat_interleave(self.case.P, 1)


def ours(given: Inputs) -> Callable[[], Tensor]:
    """The functions of kernels/, by whatever backend the dispatcher chooses."""
    case, q, k, v = given.case, given.q, given.k, given.v
    if case.kind == "train":
        return lambda: frame_attention(q, k, v, case.P, window=case.window, sinks=case.sinks)
    if case.kind == "teacher":
        return lambda: frame_attention_tf(q, k, v, case.P, window=case.window, sinks=case.sinks)
    tables = None
    if case.rope:
        distance = torch.arange(case.cached + case.frames + 1, device=q.device)[:, None]
        tables = rotation_tables(axial_angles(distance, [case.width // 2]) * 0)  # all the work, and the same answer
    cache = given.cache
    assert cache is not None
    return lambda: window_attention(q, k, v, cache, rope_t=tables)


def sdpa_masked(given: Inputs) -> Callable[[], Tensor]:
    """Torch's attention under a dense mask."""
    mask = given.mask()
    return lambda: _sdpa(given, mask)


def sdpa_unmasked(given: Inputs) -> Callable[[], Tensor]:
    """Torch's attention to everything: another answer, unless all is visible; what the fastest kernel takes for it."""
    return lambda: _sdpa(given, None)


def flex_cached(given: Inputs) -> Callable[[], Tensor]:
    """FlexAttention, compiled, its block mask made once."""
    attend, make = _flex(given)
    blocks = make()
    return lambda: attend(blocks)


def flex_rebuilt(given: Inputs) -> Callable[[], Tensor]:
    """FlexAttention, compiled, its block mask made for every call."""
    attend, make = _flex(given)
    return lambda: attend(make())


def varlen_paged(given: Inputs) -> Callable[[], Tensor]:
    """torch.nn.attention.varlen with a block table, a frame a page: for one frame in flight."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        raise Absent(str(error)) from error
    case, q = given.case, given.q
    if "block_table" not in inspect.signature(varlen_attn).parameters:
        raise Absent(f"varlen_attn of torch {torch.__version__} takes no block_table")
    if case.kind != "window" or case.frames > 1 or q.device.type != "cuda":
        raise Absent("one frame in flight on a GPU only")
    keys, values = (x.unflatten(1, (-1, case.P)).flatten(0, 1).contiguous() for x in (given.keys, given.values))
    count = case.cached + 1
    table = torch.arange(case.batch * count, device=q.device, dtype=torch.int32).view(case.batch, count)
    ends_q, ends_k = (torch.arange(case.batch + 1, device=q.device, dtype=torch.int32) * n * case.P for n in (1, count))
    used = torch.full((case.batch,), count * case.P, device=q.device, dtype=torch.int32)

    def attend() -> Tensor:
        out = varlen_attn(q.flatten(0, 1), keys, values, ends_q, ends_k, case.P, count * case.P, block_table=table,
                          seqused_k=used)
        return cast(Tensor, out).view(q.shape)

    return attend


def rerope(given: Inputs) -> Callable[[], Tensor]:
    """Positions relative to the window as others have them: all keys rotated in every step, then torch's attention."""
    case = given.case
    if not case.rope:
        raise Absent("for rows with rotation in time")
    times = torch.arange(case.cached + case.frames, device=given.q.device).repeat_interleave(case.P)[:, None]
    cos, sin = rotation_tables(axial_angles(times, [case.width // 2]) * 0)
    tables = [x[None, :, None] for x in (cos, sin)]
    last = [x[:, -given.q.shape[1] :] for x in tables]
    mask = given.mask() if case.frames > 1 else None

    def attend() -> Tensor:
        query, key = apply_rope(given.q, *last), apply_rope(given.keys, *tables)
        query, key, value = (x.transpose(1, 2) for x in (query, key, given.values))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)

    return attend


CONTENDERS = {"ours": ours, "sdpa+mask": sdpa_masked, "sdpa, all": sdpa_unmasked, "flex": flex_cached,
              "flex rebuilt": flex_rebuilt, "varlen paged": varlen_paged, "re-rope": rerope}


def _sdpa(given: Inputs, mask: Tensor | None) -> Tensor:
    query, key, value = (x.transpose(1, 2) for x in (given.q, given.keys, given.values))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


def _flex(given: Inputs) -> tuple[Callable[..., Tensor], Callable[[], Any]]:
    if given.q.device.type != "cuda":
        raise Absent("30 s to compile on a CPU, and no backward there")
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    seen, P = given.case.visible().to(given.q.device), given.case.P
    compiled = torch.compile(flex_attention)

    def attend(blocks: Any) -> Tensor:
        query, key, value = (x.transpose(1, 2).contiguous() for x in (given.q, given.keys, given.values))
        return compiled(query, key, value, block_mask=blocks).transpose(1, 2)

    def make() -> Any:
        return create_block_mask(lambda b, h, n, m: seen[n // P, m // P], None, None, seen.shape[0] * P,
                                 seen.shape[1] * P, device=given.q.device)

    return attend, make
