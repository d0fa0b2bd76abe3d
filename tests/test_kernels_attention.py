"""Attention over frames: fast paths against their definitions, gradients included, in float64 and float32."""

import pytest
import torch
from torch import Tensor

from kernels import (
    apply_rope,
    apply_rope_reference,
    axial_angles,
    cached_attention,
    frame_attention,
    frame_attention_reference,
    frame_mask,
    rotation_tables,
    teacher_attention,
    teacher_attention_reference,
    teacher_mask,
)

SIZES = [(1, 1, 1, 1, 2), (2, 5, 3, 2, 4), (1, 4, 7, 1, 8)]


def random_qkv(batch: int, frames: int, tokens: int, heads: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(frames * 31 + tokens)
    return [torch.randn(batch, frames, tokens, heads, width, generator=generator, dtype=torch.float64).requires_grad_()
            for _ in range(3)]


def relative_rms(x: Tensor, y: Tensor) -> float:
    x, y = x.detach(), y.detach()
    return float((x - y).square().mean().sqrt() / y.square().mean().sqrt().clamp(min=1e-12))


def brute_force_sees(f: int, g: int, window: int, sinks: int) -> bool:
    return g <= f and (f - g < window or g < sinks)


@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (2, 0), (3, 1), (9, 2)])
def test_frame_mask_is_its_definition(window: int, sinks: int) -> None:
    mask = frame_mask(6, window, sinks)
    for f in range(6):
        for g in range(6):
            assert bool(mask[f, g]) == brute_force_sees(f, g, window, sinks)


@pytest.mark.parametrize(("window", "sinks"), [(2, 0), (3, 1), (9, 2)])
def test_teacher_mask_is_its_definition(window: int, sinks: int) -> None:
    frames, mask = 5, teacher_mask(5, window, sinks)
    for row in range(2 * frames):
        for col in range(2 * frames):
            if row < frames:
                expected = col < frames and brute_force_sees(row, col, window, sinks)
            elif col < frames:
                noisy = row - frames + 1
                expected = col < noisy and brute_force_sees(noisy, col, window, sinks)
            else:
                expected = row == col
            assert bool(mask[row, col]) == expected, (row, col)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (2, 0), (3, 1), (9, 0)])
def test_frame_attention_equals_its_reference(size: tuple[int, ...], window: int, sinks: int) -> None:
    compare(frame_attention, frame_attention_reference, random_qkv(*size), window, sinks)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (2, 0), (3, 1), (9, 0)])
def test_teacher_attention_equals_its_reference(size: tuple[int, ...], window: int, sinks: int) -> None:
    batch, frames, *rest = size
    compare(teacher_attention, teacher_attention_reference, random_qkv(batch, 2 * frames, *rest), window, sinks)


def compare(fast, reference, inputs: list[Tensor], window: int, sinks: int) -> None:  # type: ignore[no-untyped-def]
    expected = reference(*inputs, window=window, sinks=sinks)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = torch.autograd.grad((expected * weight).sum(), inputs)
    singles = [x.detach().float().requires_grad_() for x in inputs]
    out = fast(*singles, window=window, sinks=sinks)
    assert relative_rms(out.double(), expected) < 1e-6
    for got, wanted in zip(torch.autograd.grad((out * weight.float()).sum(), singles), gradients, strict=True):
        assert relative_rms(got.double(), wanted) < 2e-6


@pytest.mark.parametrize("window", [1, 3])
def test_bfloat16_stays_within_its_rounding(window: int) -> None:
    inputs = [x.detach() for x in random_qkv(2, 5, 8, 2, 16)]
    rounded = [x.bfloat16() for x in inputs]
    out = frame_attention(*rounded, window=window)
    assert out.dtype == torch.bfloat16
    assert relative_rms(out.double(), frame_attention_reference(*[x.double() for x in rounded], window=window)) < 1e-2


@pytest.mark.parametrize("committed", [0, 1, 3])
def test_cached_attention_equals_whole_clip_attention(committed: int) -> None:
    q, k, v = (x.detach() for x in random_qkv(2, 5, 3, 2, 4))
    whole = frame_attention_reference(q, k, v, window=5)
    past = [x[:, :committed].flatten(1, 2) for x in (k, v)]
    shuffled = torch.randperm(past[0].shape[1], generator=torch.Generator().manual_seed(0))
    flight = [x[:, committed:] for x in (q, k, v)]
    out = cached_attention(*flight, past[0][:, shuffled], past[1][:, shuffled])
    assert relative_rms(out.double(), whole[:, committed:]) < 1e-6


def test_rotation_depends_on_differences_only() -> None:
    q, k = (torch.randn(3, 16, dtype=torch.float64) for _ in range(2))

    def product(shift: float) -> Tensor:
        places = torch.tensor([[0.0, 1, 2], [3, 0, 1], [5, 2, 2]])
        angles = axial_angles(places + shift, [2, 3, 3]).double()
        rotated = [apply_rope(x, *rotation_tables(angles)) for x in (q, k)]
        assert torch.allclose(rotated[0], apply_rope_reference(q, angles), atol=1e-12)
        return rotated[0] @ rotated[1].T

    assert torch.allclose(product(0.0), product(7.0), atol=1e-5)
    assert not torch.allclose(product(0.0), q @ k.T, atol=1e-3)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    x = torch.zeros(1, 2, 3, 1, 4)
    with pytest.raises(ValueError, match="got \\[1, 2, 3, 1, 4\\], \\[1, 2, 4, 1, 4\\]"):
        frame_attention(x, torch.zeros(1, 2, 4, 1, 4), torch.zeros(1, 2, 4, 1, 4), window=2)
    with pytest.raises(ValueError, match="window must be at least 1"):
        frame_attention(x, x, x, window=0)
    with pytest.raises(ValueError, match="clean and noisy frames in equal number, got 3"):
        teacher_attention(*[torch.zeros(1, 3, 3, 1, 4)] * 3, window=2)
    with pytest.raises(ValueError, match="must end in 3 axes"):
        axial_angles(torch.zeros(4, 2), [1, 1, 1])
