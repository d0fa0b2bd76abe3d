"""Fused elementwise operators outside of triton: the composition equals the definition, and both are good citizens."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import apply_rope, rotation_tables
from kernels.modulate import adaln_modulate, adaln_modulate_reference, gated_residual, gated_residual_reference
from kernels.qk_norm import qk_norm_rope, qk_norm_rope_reference

P = 5
BATCH, FRAMES, WIDTH = 2, 3, 24
TABLES = rotation_tables(torch.randn(P, 4, generator=torch.Generator().manual_seed(0)))


def draw(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    of = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=of).add(0.2).to(dtype).requires_grad_() for shape in shapes]


def tokens_and_frames(tokens: int, frames: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    shapes = [(BATCH, FRAMES * P, WIDTH)] * tokens + [(BATCH, FRAMES, WIDTH)] * frames
    return draw(*shapes, dtype=dtype)


CASES: dict[str, tuple[Callable, Callable, Callable]] = {
    "modulate": (lambda *a: adaln_modulate(*a, P), lambda *a: adaln_modulate_reference(*a, P),
                 lambda dtype=torch.float32: tokens_and_frames(1, 2, dtype)),
    "gate": (lambda *a: gated_residual(*a, P), lambda *a: gated_residual_reference(*a, P),
             lambda dtype=torch.float32: tokens_and_frames(2, 1, dtype)),
    "heads": (lambda *a: qk_norm_rope(*a, *TABLES, heads=2, kv_heads=1),
              lambda *a: qk_norm_rope_reference(*a, *TABLES, heads=2, kv_heads=1),
              lambda dtype=torch.float32: draw((BATCH, 2 * P, 4 * 8), (8,), (8,), dtype=dtype)),
}  # fmt: skip
OPERATORS = {
    "modulate": lambda *a: torch.ops.foreframe.adaln_modulate(*a, P, 1e-6),
    "gate": lambda *a: torch.ops.foreframe.gated_residual(*a, P),
    "heads": lambda *a: torch.ops.foreframe.qk_norm_rope(*a, *TABLES, 2, 1, 1e-6),
}
"""what compiled graphs hold"""
every = pytest.mark.parametrize("name", CASES)


def outputs_and_gradients(op: Callable, inputs: list[Tensor]) -> list[Tensor]:
    out = op(*inputs)
    outs = out if isinstance(out, tuple) else (out,)
    loss = sum((x.float() * torch.linspace(-1, 2, x.numel()).view(x.shape)).sum() for x in outs)
    return [*outs, *torch.autograd.grad(loss, inputs)]


@pytest.fixture(autouse=True)
def _nothing_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERNELS", raising=False)


@every
def test_the_composition_is_the_definition(name: str) -> None:
    op, reference, given = CASES[name]
    wanted = outputs_and_gradients(reference, given())
    for run in (op, OPERATORS[name]):
        for a, b in zip(outputs_and_gradients(run, given()), wanted, strict=True):
            assert a.dtype == b.dtype
            assert (a - b).norm() <= 1e-6 * b.norm()


@every
@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_gradients_in_float64(name: str, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", kernels)
    assert torch.autograd.gradcheck(OPERATORS[name], CASES[name][2](torch.float64), fast_mode=True)


@every
def test_the_reference_runs_when_demanded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", "reference")
    op, reference, given = CASES[name]
    got, wanted = op(*given()), reference(*given())
    pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
    assert all(torch.equal(a, b) for a, b in pairs)


def test_operators_are_well_registered() -> None:
    ops = torch.ops.foreframe
    x, shift, scale = tokens_and_frames(1, 2)
    torch.library.opcheck(ops.adaln_modulate, (x, shift, scale, P, 1e-6))
    torch.library.opcheck(ops.adaln_modulate, (x.detach().bfloat16().requires_grad_(), shift, scale, P, 1e-6))
    torch.library.opcheck(ops.gated_residual, (x, x.detach().sin().requires_grad_(), scale, P))
    x, shift, scale = x.detach(), shift.detach(), scale.detach()
    torch.library.opcheck(ops.adaln_modulate_backward, (x, x, scale, P, 1e-6))
    torch.library.opcheck(ops.gated_residual_backward, (x, x, scale, P))
    qkv, gq, gk = CASES["heads"][2]()
    torch.library.opcheck(ops.qk_norm_rope, (qkv, gq, gk, *TABLES, 2, 1, 1e-6))
    dq, dk, dv = (torch.ones(BATCH, 2 * P, heads, 8) for heads in (2, 1, 1))
    backward = (dq, dk, dv, qkv.detach(), gq.detach(), gk.detach(), *TABLES, 1e-6)
    torch.library.opcheck(ops.qk_norm_rope_backward, backward)


@every
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_compiles_whole(name: str, dynamic: bool) -> None:
    op, _, given = CASES[name]
    torch._dynamo.reset()
    compiled = torch.compile(op, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    got, wanted = (outputs_and_gradients(run, given()) for run in (compiled, op))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, wanted, strict=True))


@every
@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_autocast_leaves_dtypes_to_the_inputs(name: str, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", kernels)
    op, _, given = CASES[name]
    with torch.autocast("cpu", torch.bfloat16):
        kept = outputs_and_gradients(op, given())
        small = outputs_and_gradients(op, given(torch.bfloat16))
    wanted = outputs_and_gradients(op, given())
    assert all(torch.equal(a, b) for a, b in zip(kept, wanted, strict=True))
    for a, b in zip(small, wanted, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a - b).norm() < 2e-2 * b.norm()


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_dtypes_may_differ(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", kernels)
    (x, y), (gate,) = tokens_and_frames(2, 0), tokens_and_frames(0, 1, torch.bfloat16)
    out, dx, dy, dgate = outputs_and_gradients(CASES["gate"][0], [x, y.bfloat16(), gate])
    assert [out.dtype, dx.dtype, dy.dtype, dgate.dtype] == [torch.float32] * 2 + [torch.bfloat16] * 2
    _, dx, dshift, dscale = outputs_and_gradients(CASES["modulate"][0], [x.bfloat16(), *tokens_and_frames(0, 2)])
    assert [dx.dtype, dshift.dtype, dscale.dtype] == [torch.bfloat16, torch.float32, torch.float32]


def test_it_is_the_arithmetic_of_torch() -> None:
    x, shift, scale = tokens_and_frames(1, 2)
    normed = F.layer_norm(x, (WIDTH,), eps=1e-6).unflatten(1, (FRAMES, P))
    wanted = (normed * (1 + scale[:, :, None]) + shift[:, :, None]).flatten(1, 2)
    assert torch.allclose(adaln_modulate(x, shift, scale, P), wanted, atol=1e-6)
    qkv, gq, gk = CASES["heads"][2]()
    q, k, v = qk_norm_rope(qkv, gq, gk, *TABLES, heads=2, kv_heads=1)
    heads = qkv.unflatten(-1, (4, 8)).unflatten(1, (2, P))  # two frames, positions anew in each
    cos, sin = (table[:, None] for table in TABLES)
    assert torch.allclose(q, apply_rope(F.rms_norm(heads[..., :2, :], (8,), gq, 1e-6), cos, sin).flatten(1, 2))
    assert torch.allclose(k, apply_rope(F.rms_norm(heads[..., 2:3, :], (8,), gk, 1e-6), cos, sin).flatten(1, 2))
    assert torch.equal(v, heads[..., 3:, :].flatten(1, 2))


def test_nothing_is_kept_for_inference() -> None:
    with torch.inference_mode():
        for op, _, given in CASES.values():
            out = op(*given())
            assert not (out[0] if isinstance(out, tuple) else out).requires_grad


def test_slices_and_broadcast_gradients() -> None:
    shift, scale, gate = torch.randn(BATCH, FRAMES, 3 * WIDTH, requires_grad=True).chunk(3, -1)
    x = torch.randn(BATCH, FRAMES * P, 2 * WIDTH, requires_grad=True)
    for run_modulate, run_gate in ((adaln_modulate, gated_residual),
                                   (adaln_modulate_reference, gated_residual_reference)):
        inside = x[..., WIDTH:]
        out = run_gate(inside, run_modulate(inside, shift, scale, P), gate, P)
        assert out.is_contiguous()
        grads = torch.autograd.grad(out.sum(), (x, shift, scale, gate), retain_graph=True)
        if run_gate is gated_residual:
            first = grads
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(first, grads, strict=True))


def test_modulate_and_gate_say_what_is_wrong() -> None:
    x, by_frame = torch.zeros(2, 10, 8), torch.zeros(2, 2, 8)
    for call, message in (
        (lambda: adaln_modulate(x[0], by_frame, by_frame, 5), r"x must be \[batch, tokens, channels\], got \[10, 8\]"),
        (lambda: adaln_modulate(x, by_frame, by_frame, 3), "P must divide the 10 tokens of x, got 3"),
        (lambda: adaln_modulate(x, by_frame, by_frame, 0), "got 0"),
        (lambda: adaln_modulate(x, by_frame, by_frame[:1], 5), r"scale must be .* \[2, 2, 8\], got \[1, 2, 8\]"),
        (lambda: adaln_modulate(x.int(), by_frame, by_frame, 5), "x must be of a floating dtype, got torch.int32"),
        (lambda: adaln_modulate(x, by_frame.to("meta"), by_frame, 5), "shift must be on cpu"),
        (lambda: gated_residual(x, x[:, :5], by_frame, 5), r"y must be of the shape of x, \[2, 10, 8\], got \[2, 5, 8"),
        (lambda: gated_residual(x, x.long(), by_frame, 5), "y must be of a floating dtype"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_heads_say_what_is_wrong() -> None:
    qkv, gain, table = torch.zeros(2, 10, 32), torch.zeros(8), torch.zeros(5, 8)
    good = {"qkv": qkv, "gq": gain, "gk": gain, "cos": table, "sin": table, "heads": 2, "kv_heads": 1}
    for change, message in (
        ({"qkv": qkv[0]}, "qkv must be"), ({"heads": 0}, "heads must be a multiple of kv_heads"),
        ({"kv_heads": 2}, "6 heads of an even width, got 32"), ({"heads": 3, "kv_heads": 2}, "got 3 and 2"),
        ({"gk": gain[:4]}, r"gk must be \[8\], got \[4\]"), ({"cos": table[:, :4]}, "cos must be"),
        ({"sin": table[:2]}, "sin must be"), ({"cos": table[:4], "sin": table[:4]}, "must divide the 10 tokens"),
        ({"qkv": qkv.int()}, "qkv must be of a floating dtype"), ({"gq": gain.to("meta")}, "gq must be on cpu"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            qk_norm_rope(**good | change)


def test_triton_is_refused_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS", "triton")
    with pytest.raises(ValueError, match="KERNELS=triton cannot be obeyed"):
        adaln_modulate(*(x.double() for x in tokens_and_frames(1, 2)), P)
