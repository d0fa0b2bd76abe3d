"""The kernel that norms, rotates and appends, against a float64 reference and the two kernels it replaces."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import triton
import triton.language as tl
from guarded import GUARD, guarded, relative_rms, unharmed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import qk_norm_append_triton
from kernels.qk_norm import qk_norm_rope
from kernels.qk_norm_append import qk_norm_rope_append, qk_norm_rope_append_reference
from kernels.qk_norm_append_triton import place_of
from kernels.ring import RingCache, quantised
from kernels.rope import rotation_tables

LIMITS = {torch.float32: 1e-6, torch.float16: 1e-3}
UNTOUCHED = -128
"""what int8 memory is full of: no value that quantising gives"""


@pytest.fixture(autouse=True)
def _triton_runs_and_writes_where_it_should(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the launcher allocates is full of NaN, so that what is not written shows, and lies inside of guards."""
    buffers = []

    def empty(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        inside, buffer = guarded(torch.full(shape, float("nan"), dtype=dtype))
        buffers.append(buffer)
        return inside

    monkeypatch.setenv("KERNELS", "triton")
    monkeypatch.setattr(qk_norm_append_triton, "torch", SimpleNamespace(**vars(torch) | {"empty": empty}))
    yield
    assert all(unharmed(buffer) for buffer in buffers)


def projection(batch: int, tokens: int, rows: int, heads: tuple[int, int], width: int,
               dtype: torch.dtype) -> list[Tensor]:
    """Projection, gains, rotation tables."""
    of = torch.Generator().manual_seed(batch + tokens + width)
    qkv = torch.randn(batch, tokens, (heads[0] + 2 * heads[1]) * width, generator=of)
    gains = [0.5 + torch.rand(width, generator=of) for _ in range(2)]
    return [*(x.to(dtype) for x in (qkv, *gains)), *rotation_tables(torch.randn(rows, width // 2, generator=of))]


def cache_of(ages: tuple[int, ...], capacity: int, P: int, kv_heads: int, width: int, sinks: int,
             dtype: torch.dtype) -> tuple[RingCache, list[Tensor]]:
    """A cache full of NaN, or UNTOUCHED, inside of buffers of the same."""
    cache, buffers = RingCache(len(ages), capacity, P, kv_heads, width, sinks=sinks, dtype=dtype), []
    cache.count.copy_(torch.tensor(ages))
    for name in ("k", "v", "k_scale", "v_scale"):
        x = getattr(cache, name)
        if x is not None:
            nothing = float("nan") if x.is_floating_point() else UNTOUCHED
            buffers.append(torch.full((x.numel() + 2 * GUARD,), nothing, dtype=x.dtype))
            setattr(cache, name, buffers[-1][GUARD:-GUARD].view(x.shape))
    return cache, buffers


def outside(buffer: Tensor) -> bool:
    """Whether the guards of a cache's buffer are as they were."""
    return unharmed(buffer if buffer.is_floating_point() else buffer.where(buffer != UNTOUCHED, float("nan")))


def untouched(x: Tensor) -> Tensor:
    return x.isnan() if x.is_floating_point() else x == UNTOUCHED


def reference(inputs: list[Tensor], heads: int, wanted: RingCache) -> Tensor:
    """Queries in float64, and a cache that was empty of numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERNELS", "reference")
        return qk_norm_rope_append_reference(*(x.double() for x in inputs), wanted, heads=heads)


def agree(ages: tuple[int, ...], n: int, P: int, heads: tuple[int, int], width: int, ring: tuple[int, int],
          dtype: torch.dtype, kept: torch.dtype, limit: float, rows: int | None = None) -> None:
    """Queries, what is stored, where nothing is stored and what lies around it are right."""
    capacity, sinks = ring
    inputs = projection(len(ages), n * P, rows or P, heads, width, dtype)
    cache, buffers = cache_of(ages, capacity, P, heads[1], width, sinks, kept)
    wanted, _ = cache_of(ages, capacity, P, heads[1], width, sinks, torch.float64)
    places = [guarded(x) for x in inputs]
    q = qk_norm_rope_append(*(inside for inside, _ in places), cache, heads=heads[0])
    assert relative_rms(q, reference(inputs, heads[0], wanted)) < limit
    assert q.dtype == dtype and cache.count.tolist() == [age + n for age in ages] == wanted.count.tolist()
    for got, scale, right in ((cache.k, cache.k_scale, wanted.k), (cache.v, cache.v_scale, wanted.v)):
        nothing = right.isnan()
        assert torch.equal(untouched(got), nothing)
        if scale is None:
            assert not right.numel() or relative_rms(got[~nothing], right[~nothing]) < limit
            continue
        assert torch.equal(untouched(scale), nothing[..., 0])
        rounded, step = quantised(right.nan_to_num())
        assert ((got.int() - rounded.int()).abs() <= 1)[~nothing].all()
        assert not right.numel() or relative_rms(scale.nan_to_num() / step.clamp(min=1e-9), (step > 0)) < limit
    assert all(unharmed(buffer) for _, buffer in places) and all(outside(buffer) for buffer in buffers)


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(("P", "heads", "width", "n", "ring"), [
    (5, (2, 1), 16, 1, (4, 1)), (5, (3, 3), 32, 3, (4, 1)), (24, (6, 2), 64, 2, (3, 0)), (1, (1, 1), 256, 7, (4, 2)),
    (3, (4, 1), 128, 4, (2, 2)), (5, (2, 2), 16, 2, (0, 0))])
def test_frames_are_made_ready_and_put_into_slots(P: int, heads: tuple[int, int], width: int, n: int,
                                                  ring: tuple[int, int], int8: bool, dtype: torch.dtype) -> None:
    agree((0, 1, 12), n, P, heads, width, ring, dtype, torch.int8 if int8 else dtype, LIMITS[dtype])


@settings(max_examples=10, deadline=None, derandomize=True)
@given(ages=st.lists(st.integers(0, 9), min_size=1, max_size=3), n=st.integers(1, 6), P=st.integers(1, 20),
       groups=st.integers(1, 3), kv_heads=st.integers(1, 3), width=st.sampled_from([16, 32, 64]),
       ring=st.integers(0, 3), sinks=st.integers(0, 2), whole=st.booleans(), int8=st.booleans())
def test_any_sizes(ages: list[int], n: int, P: int, groups: int, kv_heads: int, width: int, ring: int, sinks: int,
                   whole: bool, int8: bool) -> None:
    agree(tuple(ages), n, P, (groups * kv_heads, kv_heads), width, (ring + sinks, sinks), torch.float32,
          torch.int8 if int8 else torch.float32, 1e-6, rows=n * P if whole else P)


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("kept", [torch.float32, torch.float16, torch.int8], ids=str)
def test_bits_do_not_depend_on_what_is_fused(dtype: torch.dtype, kept: torch.dtype) -> None:
    one, other = (cache_of((0, 2, 9), 4, 5, 2, 32, 1, kept)[0] for _ in range(2))
    for step in range(3):
        inputs = projection(3, (1, 6, 2)[step] * 5, 5, (4, 2), 32, dtype)
        q, k, v = qk_norm_rope(*inputs, heads=4, kv_heads=2)
        other.append(k, v)
        assert torch.equal(qk_norm_rope_append(*inputs, one, heads=4), q)
        for a, b in ((one.k, other.k), (one.v, other.v), (one.k_scale, other.k_scale), (one.v_scale, other.v_scale)):
            assert a is b or torch.equal(a.nan_to_num(77), b.nan_to_num(77))
        assert one.count.equal(other.count)
        for cache in (one, other):
            cache.reset(torch.tensor([False, step == 1, False]))


@triton.jit
def places_kernel(count, places, N, P, capacity, sinks, ROWS: tl.constexpr):
    token = tl.arange(0, ROWS)
    place, outlives = place_of(tl.zeros([ROWS], tl.int64), token, count, N, P, capacity, sinks)
    tl.store(places + token, tl.where(outlives, place, -1), mask=token < N)


@pytest.mark.parametrize("age", [0, 1, 2, 3, 13])
@pytest.mark.parametrize(("n", "capacity", "sinks"), [(3, 4, 1), (9, 4, 1), (9, 4, 0), (9, 3, 3), (4, 1, 0)])
def test_no_place_is_written_twice(n: int, capacity: int, sinks: int, age: int) -> None:
    """Here the last one would win, on a GPU any."""
    places = torch.full((n * 2,), -2)
    places_kernel[(1,)](torch.tensor([age], dtype=torch.int32), places, n * 2, 2, capacity, sinks, ROWS=32)
    kept = {t: t if t < sinks else sinks + (t - sinks) % (capacity - sinks) for t in range(age, age + n)
            if t < sinks or t >= age + n - (capacity - sinks)}
    wanted = [kept[age + i] * 2 + half if age + i in kept else -1 for i in range(n) for half in (0, 1)]
    assert places.tolist() == wanted and len(set(kept.values())) == len(kept)


def test_bfloat16_comes_and_goes() -> None:
    agree((0, 7), 2, 5, (2, 1), 16, (3, 1), torch.bfloat16, torch.bfloat16, 8e-3)
    agree((0, 7), 2, 5, (2, 1), 16, (3, 1), torch.bfloat16, torch.int8, 8e-3)
    agree((0, 7), 2, 5, (2, 1), 16, (3, 1), torch.float32, torch.bfloat16, 8e-3)


@pytest.mark.parametrize("kept", [torch.float32, torch.int8], ids=str)
def test_zeros_stay_zeros(kept: torch.dtype) -> None:
    cache, _ = cache_of((0,), 2, 4, 1, 16, 0, kept)
    qkv, *others = projection(1, 4, 4, (1, 1), 16, torch.float32)
    qk_norm_rope_append(torch.zeros_like(qkv), *others, cache, heads=1)
    assert not cache.k[:, 0].any() and not cache.v[:, 0].any() and untouched(cache.k[:, 1]).all()
    assert cache.k_scale is None or not cache.k_scale[:, 0].any()


@pytest.mark.parametrize("kept", [torch.float32, torch.int8], ids=str)
def test_the_operator_is_declared_as_it_is(kept: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qk_norm_append_triton, "torch", torch)  # guards would be seen: as an offset into a storage
    cache = RingCache(2, 3, 4, 1, 16, sinks=1, dtype=kept)
    inputs = projection(2, 8, 4, (2, 1), 16, torch.float32)
    torch.library.opcheck(torch.ops.foreframe.qk_norm_rope_append.default, (
        *inputs, cache.k, cache.v, cache.k_scale, cache.v_scale, cache.count, 2, cache.sinks, 1e-6))


def test_slices_are_read_in_place() -> None:
    inputs = projection(2, 10, 5, (2, 1), 16, torch.float32)
    one, other = (cache_of((0, 5), 3, 5, 1, 16, 1, torch.float32)[0] for _ in range(2))
    longer = torch.cat([inputs[0], inputs[0]], -1)[..., : inputs[0].shape[-1]]
    backwards = inputs[0].transpose(1, 2).contiguous().transpose(1, 2)
    q = qk_norm_rope_append(*inputs, one, heads=2)
    for view in (longer, backwards):
        cache = other.clone()
        assert torch.equal(qk_norm_rope_append(view, *inputs[1:], cache, heads=2), q)
        assert torch.equal(cache.k.nan_to_num(77), one.k.nan_to_num(77))


def test_a_width_without_a_tile_is_refused_when_triton_is_demanded() -> None:
    cache, _ = cache_of((0,), 2, 4, 1, 24, 0, torch.float32)
    inputs = projection(1, 4, 4, (1, 1), 24, torch.float32)
    with pytest.raises(ValueError, match="head width 24"):
        qk_norm_rope_append(*inputs, cache, heads=1)
    assert not cache.count.any() and untouched(cache.k).all()
    os.environ.pop("KERNELS")
    qk_norm_rope_append(*inputs, cache, heads=1)
    assert cache.count.tolist() == [1] and not untouched(cache.k[:, 0]).any()
