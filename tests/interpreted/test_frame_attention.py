"""The triton kernels of frame_attention against float64 references: values, gradients, and what must not be touched."""


import pytest
import torch
from guarded import guarded, relative_rms, unharmed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.frame_attention import frame_attention, frame_attention_reference, frame_attention_tf

LIMIT = {torch.float32: 1e-6, torch.float16: 1e-3}


@pytest.fixture(autouse=True)
def _triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", "triton")


def inputs(frames: int, P: int, heads: int, kv_heads: int, width: int, dtype: torch.dtype = torch.float32,
           batch: int = 2, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, frames * P, h, width) for h in (heads, kv_heads, kv_heads, heads)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def compare(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, P: int, teacher: bool = False, **settings) -> None:
    """Output and gradients, in buffers with NaN around them, against the definition in float64."""
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    wanted = frame_attention_reference(*exact, P, teacher=teacher, **settings)
    wanted.backward(grad.double())
    held = [guarded(x) for x in (q, k, v)]
    given_ = [x.requires_grad_() for x, _ in held]
    out = (frame_attention_tf if teacher else frame_attention)(*given_, P, **settings)
    out.backward(grad)
    assert all(unharmed(buffer) for _, buffer in held)
    for got, reference in ((out, wanted), *((a.grad, b.grad) for a, b in zip(given_, exact, strict=True))):
        assert got.dtype == q.dtype and relative_rms(got, reference) < LIMIT[q.dtype]


@pytest.mark.parametrize(("P", "frames", "window", "sinks"), [
    (1, 5, 2, 0), (5, 4, 3, 1), (16, 3, None, 0), (20, 5, 2, 2), (24, 4, 1, 1), (33, 2, 2, 0),
])  # fmt: skip
def test_frames_in_their_windows(P: int, frames: int, window: int | None, sinks: int) -> None:
    compare(*inputs(frames, P, 2, 2, 32), P, window=window, sinks=sinks)


@pytest.mark.parametrize(("P", "frames", "window", "sinks"), [(1, 3, 2, 0), (5, 4, 3, 1), (20, 3, 2, 0), (16, 2, 1, 0),
                                                              (24, 3, None, 0)])
def test_clean_and_noisy_copies(P: int, frames: int, window: int | None, sinks: int) -> None:
    compare(*inputs(2 * frames, P, 2, 1, 32), P, teacher=True, window=window, sinks=sinks)


@pytest.mark.parametrize(("window", "sinks"), [(2, 0), (2, 1), (None, 0)])
def test_episodes_that_begin_inside_a_clip(window: int | None, sinks: int) -> None:
    starts = torch.tensor([[0, 0, 2, 2, 2], [0, 1, 1, 1, 4]], dtype=torch.int32)
    compare(*inputs(5, 5, 2, 2, 16), 5, window=window, sinks=sinks, seg_start=starts)


def test_groups_of_heads_and_a_scale() -> None:
    compare(*inputs(3, 20, 4, 2, 64), 20, window=2, scale=0.3)
    compare(*inputs(2, 9, 6, 1, 128, batch=1), 9)


def test_half_precision() -> None:
    compare(*inputs(3, 20, 2, 2, 64, torch.float16), 20, window=2, sinks=1)
    compare(*inputs(4, 20, 2, 2, 64, torch.float16), 20, teacher=True, window=2)


def test_bfloat16_is_computed_in_float32_here() -> None:
    q, k, v, _ = inputs(2, 5, 2, 2, 32, torch.bfloat16)
    out = frame_attention(q, k, v, 5)
    assert out.dtype == torch.bfloat16
    assert relative_rms(out, frame_attention_reference(q.double(), k.double(), v.double(), 5)) < 4e-3


def test_views_of_a_fused_projection() -> None:
    P, frames = 5, 3
    whole = torch.randn(2, frames * P, 3, 2, 32, generator=torch.Generator().manual_seed(1))
    q, k, v = whole.unbind(2)
    wanted = frame_attention_reference(q.double(), k.double(), v.double(), P, window=2)
    assert relative_rms(frame_attention(q, k, v, P, window=2), wanted) < 1e-6


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_may_not_be_seen_may_be_nan() -> None:
    P, frames = 5, 5
    q, k, v, _ = inputs(frames, P, 2, 2, 16)
    clean = frame_attention(q, k, v, P, window=2)
    k[:, : 2 * P], v[:, : 2 * P] = float("nan"), float("nan")
    seen = frame_attention(q, k, v, P, window=2)
    assert seen[:, 3 * P :].equal(clean[:, 3 * P :])  # frames 3 and 4 see no frame before 2
    assert seen[:, : 3 * P].isnan().all()


def test_the_future_changes_nothing_bit_for_bit() -> None:
    P = 20
    q, k, v, _ = inputs(3, P, 2, 2, 32)
    before = frame_attention(q, k, v, P)
    for x in (q, k, v):
        x[:, 2 * P :] = torch.randn_like(x[:, 2 * P :])
    assert frame_attention(q, k, v, P)[:, : 2 * P].equal(before[:, : 2 * P])


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 26), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2), st.sampled_from([(1, 1), (2, 1)]),
       st.sampled_from([16, 32]), st.booleans(), st.integers(0, 9))
def test_any_shape(P: int, frames: int, window: int, sinks: int, heads: tuple[int, int], width: int, teacher: bool,
                   seed: int) -> None:
    rows = 2 * frames if teacher else frames
    compare(*inputs(rows, P, *heads, width, batch=1, seed=seed), P, teacher=teacher, window=window, sinks=sinks)
