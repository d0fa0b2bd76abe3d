"""The fused norm, rotation and append outside of triton: `qk_norm_rope`, then `append`, and nothing else."""

import pytest
import torch
from torch import Tensor

from kernels.qk_norm import qk_norm_rope, qk_norm_rope_reference
from kernels.qk_norm_append import qk_norm_rope_append, qk_norm_rope_append_reference
from kernels.ring import RingCache
from kernels.rope import rotation_tables

P, HEADS, KV_HEADS, WIDTH = 5, 4, 2, 8
AGES = (0, 2, 11)
TABLES = rotation_tables(torch.randn(P, WIDTH // 2, generator=torch.Generator().manual_seed(0)))
SHAPES = pytest.mark.parametrize(("capacity", "sinks"), [(4, 0), (4, 1), (3, 3), (0, 0)])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8], ids=str)


def projection(n: int, batch: int = len(AGES), seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Projection of n frames, gains."""
    of = torch.Generator().manual_seed(seed)
    qkv = torch.randn(batch, n * P, (HEADS + 2 * KV_HEADS) * WIDTH, generator=of).to(dtype)
    return [qkv, *(0.5 + torch.rand(WIDTH, generator=of) for _ in range(2))]


def caches(count: int = 2, capacity: int = 4, sinks: int = 1, dtype: torch.dtype = torch.float32) -> list[RingCache]:
    """Equal ones whose streams are of AGES."""
    made = RingCache(len(AGES), capacity, P, KV_HEADS, WIDTH, sinks=sinks, dtype=dtype)
    made.count.copy_(torch.tensor(AGES))
    return [made.clone() for _ in range(count)]


def fused(given: list[Tensor], cache: RingCache) -> Tensor:
    return qk_norm_rope_append(*given, *TABLES, cache, heads=HEADS)


def by_operator(given: list[Tensor], cache: RingCache) -> Tensor:
    """What a compiled graph calls."""
    return torch.ops.foreframe.qk_norm_rope_append(*operands(given, cache))


def operands(given: list[Tensor], cache: RingCache) -> tuple:
    return (*given, *TABLES, cache.k, cache.v, cache.k_scale, cache.v_scale, cache.count, HEADS, cache.sinks, 1e-6)


def in_two_steps(given: list[Tensor], cache: RingCache) -> Tensor:
    q, k, v = qk_norm_rope(*given, *TABLES, heads=HEADS, kv_heads=KV_HEADS)
    cache.append(k, v)
    return q


def same(one: RingCache, other: RingCache) -> bool:
    pairs = ((one.k, other.k), (one.v, other.v), (one.k_scale, other.k_scale), (one.v_scale, other.v_scale))
    return one.count.equal(other.count) and all(a is b or (b is not None and torch.equal(a, b)) for a, b in pairs)


@pytest.fixture(autouse=True)
def _nothing_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERNELS", raising=False)


@SHAPES
@DTYPES
@pytest.mark.parametrize("n", [1, 2, 7])
def test_it_is_norm_and_rotation_and_then_append(n: int, dtype: torch.dtype, capacity: int, sinks: int) -> None:
    made = caches(3, capacity, sinks, dtype)
    given_dtype = torch.float32 if dtype == torch.int8 else dtype
    for step in range(4):
        given = projection(n, seed=step, dtype=given_dtype)
        q, again, wanted = (run(given, cache) for run, cache in zip((fused, by_operator, in_two_steps), made,
                                                                    strict=True))
        assert q.dtype == given_dtype and q.is_contiguous()
        assert torch.equal(q, wanted) and torch.equal(again, wanted)
        assert same(made[0], made[2]) and same(made[1], made[2])
        for cache in made:
            cache.reset(torch.tensor([False, step == 0, step == 2]))


def test_every_frame_is_in_its_slot() -> None:
    cache = caches(1)[0]
    given = projection(3)
    q = fused(given, cache)
    wanted_q, k, v = qk_norm_rope_reference(*given, *TABLES, heads=HEADS, kv_heads=KV_HEADS)
    assert torch.allclose(q, wanted_q, atol=1e-6)
    slots = {0: (0, 1, 2), 1: (2, 3, 1), 2: (2, 3, 1)}  # of frames 0, 1, 2; 2, 3, 4; 11, 12, 13: sink, ring of three
    for stream, places in slots.items():
        for frame, slot in enumerate(places):
            tokens = slice(frame * P, (frame + 1) * P)
            assert torch.allclose(cache.k[stream, slot], k[stream, tokens], atol=1e-6)
            assert torch.equal(cache.v[stream, slot], v[stream, tokens])
    assert not cache.k[0, 3].any() and not cache.v[1:, 0].any()
    assert cache.count.tolist() == [age + 3 for age in AGES]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)
def test_many_frames_at_once_are_as_one_after_the_other(dtype: torch.dtype) -> None:
    once, each = caches(dtype=dtype)
    qkv, *gains = projection(6)
    q = fused([qkv, *gains], once)
    parts = [fused([part, *gains], each) for part in qkv.split(P, 1)]
    assert torch.allclose(q, torch.cat(parts, 1), atol=1e-6) and once.count.equal(each.count)
    steps = 1 if dtype == torch.int8 else 1e-6
    assert ((once.k.float() - each.k.float()).abs() <= steps).all() and once.v.equal(each.v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)
@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_the_definition(kernels: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", kernels)
    got, wanted = caches(dtype=dtype)
    given = projection(2)
    q = fused(given, got)
    wanted_q = qk_norm_rope_append_reference(*given, *TABLES, wanted, heads=HEADS)
    if kernels == "reference":
        assert torch.equal(q, wanted_q) and same(got, wanted)
    assert torch.allclose(q, wanted_q, atol=1e-6) and got.count.equal(wanted.count) and got.v.equal(wanted.v)
    assert ((got.k.float() - wanted.k.float()).abs() <= (1 if dtype == torch.int8 else 1e-6)).all()


def test_the_projection_is_left_alone_and_shares_nothing() -> None:
    cache = caches(1)[0]
    given = projection(1)
    before = [x.clone() for x in given]
    places = [x.data_ptr() for x in (cache.k, cache.v, cache.count)]
    q = fused(given, cache)
    kept = cache.k.clone(), cache.v.clone(), q.clone()
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    assert places == [x.data_ptr() for x in (cache.k, cache.v, cache.count)]
    given[0].zero_()
    assert all(torch.equal(a, b) for a, b in zip(kept, (cache.k, cache.v, q), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)
def test_the_operator_is_declared_as_it_is(dtype: torch.dtype) -> None:
    cache = caches(1, dtype=dtype)[0]
    torch.library.opcheck(torch.ops.foreframe.qk_norm_rope_append.default, operands(projection(2), cache))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)
def test_it_compiles_without_a_break(dtype: torch.dtype, dynamic: bool) -> None:
    eager, compiled = caches(dtype=dtype)

    def step(given: list[Tensor], cache: RingCache) -> tuple[Tensor, Tensor]:
        return fused(given, cache) + 1, cache.positions()

    torch._dynamo.reset()
    run = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for n in (1, 1, 2):
        given = projection(n, seed=n)
        for a, b in zip(run(given, compiled), step(given, eager), strict=True):
            assert torch.equal(a, b)
        assert same(compiled, eager)


def test_gradients_are_refused() -> None:
    cache = caches(1)[0]
    for place in range(3):
        given = projection(1)
        given[place].requires_grad_()
        with pytest.raises(RuntimeError, match="inference"):
            fused(given, cache)
        assert cache.count.tolist() == list(AGES)
        with torch.no_grad():
            assert not fused(given, caches(1)[0]).requires_grad
    with torch.inference_mode():
        assert not fused(given, cache).requires_grad


def test_autocast_leaves_dtypes_to_the_inputs() -> None:
    small, plain = caches()
    with torch.autocast("cpu", torch.bfloat16):
        q = fused(projection(1), small)
    assert torch.equal(q, fused(projection(1), plain)) and same(small, plain)


def test_what_does_not_belong_is_refused() -> None:
    cache = caches(1)[0]
    (qkv, gq, gk), (cos, sin) = projection(2), TABLES
    good = {"qkv": qkv, "gq": gq, "gk": gk, "cos": cos, "sin": sin, "cache": cache, "heads": HEADS}
    sizes = {"batch": 3, "capacity": 4, "P": P, "kv_heads": KV_HEADS, "width": WIDTH}
    foreign = [({"batch": 2}, r"qkv must be \[2, n\*5, ...\] .*got \[3, 10, 64\]"), ({"P": 3}, r"\[3, n\*3, ...\]"),
               ({"kv_heads": 1}, "6 heads of an even width"), ({"kv_heads": 3}, "got 4 and 3"),
               ({"width": 16}, "16 wide like those of the cache, got 8"), ({"device": "meta"}, "must be on meta")]
    bad = [({"cache": RingCache(**sizes | change)}, message) for change, message in foreign]
    bad += [({"qkv": qkv[0]}, "qkv must be"), ({"qkv": qkv[:, :0]}, r"got \[3, 0, 64\]"),
            ({"qkv": qkv.int()}, "floating dtype"), ({"qkv": qkv[:, :7], "cos": cos[:1], "sin": sin[:1]}, "n\\*5"),
            ({"heads": 2}, "6 heads of an even width"), ({"heads": 0}, "multiple of kv_heads"),
            ({"gk": gk[:4]}, "gk must be"), ({"sin": sin[:2]}, "sin must be"), ({"gq": gq.to("meta")}, "gq must be on"),
            ({"cos": cos[:3], "sin": sin[:3]}, "must divide the 10 tokens")]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            qk_norm_rope_append(**good | change)
    assert cache.count.tolist() == list(AGES) and not cache.k.any()


def test_triton_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", "triton")
    for dtype, reason in ((torch.float64, "float64"), (torch.float32, "head width 8|CUDA")):
        cache = caches(1, dtype=dtype)[0]
        with pytest.raises(ValueError, match=f"cannot be obeyed: .*({reason})"):
            fused(projection(1), cache)
        assert cache.count.tolist() == list(AGES)
