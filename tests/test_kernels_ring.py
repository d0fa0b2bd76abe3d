"""The ring cache against a list that never forgets."""

import pytest
import torch
from torch import Tensor

import kernels.ring as ring
from kernels.ring import RingCache, quantised

P, HEADS, WIDTH = 3, 2, 4


def frames(n: int, batch: int = 2, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    k, v = torch.randn(2, batch, n * P, HEADS, WIDTH).to(dtype)
    return k, v


def kept(history: list[Tensor], capacity: int, sinks: int) -> dict[int, tuple[int, Tensor]]:
    """Slot -> (time position, frame) of one stream, by the definition in words."""
    time, found = min(len(history), capacity), {}
    for t, frame in enumerate(history):
        if t < sinks:
            found[t] = (t, frame)
        elif len(history) - t <= capacity - sinks:
            found[sinks + (t - sinks) % (capacity - sinks)] = (time - (len(history) - t), frame)
    return found


@pytest.mark.parametrize(("capacity", "sinks"), [(5, 0), (5, 2), (1, 0), (3, 2), (2, 2), (0, 0)])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_cache_holds_sinks_and_the_most_recent_frames(capacity: int, sinks: int, n: int) -> None:
    torch.manual_seed(0)
    cache = RingCache(2, capacity, P, HEADS, WIDTH, sinks=sinks)
    histories: list[list[Tensor]] = [[], []]
    for step in range(6):
        k, v = frames(n)
        cache.append(k, v)
        for b, history in enumerate(histories):
            history += k[b].split(P)
        if step == 2:
            cache.reset(torch.tensor([False, True]))
            histories[1] = []
        for b, history in enumerate(histories):
            wanted, positions = kept(history, capacity, sinks), cache.positions()[b].tolist()
            assert positions == [wanted.get(slot, (-1,))[0] for slot in range(capacity)]
            assert all(cache.k[b, slot].equal(frame) for slot, (_, frame) in wanted.items())
        assert cache.count.tolist() == [len(history) for history in histories]
        assert cache.time().tolist() == [min(len(history), capacity) for history in histories]


def test_many_frames_at_once_are_as_one_after_the_other() -> None:
    one, many = (RingCache(2, 4, P, HEADS, WIDTH, sinks=1) for _ in range(2))
    k, v = frames(11)
    many.append(k, v)
    for i in range(11):
        one.append(k[:, i * P : (i + 1) * P], v[:, i * P : (i + 1) * P])
    assert many.k.equal(one.k) and many.v.equal(one.v) and many.count.equal(one.count)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_what_is_stored_is_rounded_to_the_dtype_of_the_cache(dtype: torch.dtype) -> None:
    cache = RingCache(2, 2, P, HEADS, WIDTH, dtype=dtype)
    k, v = frames(1)
    cache.append(k, v)
    assert cache.k[:, 0].equal(k.to(dtype)) and cache.v[:, 0].equal(v.to(dtype))


def test_int8_is_within_half_a_step_and_keeps_zeros() -> None:
    x = torch.randn(50, 8) * torch.logspace(-30, 30, 50)[:, None]
    x[7] = 0
    rounded, scale = quantised(x)
    assert rounded.abs().amax(-1).eq(127).sum() == 49 and not rounded[7].any() and scale[7] == 0
    assert ((rounded * scale[:, None] - x).abs() <= 0.50001 * scale[:, None]).all()


def test_an_int8_cache_holds_what_was_quantised() -> None:
    cache = RingCache(2, 3, P, HEADS, WIDTH, sinks=1, dtype=torch.int8)
    for _ in range(5):
        k, v = frames(1)
        cache.append(k, v)
    slot = 1 + (5 - 1 - 1) % 2
    for x, memory, scale in ((k, cache.k, cache.k_scale), (v, cache.v, cache.v_scale)):
        assert scale is not None
        assert all(a.equal(b[:, slot]) for a, b in zip(quantised(x), (memory, scale), strict=True))
    assert cache.nbytes == 2 * (2 * 3 * P * HEADS) * (WIDTH + 4)


def test_a_copy_is_independent() -> None:
    cache = RingCache(2, 3, P, HEADS, WIDTH)
    cache.append(*frames(1))
    other = cache.clone()
    cache.append(*frames(2))
    cache.reset()
    assert other.count.tolist() == [1, 1] and cache.count.tolist() == [0, 0]
    assert not other.k[:, 1:].any() and other.P == P


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
@pytest.mark.parametrize(("capacity", "sinks"), [(4, 1), (3, 3), (0, 0)])
def test_counts_need_not_be_read(capacity: int, sinks: int, dtype: torch.dtype,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch path of a GPU writes what that of a CPU writes."""
    host, device = (RingCache(2, capacity, P, HEADS, WIDTH, sinks=sinks, dtype=dtype) for _ in range(2))
    for step, n in enumerate((1, 3, 9)):
        k, v = frames(n)
        host.append(k, v)
        with monkeypatch.context() as patch:
            patch.setattr(ring, "_write_on_host", ring._write)
            device.append(k, v)
        for cache in (host, device):
            cache.reset(torch.tensor([step == 0, False]))
        assert host.k.equal(device.k) and host.v.equal(device.v) and host.count.equal(device.count)
        assert host.k_scale is None or (device.k_scale is not None and host.k_scale.equal(device.k_scale))


def test_memory_is_written_in_place() -> None:
    cache = RingCache(2, 3, P, HEADS, WIDTH)
    places = [x.data_ptr() for x in (cache.k, cache.v, cache.count)]
    for _ in range(4):
        cache.append(*frames(2))
    cache.reset(torch.tensor([True, False]))
    assert places == [x.data_ptr() for x in (cache.k, cache.v, cache.count)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_the_operator_is_declared_as_it_is(dtype: torch.dtype) -> None:
    cache = RingCache(2, 3, P, HEADS, WIDTH, sinks=1, dtype=dtype)
    torch.library.opcheck(torch.ops.foreframe.ring_append.default,
                          (*frames(2), cache.k, cache.v, cache.k_scale, cache.v_scale, cache.count, 1))


def test_appending_compiles_without_a_break() -> None:
    eager, compiled = (RingCache(2, 3, P, HEADS, WIDTH, sinks=1) for _ in range(2))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(cache: RingCache, k: Tensor, v: Tensor) -> Tensor:
        cache.append(k, v)
        return cache.positions()

    for _ in range(5):
        k, v = frames(1)
        eager.append(k, v)
        assert step(compiled, k, v).equal(eager.positions())
    assert compiled.k.equal(eager.k)


def test_what_does_not_belong_is_refused() -> None:
    cache = RingCache(2, 3, P, HEADS, WIDTH)
    k, v = frames(1)
    bad = [(k[:1], v[:1]), (k[:, :2], v[:, :2]), (k[:, :0], v[:, :0]), (k[:, :, :1], v[:, :, :1]), (k[..., :2], v),
           (k, v[..., :2]), (k, v.repeat(1, 2, 1, 1)), (k, v.half()), (k.int(), v.int()), (k[0], v[0]),
           (k.to("meta"), v.to("meta"))]
    for pair in bad:
        with pytest.raises(ValueError, match=r"must .*got"):
            cache.append(*pair)
    assert cache.count.tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="inference"):
        cache.append(k.requires_grad_(), v)
    with torch.no_grad():
        cache.append(k, v)


@pytest.mark.parametrize("mask", [torch.tensor([1, 0]), torch.tensor([True]), torch.ones(2, dtype=torch.bool,
                                                                                         device="meta")])
def test_a_mask_of_other_streams_is_refused(mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"mask must be bool \[2\] on cpu, got"):
        RingCache(2, 3, P, HEADS, WIDTH).reset(mask)


def test_impossible_sizes_are_refused() -> None:
    for sizes in ((0, 3, P, HEADS, WIDTH), (1, 3, 0, HEADS, WIDTH), (1, 3, P, 0, WIDTH), (1, 3, P, HEADS, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            RingCache(*sizes)
    for capacity, sinks in ((2, 3), (2, -1), (-1, 0)):
        with pytest.raises(ValueError, match="sinks <= capacity"):
            RingCache(1, capacity, P, HEADS, WIDTH, sinks=sinks)
    with pytest.raises(ValueError, match="dtype must be"):
        RingCache(1, 2, P, HEADS, WIDTH, dtype=torch.int32)
