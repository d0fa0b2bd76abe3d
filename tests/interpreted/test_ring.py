"""The kernel that writes frames into a ring cache, against torch's path."""

import os

import pytest
import torch
from guarded import guarded, unharmed
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ring import RingCache
from kernels.ring_triton import write

NAN = float("nan")


def pair_of_caches(batch: int, capacity: int, tokens: int, heads: int, width: int, sinks: int,
                   dtype: torch.dtype) -> list[RingCache]:
    caches = [RingCache(batch, capacity, tokens, heads, width, sinks=sinks, dtype=dtype) for _ in range(2)]
    for cache in caches:
        if cache.k_scale is None or cache.v_scale is None:
            cache.k.fill_(NAN), cache.v.fill_(NAN)
        else:
            cache.k_scale.fill_(NAN), cache.v_scale.fill_(NAN)
    return caches


def same(one: RingCache, other: RingCache) -> bool:
    pairs = ((one.k, other.k), (one.v, other.v), (one.k_scale, other.k_scale), (one.v_scale, other.v_scale))
    return one.count.equal(other.count) and all(
        a is None or (b is not None and torch.equal(a.nan_to_num(77), b.nan_to_num(77))) for a, b in pairs)


def appended(caches: list[RingCache], k: torch.Tensor, v: torch.Tensor) -> bool:
    """Append to one by the kernel and to the other by torch: whether they are the same, unwritten places included."""
    try:
        os.environ["KERNELS"] = "triton"
        caches[0].append(k, v)
        del os.environ["KERNELS"]
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("TRITON_INTERPRET")
            caches[1].append(k, v)
    finally:
        os.environ.pop("KERNELS", None)
    return same(*caches)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int8])
@pytest.mark.parametrize(("capacity", "sinks"), [(4, 1), (3, 0), (2, 2), (0, 0)])
@pytest.mark.parametrize("n", [1, 6])
def test_the_kernel_writes_what_torch_writes(capacity: int, sinks: int, n: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    caches = pair_of_caches(3, capacity, 5, 2, 16, sinks, dtype)
    given_dtype = torch.float32 if dtype == torch.int8 else dtype
    for step in range(4):
        qkv = torch.randn(3, n * 5, 3, 2, 16).to(given_dtype)
        assert appended(caches, qkv[:, :, 1], qkv[:, :, 2])
        for cache in caches:
            cache.reset(torch.tensor([False, step == 1, step == 2]))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(batch=st.integers(1, 3), capacity=st.integers(0, 5), sinks=st.integers(0, 3), tokens=st.integers(1, 21),
       heads=st.integers(1, 3), width=st.sampled_from([1, 12, 16, 64]), n=st.integers(1, 7),
       dtype=st.sampled_from([torch.float32, torch.int8]), start=st.integers(0, 9))
def test_any_sizes(batch: int, capacity: int, sinks: int, tokens: int, heads: int, width: int, n: int,
                   dtype: torch.dtype, start: int) -> None:
    torch.manual_seed(start)
    caches = pair_of_caches(batch, capacity, tokens, heads, width, min(sinks, capacity), dtype)
    ages = torch.arange(batch, dtype=torch.int32) * 3 + start
    for cache in caches:
        cache.count.copy_(ages)
    assert appended(caches, *torch.randn(2, batch, n * tokens, heads, width))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_nothing_outside_is_read_or_written(dtype: torch.dtype) -> None:
    k, v = (guarded(torch.randn(2, 3 * 5, 3, 24))[0] for _ in range(2))
    cache = RingCache(2, 4, 5, 3, 24, sinks=1, dtype=dtype)
    cache.count.copy_(torch.tensor([0, 9]))
    scales = [guarded(torch.zeros(2, 4, 5, 3)) for _ in range(2)]
    if dtype == torch.int8:
        write(k, v, cache.k, cache.v, scales[0][0], scales[1][0], cache.count, 1)
        assert all(unharmed(buffer) for _, buffer in scales)
        assert not any(inside.isnan().any() for inside, _ in scales)
    else:
        memories = [guarded(x) for x in (cache.k, cache.v)]
        write(k, v, memories[0][0], memories[1][0], None, None, cache.count, 1)
        assert all(unharmed(buffer) for _, buffer in memories)
        assert not any(inside.isnan().any() for inside, _ in memories)
        assert memories[0][0][0, :3].flatten(0, 1).equal(k[0])
