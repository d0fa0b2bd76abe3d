"""frame_attention: the mask against a second definition, torch's path against the reference, gradients, compilers."""

import sys

import pytest
import torch
from torch import Tensor

from kernels.frame_attention import frame_attention, frame_attention_reference, frame_attention_tf

P = 3


@pytest.fixture(params=[False, True], ids=["gathered", "one call"])
def one_call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways on a CPU, whatever the sizes."""
    monkeypatch.setattr(sys.modules["kernels.frame_attention"], "one_call_is_faster", lambda *sizes: request.param)


def inputs(frames: int, heads: int = 4, kv_heads: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, frames * P, h, 8, generator=generator, dtype=dtype) for h in (heads, kv_heads, kv_heads)]


def by_hand(q: Tensor, k: Tensor, v: Tensor, sees, b: int, n: int, h: int) -> Tensor:
    """One output by plain loops: `sees(f, g)` says whether frame f sees frame g."""
    group = q.shape[2] // k.shape[2]
    keys = [m for m in range(q.shape[1]) if sees(n // P, m // P)]
    scores = torch.stack([(q[b, n, h] * k[b, m, h // group]).sum() / 8**0.5 for m in keys])
    return sum(w * v[b, m, h // group] for w, m in zip(scores.softmax(0), keys, strict=True))


@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (2, 0), (3, 1), (9, 0), (2, 2)])
def test_a_frame_sees_its_window_and_the_sinks(window: int, sinks: int, one_call: None) -> None:
    q, k, v = inputs(5, 4, 2)
    whole = frame_attention(q, k, v, P, window=window, sinks=sinks)
    for n in range(5 * P):
        wanted = by_hand(q, k, v, lambda f, g: g <= f and (f - g < window or g < sinks), 1, n, 3)
        assert torch.allclose(whole[1, n, 3], wanted, atol=1e-12), n


@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (2, 0), (3, 1), (9, 0)])
def test_noisy_frames_see_the_clean_ones_before_them_and_themselves(window: int, sinks: int, one_call: None) -> None:
    q, k, v = inputs(8)

    def sees(f: int, g: int) -> bool:
        if f < 4:
            return g <= f and (f - g < window or g < sinks)
        time = f - 3  # noisy frames are 1..4
        return g == f or (g < min(time, 4) and (time - g < window or g < sinks))

    whole = frame_attention_tf(q, k, v, P, window=window, sinks=sinks)
    for n in range(8 * P):
        assert torch.allclose(whole[0, n, 1], by_hand(q, k, v, sees, 0, n, 1), atol=1e-12), n


def test_episodes_inside_a_clip_do_not_see_each_other() -> None:
    q, k, v = inputs(5)
    starts = torch.tensor([[0, 0, 2, 2, 2], [0, 1, 1, 1, 4]], dtype=torch.int32)
    whole = frame_attention(q, k, v, P, window=2, sinks=1, seg_start=starts)
    begun = starts[1].tolist()
    for n in range(5 * P):
        wanted = by_hand(q, k, v, lambda f, g: begun[f] <= g <= f and (f - g < 2 or g - begun[f] < 1), 1, n, 0)
        assert torch.allclose(whole[1, n, 0], wanted, atol=1e-12), n


CASES = [{"window": 2}, {"window": 1}, {}, {"window": 2, "sinks": 1}, {"window": 3, "scale": 0.7}]


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("teacher", [False, True])
def test_gradients(settings: dict, teacher: bool, one_call: None, monkeypatch: pytest.MonkeyPatch) -> None:
    function = frame_attention_tf if teacher else frame_attention
    for backend in ("auto", "reference"):
        monkeypatch.setenv("KERNELS", backend)
        q, k, v = (x.requires_grad_() for x in inputs(4, 2, 1))
        assert torch.autograd.gradcheck(lambda *x: function(*x, P, **settings), (q, k, v), fast_mode=True)


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("teacher", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_path_equals_the_reference(settings: dict, teacher: bool, dtype: torch.dtype, one_call: None) -> None:
    function, limit = (frame_attention_tf if teacher else frame_attention), 1e-6 if dtype == torch.float32 else 1e-2
    q, k, v = inputs(6, 4, 2, dtype)
    wanted = frame_attention_reference(q.double(), k.double(), v.double(), P, teacher=teacher, **settings)
    out = function(q, k, v, P, **settings)
    assert out.dtype == dtype and torch.allclose(out.double(), wanted, atol=limit)


def test_the_future_changes_nothing_bit_for_bit(one_call: None) -> None:
    q, k, v = inputs(4, dtype=torch.float32)
    before = frame_attention(q, k, v, P, window=3)
    for x in (q, k, v):
        x[:, 2 * P :] = 7.0
    assert frame_attention(q, k, v, P, window=3)[:, : 2 * P].equal(before[:, : 2 * P])


@pytest.mark.parametrize("teacher", [False, True])
def test_the_operator_is_well_behaved(teacher: bool) -> None:
    q, k, v = (x.requires_grad_() for x in inputs(4, dtype=torch.float32))
    torch.library.opcheck(torch.ops.foreframe.frame_attention, (q, k, v, None, P, 2, 0, teacher, 0.3))


def test_it_compiles_whole_with_gradients() -> None:
    q, k, v = (x.requires_grad_() for x in inputs(4, dtype=torch.float32))

    def step(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return frame_attention(q * 2, k, v, P, window=2).square().sum() + frame_attention_tf(q, k, v, P).sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    wanted = torch.autograd.grad(step(q, k, v), (q, k, v))
    got = torch.autograd.grad(compiled(q, k, v), (q, k, v))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, wanted, strict=True))


def test_autocast_decides_the_dtype() -> None:
    q, k, v = inputs(4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert frame_attention(q, k.bfloat16(), v, P).dtype == torch.bfloat16


@pytest.mark.parametrize(("change", "message"), [
    ({"k": torch.zeros(2, 12, 4, 9)}, r"equal B, N and D, got \[2, 12, 4, 8\], \[2, 12, 4, 9\]"),
    ({"q": torch.zeros(12, 4, 8)}, r"expected q \[B, N, H, D\]"),
    ({"k": torch.zeros(2, 12, 3, 8), "v": torch.zeros(2, 12, 3, 8)}, "heads of k and v to divide those of q, got 3 "),
    ({"k": torch.zeros(2, 12, 4, 8, dtype=torch.float16)}, "one floating dtype, got torch.float32, torch.float16"),
    ({"v": torch.zeros(2, 12, 4, 8, device="meta")}, "one device, got cpu, cpu, meta"),
    ({"P": 5}, "whole frames of P >= 1 tokens, got 12 tokens and P = 5"),
    ({"window": 0}, "window >= 1 and sinks >= 0, got 0 and 0"),
    ({"sinks": -1}, "window >= 1 and sinks >= 0, got None and -1"),
    ({"seg_start": torch.zeros(2, 3, dtype=torch.int32)}, r"seg_start int32 \[2, 4\] on cpu, got torch.int32 \[2, 3\]"),
    ({"seg_start": torch.tensor([[0, 0, 3, 3]] * 2, dtype=torch.int32)}, "first frame of each frame's episode"),
])  # fmt: skip
def test_bad_input(change: dict, message: str) -> None:
    q = torch.zeros(2, 12, 4, 8)
    with pytest.raises(ValueError, match=message):
        frame_attention(**({"q": q, "k": q, "v": q, "P": 3} | change))


def test_an_odd_number_of_frames_is_no_clip_given_twice() -> None:
    q = torch.zeros(1, 9, 1, 8)
    with pytest.raises(ValueError, match="equal number, got 3 frames"):
        frame_attention_tf(q, q, q, 3)
