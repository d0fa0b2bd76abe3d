"""Steps in parts, recomputed or compiled: the same gradients by other means."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_world_model_train import config
from tests.test_world_model_trainer import trainer
from world_model import WorldModelConfig
from world_model.model import WorldModel


def gradients(data: Path, out: Path, **changes: Any) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Record and gradients, before they are clipped, of a first step on weights that are not those of a new model."""
    run = trainer(config(data, out, **({"precision": "fp32", "own_after": 0.0, "own_share": 1.0} | changes)))
    generator, found = torch.Generator().manual_seed(0), {}
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    step = run.optimizer.step

    def spying(fraction: float) -> float:
        found.update({name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None})
        return step(fraction)

    run.optimizer.step = spying  # type: ignore[method-assign]
    return run.train_step(), found


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert torch.allclose(gradient, other[name], rtol=1e-3, atol=1e-5 * float(gradient.abs().max() + 1)), name


def test_recomputing_changes_neither_loss_nor_gradients(data: Path, tmp_path: Path) -> None:
    plain, expected = gradients(data, tmp_path / "a")
    again, found = gradients(data, tmp_path / "b", checkpointing=True)
    assert again["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert_close(expected, found)


def test_a_step_in_parts_has_the_mean_of_their_gradients(data: Path, tmp_path: Path) -> None:
    record, found = gradients(data, tmp_path / "a", accumulate=2)
    run = trainer(config(data, tmp_path / "b", precision="fp32", own_after=0.0, own_share=1.0, accumulate=2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    parts = [run.objective(run.loader.next())[0] for _ in range(2)]
    (sum(parts) / 2).backward()  # type: ignore[union-attr]
    assert_close({name: p.grad for name, p in run.model.named_parameters() if p.grad is not None}, found)
    assert record["loss"] + record["nearby"] == pytest.approx(float(sum(parts).detach()) / 2, rel=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns of itself while it compiles
def test_a_compiled_step_gives_the_same_gradients(data: Path, tmp_path: Path) -> None:
    plain, expected = gradients(data, tmp_path / "a", own_share=0.0, moments=0)
    again, found = gradients(data, tmp_path / "b", own_share=0.0, moments=0, compile=True)
    assert again["loss"] == pytest.approx(plain["loss"], rel=1e-3)
    assert_close(expected, found)


def test_recomputing_keeps_far_less_for_the_backward_pass() -> None:
    from benchmarks.sizes import kept_for_backward

    settings = WorldModelConfig(height=16, width=20, patch=[8, 10], channels=8, canvas=4, kinds=2, dim=32, layers=6,
                                heads=2, window=4)  # fmt: skip
    whole, less = (kept_for_backward(WorldModel(settings), 2, 4, checkpointing) for checkpointing in (False, True))
    assert less < 0.5 * whole
