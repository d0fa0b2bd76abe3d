"""Triton kernels on a GPU: no less exact than torch's own attention, the same every time, and in a CUDA graph."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import (
    RingCache,
    adaln_modulate,
    adaln_modulate_reference,
    axial_angles,
    decide,
    frame_attention,
    frame_attention_reference,
    frame_attention_tf,
    frame_mask,
    gated_residual,
    qk_norm_rope,
    qk_norm_rope_append,
    rotation_tables,
    teacher_mask,
    window_attention,
)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]


def draw(*shapes: tuple[int, ...], dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator("cuda").manual_seed(seed)
    return [torch.randn(shape, generator=generator, device="cuda").to(dtype) for shape in shapes]


def rms(x: Tensor, y: Tensor) -> float:
    return float((x.detach().double() - y.detach().double()).square().mean().sqrt())


def test_triton_is_what_runs() -> None:
    assert decide("cuda").backend == "triton", decide("cuda").reason


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize(("P", "teacher"), [(20, False), (64, False), (144, False), (20, True), (144, True)])
def test_frames_are_at_most_twice_as_wrong_as_torch(dtype: torch.dtype, width: int, P: int, teacher: bool) -> None:
    frames, window = 6, 3
    q, k, v, grad = draw(*[(2, frames * P, 4, width)] * 4, dtype=dtype)
    mask = teacher_mask(frames // 2, window) if teacher else frame_mask(frames, window)[0]
    dense = mask.repeat_interleave(P, 0).repeat_interleave(P, 1).cuda()

    def torchs(*x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*(y.transpose(1, 2) for y in x), attn_mask=dense).transpose(1, 2)

    def ours(*x: Tensor) -> Tensor:
        return (frame_attention_tf if teacher else frame_attention)(*x, P, window=window)

    def exact(*x: Tensor) -> Tensor:
        return frame_attention_reference(*x, P, window=window, teacher=teacher)

    results = {}
    for name, function, kind in (("ours", ours, dtype), ("torch", torchs, dtype), ("exact", exact, torch.float64)):
        inputs = [x.to(kind).requires_grad_() for x in (q, k, v)]
        out = function(*inputs)
        results[name] = [out, *torch.autograd.grad(out, inputs, grad.to(kind))]
    for got, other, wanted in zip(results["ours"], results["torch"], results["exact"], strict=True):
        assert rms(got, wanted) <= 2 * rms(other, wanted) + 1e-5


def cache_of(ages: list[int], P: int, heads: int, width: int, dtype: torch.dtype, capacity: int = 6) -> RingCache:
    cache = RingCache(len(ages), capacity, P, heads, width, sinks=1, dtype=dtype, device="cuda")
    for frame in range(max(ages)):
        cache.append(*draw(*[(len(ages), P, heads, width)] * 2, seed=frame))
        done = torch.tensor([frame + 1 > age for age in ages], device="cuda")
        cache.count -= done.int()
    return cache


@pytest.mark.parametrize("kept", [torch.bfloat16, torch.int8])
@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize(("P", "width"), [(20, 64), (64, 64), (144, 128)])
@pytest.mark.parametrize("splits", ["auto", 1, 3])
def test_windows_equal_the_reference(kept: torch.dtype, rope: bool, P: int, width: int, splits: int | str,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_of([0, 3, 6, 11], P, 2, width, kept)
    q, k, v = draw((4, 2 * P, 4, width), (4, 2 * P, 2, width), (4, 2 * P, 2, width))
    tables = rotation_tables(axial_angles(torch.arange(16, device="cuda")[:, None], [width // 2])) if rope else None
    got = window_attention(q, k, v, cache, rope_t=tables, splits=splits)
    assert got.equal(window_attention(q, k, v, cache, rope_t=tables, splits=splits))
    monkeypatch.setenv("KERNELS", "reference")
    wanted = window_attention(q.float(), k.float(), v.float(), cache, rope_t=tables)
    assert rms(got, wanted) < 1.2e-2 * rms(wanted, 0 * wanted)


@pytest.mark.parametrize("kept", [torch.bfloat16, torch.int8])
def test_projections_written_at_once_equal_two_steps(kept: torch.dtype) -> None:
    P, heads, width = 20, 2, 64
    qkv, gain = draw((4, P, 3 * heads * width), (width,))
    tables = rotation_tables(axial_angles(torch.arange(P, device="cuda")[:, None], [width // 2]))
    once, twice = (cache_of([0, 3, 6, 11], P, heads, width, kept) for _ in range(2))
    with torch.no_grad():
        q = qk_norm_rope_append(qkv, gain, gain, *tables, once, heads=heads)
        other, k, v = qk_norm_rope(qkv, gain, gain, *tables, heads=heads)
        twice.append(k, v)
    assert q.equal(other) and once.k.equal(twice.k) and once.v.equal(twice.v) and once.count.equal(twice.count)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elementwise_kernels_equal_the_reference(dtype: torch.dtype) -> None:
    P, limit = 20, 1e-5 if dtype == torch.float32 else 1e-2
    x, y, shift, scale = draw((2, 3 * P, 256), (2, 3 * P, 256), (2, 3, 256), (2, 3, 256), dtype=dtype)
    wanted = adaln_modulate_reference(x.double(), shift.double(), scale.double(), P)
    assert rms(adaln_modulate(x, shift, scale, P), wanted) < limit
    assert rms(gated_residual(x, y, scale, P), x.double() + scale.double().repeat_interleave(P, 1) * y.double()) < limit


def test_gradients_repeat_bit_for_bit() -> None:
    q, k, v, grad = draw(*[(2, 6 * 64, 4, 64)] * 4)
    for x in (q, k, v):
        x.requires_grad_()
    runs = [torch.autograd.grad(frame_attention(q, k, v, 64, window=3), (q, k, v), grad) for _ in range(2)]
    assert all(a.equal(b) for a, b in zip(*runs, strict=True))


def test_a_step_of_the_cache_in_a_cuda_graph() -> None:
    """The count is read on the device: replaying one captured step goes on around the ring."""
    P, heads, width = 20, 2, 64
    static = draw(*[(2, P, heads, width)] * 3)
    plain, captured = (cache_of([2, 5], P, heads, width, torch.bfloat16) for _ in range(2))

    def step(cache: RingCache) -> Tensor:
        out = window_attention(*static, cache, splits=2)
        cache.append(static[1], static[2])
        return out

    with torch.inference_mode():
        step(captured.clone())  # compiles
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = step(captured)
        for seed in range(8):
            for x, fresh in zip(static, draw(*[(2, P, heads, width)] * 3, seed=100 + seed), strict=True):
                x.copy_(fresh)
            graph.replay()
            assert out.equal(step(plain))
    assert captured.count.equal(plain.count)
