"""The kernel of attention to a ring cache against the definition in float64."""


import pytest
import torch
from guarded import guarded, relative_rms, unharmed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import axial_angles, rotation_tables
from kernels.ring import RingCache
from kernels.window_attention import window_attention
from kernels.window_attention_torch import attend_reference
from kernels.window_attention_triton import launch

NAN = float("nan")
WORST = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 5e-3}


@pytest.fixture(autouse=True)
def _by_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", "triton")
    torch.manual_seed(0)


class Case:
    """Random frames in flight and a cache whose places that must not be read hold NaN."""

    def __init__(self, ages: list[int], capacity: int, sinks: int, tokens: int, window: int, *,
                 heads: tuple[int, int] = (1, 1), width: int = 16, dtype: torch.dtype = torch.float32,
                 stored: torch.dtype | None = None, rope: bool = False):
        batch = len(ages)
        self.cache = RingCache(batch, capacity, tokens, heads[1], width, sinks=sinks, dtype=stored or dtype)
        self.cache.count.copy_(torch.tensor(ages, dtype=torch.int32))
        empty = self.cache.positions() < 0
        for x, scale in ((self.cache.k, self.cache.k_scale), (self.cache.v, self.cache.v_scale)):
            if scale is None:
                x.copy_(torch.randn(x.shape)).masked_fill_(empty[..., None, None, None], NAN)
            else:
                x.copy_(torch.randint(-127, 128, x.shape))
                scale.uniform_(0.005, 0.02).masked_fill_(empty[..., None, None], NAN)
        self.q = torch.randn(batch, window * tokens, heads[0], width).to(dtype)
        self.k, self.v = torch.randn(2, batch, window * tokens, heads[1], width).to(dtype)
        rows = torch.arange(capacity + window)[:, None]
        self.tables = rotation_tables(axial_angles(rows, [width // 2])) if rope else None

    def reference(self, causal: bool = True) -> Tensor:
        cache, (cos, sin) = self.cache, self.tables or (None, None)
        memory = cache.k, cache.v
        if cache.k.is_floating_point():
            memory = cache.k.double(), cache.v.double()
        return attend_reference(self.q.double(), self.k.double(), self.v.double(), *memory, cache.k_scale,
                                cache.v_scale, cache.count, cos, sin, cache.sinks, causal, self.q.shape[-1] ** -0.5)

    def error(self, causal: bool = True, splits: int = 1) -> float:
        got = window_attention(self.q, self.k, self.v, self.cache, causal=causal, rope_t=self.tables, splits=splits)
        assert got.dtype == self.q.dtype and got.shape == self.q.shape
        return relative_rms(got, self.reference(causal))


@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize(("tokens", "window", "splits", "causal"), [
    (1, 3, 2, True), (5, 2, 1, True), (5, 1, 2, True), (16, 1, 2, False), (20, 1, 4, True), (24, 2, 1, False)])
def test_mixed_ages(tokens: int, window: int, splits: int, causal: bool, rope: bool) -> None:
    case = Case([0, 1, 4, 19], 4, 2, tokens, window, rope=rope)
    assert case.error(causal, splits) < WORST[torch.float32]


@pytest.mark.parametrize(("capacity", "sinks"), [(0, 0), (2, 2), (3, 0)])
@pytest.mark.parametrize("splits", [1, 4])
def test_caches_of_any_kind(capacity: int, sinks: int, splits: int) -> None:
    assert Case([0, 2, 7], capacity, sinks, 5, 2, rope=True).error(splits=splits) < WORST[torch.float32]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rope", [False, True])
def test_smaller_dtypes(dtype: torch.dtype, rope: bool) -> None:
    assert Case([1, 9], 4, 1, 5, 2, dtype=dtype, rope=rope, width=32).error(splits=2) < WORST[dtype]


@pytest.mark.parametrize(("dtype", "splits"), [(torch.float32, 1), (torch.float32, 4), (torch.float16, 1)])
@pytest.mark.parametrize("rope", [False, True])
def test_an_int8_cache(dtype: torch.dtype, splits: int, rope: bool) -> None:
    case = Case([0, 2, 9], 4, 1, 5, 2, dtype=dtype, stored=torch.int8, rope=rope)
    assert case.error(splits=splits) < WORST[dtype]


@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("rope", [False, True])
def test_query_heads_share_key_heads(heads: tuple[int, int], rope: bool) -> None:
    assert Case([2, 9], 3, 1, 5, 2, heads=heads, rope=rope).error(splits=2) < WORST[torch.float32]


def test_more_rows_than_a_tile() -> None:
    assert Case([2], 2, 0, 20, 1, heads=(4, 1), rope=True, width=64).error() < WORST[torch.float32]
    assert Case([2], 2, 0, 70, 1, rope=False, dtype=torch.float16).error() < WORST[torch.float16]


@pytest.mark.parametrize("width", [32, 128])
def test_wide_heads(width: int) -> None:
    assert Case([2], 2, 1, 5, 1, width=width, rope=True).error(splits=2) < WORST[torch.float32]


@pytest.mark.parametrize("stored", [torch.float32, torch.int8])
def test_nothing_outside_is_read_or_written(stored: torch.dtype) -> None:
    case = Case([0, 1, 9], 3, 1, 5, 2, stored=stored, rope=True, heads=(2, 1))
    cache = case.cache
    assert case.tables is not None
    q, k, v, cos, sin = (guarded(x)[0] for x in (case.q, case.k, case.v, *case.tables))
    memory = [x if stored == torch.int8 else guarded(x)[0] for x in (cache.k, cache.v)]
    scales = [None if x is None else guarded(x)[0] for x in (cache.k_scale, cache.v_scale)]
    for splits in (1, 2):
        out, buffer = guarded(torch.full(q.shape, NAN))
        launch(q, k, v, *memory, *scales, cache.count, cos, sin, 1, True, 0.25, splits, out)
        assert unharmed(buffer)
        assert relative_rms(out, case.reference()) < WORST[torch.float32]


def test_views_of_one_projection_are_taken() -> None:
    case = Case([1, 9], 3, 1, 5, 2, heads=(2, 2))
    qkv = torch.stack([case.q, case.k, case.v], 2)
    case.q, case.k, case.v = qkv.unbind(2)
    assert not case.q.is_contiguous()
    assert case.error() < WORST[torch.float32]


def test_frames_in_flight_do_not_see_later_ones() -> None:
    case = Case([1, 9], 3, 1, 5, 3, rope=True)
    first = window_attention(case.q, case.k, case.v, case.cache, rope_t=case.tables, splits=2)
    for x in (case.q, case.k, case.v):
        x[:, 10:] = 5 * torch.randn_like(x[:, 10:])
    second = window_attention(case.q, case.k, case.v, case.cache, rope_t=case.tables, splits=2)
    assert first[:, :10].equal(second[:, :10]) and not first.equal(second)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(ages=st.lists(st.integers(0, 12), min_size=1, max_size=2), capacity=st.integers(0, 4), sinks=st.integers(0, 2),
       tokens=st.integers(1, 24), window=st.integers(1, 2), groups=st.integers(1, 2), kv_heads=st.integers(1, 2),
       splits=st.integers(1, 4), causal=st.booleans(), rope=st.booleans(),
       stored=st.sampled_from([torch.float32, torch.int8]))
def test_any_sizes(ages: list[int], capacity: int, sinks: int, tokens: int, window: int, groups: int, kv_heads: int,
                   splits: int, causal: bool, rope: bool, stored: torch.dtype) -> None:
    case = Case(ages, capacity, min(sinks, capacity), tokens, window, heads=(groups * kv_heads, kv_heads), rope=rope,
                stored=stored)
    assert case.error(causal, splits) < WORST[torch.float32]
