"""Attention to a ring cache: torch's path against the definition, and what must hold whatever computes it."""

import pytest
import torch
from torch import Tensor

from kernels import apply_rope, rotation_tables
from kernels.ring import RingCache
from kernels.window_attention import window_attention
from kernels.window_attention_torch import attend_reference

P, WIDTH = 5, 8
Tables = tuple[Tensor, Tensor]


def aged(ages: list[int], capacity: int, sinks: int, kv_heads: int = 2, dtype: torch.dtype = torch.float64,
         given: torch.dtype = torch.float64) -> RingCache:
    """A cache whose stream b has committed ages[b] frames."""
    cache = RingCache(len(ages), capacity, P, kv_heads, WIDTH, sinks=sinks, dtype=dtype)
    for step in range(max(ages, default=0)):
        cache.append(*torch.randn(2, len(ages), P, kv_heads, WIDTH).to(given))
        cache.reset(torch.tensor([max(ages) - age == step + 1 for age in ages]))
    assert cache.count.tolist() == ages
    return cache


def flight(batch: int, window: int, heads: int = 2, kv_heads: int = 2,
           dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    q = torch.randn(batch, window * P, heads, WIDTH).to(dtype)
    k, v = torch.randn(2, batch, window * P, kv_heads, WIDTH).to(dtype)
    return q, k, v


def tables(rows: int, dtype: torch.dtype = torch.float64) -> Tables:
    """Two planes turn with time, two do not."""
    angles = torch.arange(rows)[:, None] * torch.tensor([1.0, 0.1, 0.0, 0.0], dtype=torch.float64)
    cos, sin = rotation_tables(angles)
    return cos.to(dtype), sin.to(dtype)


def reference(q: Tensor, k: Tensor, v: Tensor, cache: RingCache, rope: Tables | None = None, causal: bool = True,
              scale: float = WIDTH**-0.5) -> Tensor:
    cos, sin = rope or (None, None)
    return attend_reference(q, k, v, cache.k, cache.v, cache.k_scale, cache.v_scale, cache.count, cos, sin,
                            cache.sinks, causal, scale)


def relative_rms(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted.double()).square().mean().sqrt() / wanted.double().square().mean().sqrt())


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize(("ages", "capacity", "sinks"), [
    ([0, 1, 4, 9], 4, 1), ([3, 3], 5, 2), ([17, 6, 5], 3, 0), ([1, 2, 8], 2, 2), ([3], 0, 0), ([0, 0], 3, 1)])
def test_the_fast_path_is_the_definition(ages: list[int], capacity: int, sinks: int, rotated: bool,
                                         causal: bool) -> None:
    cache = aged(ages, capacity, sinks)
    for window in (1, 3):
        q, k, v = flight(len(ages), window)
        rope = tables(capacity + window) if rotated else None
        got = window_attention(q, k, v, cache, causal=causal, rope_t=rope)
        assert relative_rms(got, reference(q, k, v, cache, rope, causal)) < 1e-14


@pytest.mark.parametrize("heads", [(6, 2), (3, 1), (4, 4)])
def test_query_heads_share_key_heads(heads: tuple[int, int]) -> None:
    cache = aged([2, 7, 7], 3, 1, heads[1])
    q, k, v = flight(3, 2, *heads)
    rope = tables(5)
    assert relative_rms(window_attention(q, k, v, cache, rope_t=rope), reference(q, k, v, cache, rope)) < 1e-14


@pytest.mark.parametrize(("dtype", "worst"), [(torch.float32, 3e-7), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize("stored", [None, torch.int8])
def test_smaller_dtypes_are_as_exact_as_they_can_be(dtype: torch.dtype, worst: float,
                                                    stored: torch.dtype | None) -> None:
    cache = aged([0, 3, 8], 4, 1, dtype=stored or dtype, given=dtype)
    q, k, v = flight(3, 2, dtype=dtype)
    rope = tables(6, torch.float32)
    got = window_attention(q, k, v, cache, rope_t=rope)
    assert got.dtype == dtype
    assert relative_rms(got, reference(q.double(), k.double(), v.double(), cache, rope)) < worst


def test_int8_is_near_what_was_committed() -> None:
    exact = RingCache(2, 4, P, 2, WIDTH)
    rough = RingCache(2, 4, P, 2, WIDTH, dtype=torch.int8)
    for _ in range(6):
        pair = torch.randn(2, 2, P, 2, WIDTH)
        exact.append(*pair)
        rough.append(*pair)
    q, k, v = flight(2, 1, dtype=torch.float32)
    assert relative_rms(window_attention(q, k, v, rough), window_attention(q, k, v, exact)) < 0.02


@pytest.mark.parametrize(("dtype", "worst"), [(torch.float64, 1e-13), (torch.float32, 3e-7)])
def test_turning_queries_by_distance_is_turning_keys_to_their_time(dtype: torch.dtype, worst: float) -> None:
    cache = aged([9], 4, 1, dtype=dtype, given=dtype)
    q, k, v = flight(1, 2, dtype=dtype)
    cos, sin = tables(64, dtype)
    origin = 40  # any will do
    turned = aged([0], 4, 1, dtype=dtype)
    turned.count.copy_(cache.count)
    turned.v.copy_(cache.v)
    at = cache.positions()[0] + origin
    turned.k.copy_(apply_rope(cache.k, cos[at][None, :, None, None], sin[at][None, :, None, None]))
    now = (torch.arange(2) + cache.time() + origin).repeat_interleave(P)
    here = cos[now][None, :, None], sin[now][None, :, None]
    wanted = reference(apply_rope(q, *here), apply_rope(k, *here), v, turned)
    assert relative_rms(reference(q, k, v, cache, (cos, sin)), wanted) < worst
    assert relative_rms(window_attention(q, k, v, cache, rope_t=(cos, sin)), wanted) < worst


@pytest.mark.parametrize("rotated", [True, False])
def test_where_the_ring_has_wrapped_changes_nothing(rotated: bool) -> None:
    recent = torch.randn(2, 4, 1, P, 2, WIDTH)
    results = []
    q, k, v = flight(1, 2, dtype=torch.float32)
    for before in range(6):
        cache = RingCache(1, 4, P, 2, WIDTH)
        for _ in range(4 + before):
            cache.append(*torch.randn(2, 1, P, 2, WIDTH))
        for i in range(4):
            cache.append(*recent[:, i])
        results.append(window_attention(q, k, v, cache, rope_t=tables(6, torch.float32) if rotated else None))
    assert all(other.equal(results[0]) if rotated else relative_rms(other, results[0]) < 1e-6
               for other in results[1:])


def test_frames_in_flight_do_not_see_later_ones() -> None:
    cache = aged([2, 7], 4, 1, dtype=torch.float32)
    q, k, v = flight(2, 3, dtype=torch.float32)
    rope = tables(7, torch.float32)
    first = window_attention(q, k, v, cache, rope_t=rope)
    for x in (q, k, v):
        x[:, 2 * P :] = torch.randn_like(x[:, 2 * P :])
    second = window_attention(q, k, v, cache, rope_t=rope)
    assert first[:, : 2 * P].equal(second[:, : 2 * P]) and not first.equal(second)
    seeing_all = window_attention(q, k, v, cache, rope_t=rope, causal=False)
    assert not seeing_all[:, : 2 * P].allclose(second[:, : 2 * P])


def test_a_frame_committed_is_seen_as_it_was_in_flight() -> None:
    cache = aged([6, 1], 4, 1)
    q, k, v = flight(2, 2)
    rope = tables(6)
    together = window_attention(q, k, v, cache, rope_t=rope)[:, P:]
    roomy = RingCache(2, 9, P, 2, WIDTH, sinks=1, dtype=torch.float64)
    assert roomy.time().tolist() == [0, 0]
    later = cache.clone()
    later.append(k[:, :P], v[:, :P])
    alone = window_attention(q[:, P:], k[:, P:], v[:, P:], later, rope_t=rope)
    assert alone[1].allclose(together[1], atol=1e-12)  # not yet full: nothing was lost
    assert not alone[0].allclose(together[0])


def test_a_scale_can_be_given() -> None:
    cache = aged([3], 4, 0)
    q, k, v = flight(1, 1)
    got = window_attention(q, k, v, cache, scale=0.1)
    assert relative_rms(got, reference(q, k, v, cache, scale=0.1)) < 1e-14


def test_views_of_one_projection_are_taken() -> None:
    cache = aged([3, 6], 4, 0)
    qkv = torch.randn(2, P, 3, 2, WIDTH, dtype=torch.float64)
    q, k, v = qkv.unbind(2)
    assert not q.is_contiguous()
    got = window_attention(q, k, v, cache)
    assert got.is_contiguous()
    assert got.equal(window_attention(q.contiguous(), k.contiguous(), v.contiguous(), cache))


def test_streams_without_the_host_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch path of a GPU, where counts are not read: here by a device that does not say it is a CPU."""
    from kernels import window_attention_torch

    cache = aged([0, 3, 9], 4, 1)
    cache.k[0], cache.v[1, 3] = float("nan"), float("inf")  # of streams long reset
    q, k, v = flight(3, 2)
    monkeypatch.setattr(window_attention_torch, "_on_host", lambda count: False)
    got = window_attention(q, k, v, cache, rope_t=tables(6))
    assert relative_rms(got, reference(q, k, v, cache, tables(6))) < 1e-14


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = aged([3], 4, 0)
    q, k, v = flight(1, 1)
    monkeypatch.setenv("KERNELS", "reference")
    assert window_attention(q, k, v, cache).equal(reference(q, k, v, cache))
    monkeypatch.setenv("KERNELS", "triton")
    with pytest.raises(ValueError, match="head widths"):
        window_attention(q, k, v, cache)


@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_the_operator_is_declared_as_it_is(dtype: torch.dtype, rotated: bool) -> None:
    cache = aged([2, 7], 4, 1, dtype=dtype, given=torch.float32)
    cos, sin = tables(6, torch.float32) if rotated else (None, None)
    torch.library.opcheck(torch.ops.foreframe.window_attention.default, (
        *flight(2, 2, dtype=torch.float32), cache.k, cache.v, cache.k_scale, cache.v_scale, cache.count, cos, sin, 1,
        True, 0.3, 0))


def test_it_compiles_without_a_break() -> None:
    cache = aged([2, 7], 4, 1, dtype=torch.float32)
    rope = tables(6, torch.float32)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = window_attention(q, k, v, cache, rope_t=rope)
        cache.append(k, v)
        return out

    for _ in range(3):
        q, k, v = flight(2, 2, dtype=torch.float32)
        wanted = window_attention(q, k, v, cache.clone(), rope_t=rope)
        assert step(q, k, v).equal(wanted)
    assert cache.count.tolist() == [8, 13]


def test_what_does_not_fit_is_refused() -> None:
    cache = aged([2, 7], 4, 1)
    q, k, v = flight(2, 2)
    cos, sin = tables(6)
    bad = [(q[:1], k, v), (q[:, :P], k, v), (q[..., :4], k, v), (q[:, :, :1], k, v), (q.float(), k, v), (q[0], k, v),
           (q.to("meta"), k, v), (q, k[:1], v), (q, k, v.float()), (q[:, 1:], k[:, 1:], v[:, 1:])]
    for tensors in bad:
        with pytest.raises(ValueError, match=r"must .*got"):
            window_attention(*tensors, cache)
    for other in (RingCache(3, 4, P, 2, WIDTH), RingCache(2, 4, 3, 2, WIDTH), RingCache(2, 4, P, 1, WIDTH),
                  RingCache(2, 4, P, 2, 4), RingCache(2, 4, P, 2, WIDTH, device="meta")):
        with pytest.raises(ValueError, match=r"k must .*got"):
            window_attention(q, k, v, other)
    for rope in ((cos[:5], sin[:5]), (cos, sin[:, :4]), (cos, sin.half()), (cos.to("meta"), sin), (cos[0], sin[0])):
        with pytest.raises(ValueError, match=r"of rope_t must be .*got"):
            window_attention(q, k, v, cache, rope_t=rope)
    for splits in (0, 33, "many", 1.5):
        with pytest.raises(ValueError, match="splits must be"):
            window_attention(q, k, v, cache, splits=splits)


def test_gradients_are_refused_clearly() -> None:
    cache = aged([2], 4, 1)
    q, k, v = flight(1, 1)
    q.requires_grad_()
    with pytest.raises(RuntimeError, match="inference"):
        window_attention(q, k, v, cache)
    with torch.no_grad():
        window_attention(q, k, v, cache)
