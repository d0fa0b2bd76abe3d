"""Fused elementwise kernels against float64 references, in triton's interpreter."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from guarded import guarded, relative_rms, unharmed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import modulate_triton, qk_norm_triton, rotation_tables
from kernels.modulate import adaln_modulate, adaln_modulate_reference, gated_residual, gated_residual_reference
from kernels.qk_norm import qk_norm_rope, qk_norm_rope_reference

LIMITS = {torch.float32: 1e-6, torch.float16: 1e-3}


@pytest.fixture(autouse=True)
def _triton_runs_and_writes_where_it_should(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the launchers allocate is full of NaN, so that what is not written shows, and lies inside of guards."""
    buffers = []

    def empty(*shape, dtype: torch.dtype, device: torch.device) -> Tensor:
        size = shape if isinstance(shape[0], int) else shape[0]
        inside, buffer = guarded(torch.full(size, float("nan"), dtype=dtype))
        buffers.append(buffer)
        return inside

    monkeypatch.setenv("KERNELS", "triton")
    for launcher in (modulate_triton, qk_norm_triton):
        monkeypatch.setattr(launcher, "torch", SimpleNamespace(**vars(torch) | {"empty": empty}))
    yield
    assert all(unharmed(buffer) for buffer in buffers)


def agree(op: Callable, reference: Callable, *inputs: Tensor, limit: float) -> None:
    """Outputs and gradients by every input, computed inside of guards, are those of the float64 reference."""
    places = [guarded(x) for x in inputs]
    given = [inside.requires_grad_() for inside, _ in places]
    wanted = [x.double().requires_grad_() for x in inputs]
    got_out, wanted_out = (outs if isinstance(outs, tuple) else (outs,) for outs in (op(*given), reference(*wanted)))
    grads = [torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).to(out.dtype) for out in got_out]
    got = [*got_out, *torch.autograd.grad(got_out, given, grads)]
    right = [*wanted_out, *torch.autograd.grad(wanted_out, wanted, [grad.double() for grad in grads])]
    for place, (a, b) in enumerate(zip(got, right, strict=True)):
        assert relative_rms(a, b) < limit, f"result {place}"
    assert all(unharmed(buffer) for _, buffer in places)


def block(batch: int, frames: int, tokens: int, width: int, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Two sets of tokens, two sets of frame vectors."""
    of = torch.Generator().manual_seed(batch + 10 * frames + 100 * tokens + width)
    by_token = [torch.randn(batch, frames * tokens, width, generator=of).add(0.3).to(dtype) for _ in range(2)]
    return by_token, [torch.randn(batch, frames, width, generator=of).to(dtype) for _ in range(2)]


def projection(batch: int, tokens: int, rows: int, heads: tuple[int, int], width: int,
               dtype: torch.dtype) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """Projection and weights, rotation tables."""
    of = torch.Generator().manual_seed(batch + tokens + width)
    qkv = torch.randn(batch, tokens, (heads[0] + 2 * heads[1]) * width, generator=of)
    gains = [0.5 + torch.rand(width, generator=of) for _ in range(2)]
    return [x.to(dtype) for x in (qkv, *gains)], rotation_tables(torch.randn(rows, width // 2, generator=of))


def modulated(shape: tuple[int, int, int, int], dtype: torch.dtype, limit: float) -> None:
    (x, y), (shift, scale) = block(*shape, dtype)
    P = shape[2]
    agree(lambda *a: adaln_modulate(*a, P), lambda *a: adaln_modulate_reference(*a, P), x, shift, scale, limit=limit)
    agree(lambda *a: gated_residual(*a, P), lambda *a: gated_residual_reference(*a, P), x, y, scale, limit=limit)


def rotated(batch: int, tokens: int, rows: int, heads: tuple[int, int], width: int, dtype: torch.dtype,
            limit: float) -> None:
    inputs, tables = projection(batch, tokens, rows, heads, width, dtype)
    cos, sin = (guarded(table)[0] for table in tables)
    count = {"heads": heads[0], "kv_heads": heads[1]}
    agree(lambda *a: qk_norm_rope(*a, cos, sin, **count),
          lambda *a: qk_norm_rope_reference(*a, cos.double(), sin.double(), **count), *inputs, limit=limit)


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize(("tokens", "width"), [(1, 16), (5, 100), (24, 40)])
def test_blocks_are_modulated_and_gated(tokens: int, width: int, dtype: torch.dtype) -> None:
    modulated((2, 3, tokens, width), dtype, LIMITS[dtype])


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize(("rows", "heads", "width"), [(1, (2, 1), 16), (5, (3, 3), 32), (15, (6, 2), 64),
                                                      (3, (1, 1), 256)])
def test_heads_are_normed_and_rotated(rows: int, heads: tuple[int, int], width: int, dtype: torch.dtype) -> None:
    rotated(2, 15, rows, heads, width, dtype, LIMITS[dtype])


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 130))
def test_any_block(batch: int, frames: int, tokens: int, width: int) -> None:
    # one channel has no direction: its norm is 0 and so are its gradients, no error is small against that
    modulated((batch, frames, tokens, width + 1), torch.float32, 3e-6)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 20), st.integers(1, 2), st.integers(1, 3),
       st.sampled_from([16, 32, 64]))
def test_any_heads(batch: int, repeats: int, rows: int, kv_heads: int, groups: int, width: int) -> None:
    rotated(batch, repeats * rows, rows, (kv_heads * groups, kv_heads), width, torch.float32, 1e-6)


def test_slices_are_read_in_place() -> None:
    (x, y), _ = block(2, 3, 5, 40, torch.float32)
    condition = torch.randn(2, 3, 120)
    shift, scale, gate = condition.chunk(3, -1)
    inside, tokens = torch.cat([x, y], -1).split(40, -1)[0], torch.cat([x, y], 1)[:, 15:]
    for got, wanted in (
        (adaln_modulate(inside, shift, scale, 5), adaln_modulate_reference(x, shift, scale, 5)),
        (gated_residual(inside, tokens, gate, 5), gated_residual_reference(x, y, gate, 5)),
    ):
        assert relative_rms(got, wanted) < 1e-6
    y.requires_grad_()
    by_y, by_gate = torch.autograd.grad(gated_residual(x, y, gate.requires_grad_(), 5).sum(), (y, gate))
    assert torch.equal(by_y, gate.detach().repeat_interleave(5, 1))  # of a gradient without strides
    assert relative_rms(by_gate, y.detach().unflatten(1, (3, 5)).sum(2)) < 1e-6
    (qkv, gq, gk), (cos, sin) = projection(2, 10, 5, (2, 2), 16, torch.float32)
    longer = torch.cat([qkv, qkv], -1)[..., : qkv.shape[-1]].requires_grad_()
    got = qk_norm_rope(longer, gq, gk, cos, sin, heads=2)
    wanted = qk_norm_rope_reference(qkv.requires_grad_(), gq, gk, cos, sin, heads=2)
    assert all(relative_rms(a, b) < 1e-6 for a, b in zip(got, wanted, strict=True))
    grads = [torch.randn(2, 2, 10, 16).transpose(1, 2) for _ in range(3)]  # as attention gives them
    assert relative_rms(torch.autograd.grad(got, longer, grads)[0], torch.autograd.grad(wanted, qkv, grads)[0]) < 1e-6


def test_sums_over_frames_are_the_same_every_time() -> None:
    (x, _), (shift, scale) = block(2, 2, 24, 100, torch.float32)
    gains = [x.requires_grad_(), shift.requires_grad_(), scale.requires_grad_()]
    once, again = (torch.autograd.grad(adaln_modulate(*gains, 24).square().sum(), gains) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_bfloat16_comes_and_goes() -> None:
    modulated((1, 2, 5, 40), torch.bfloat16, 8e-3)
    rotated(1, 10, 5, (2, 1), 16, torch.bfloat16, 8e-3)
    (x, _), (shift, scale) = block(1, 2, 5, 40, torch.bfloat16)
    assert adaln_modulate(x, shift, scale, 5).dtype == torch.bfloat16
    assert adaln_modulate(x.float(), shift, scale, 5).dtype == torch.float32


def test_no_tokens_are_nothing_to_do() -> None:
    x, by_frame = torch.zeros(0, 10, 16), torch.zeros(0, 2, 16)
    assert adaln_modulate(x, by_frame, by_frame, 5).shape == x.shape
    assert gated_residual(x, x, by_frame, 5).shape == x.shape


def test_a_width_without_a_tile_is_refused_when_triton_is_demanded() -> None:
    (qkv, gq, gk), (cos, sin) = projection(1, 4, 4, (1, 1), 24, torch.float32)
    with pytest.raises(ValueError, match="head width 24"):
        qk_norm_rope(qkv, gq, gk, cos, sin, heads=1)
