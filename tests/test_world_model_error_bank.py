"""The bank of errors: what it keeps, what it gives back, and that a run with it can be resumed."""

from pathlib import Path

import pytest
import torch

from tests.test_world_model_train import config, weights
from tests.test_world_model_trainer import trainer
from world_model.error_bank import ErrorBank, ErrorBankConfig
from world_model.train import train


def bank(**changes: float) -> ErrorBank:
    return ErrorBank(ErrorBankConfig(**({"size": 4, "bins": 2, "stored": 100, "spread": 0.0} | changes)), 2, 2)  # type: ignore[arg-type]


def remember(kept: ErrorBank, errors: torch.Tensor, times: torch.Tensor, decides: torch.Generator) -> None:
    kept.note(errors, times, decides)
    kept.keep(kept.noted())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_errors_are_kept_by_level_and_come_back_at_their_own() -> None:
    kept = bank(frame=1.0)
    errors = torch.stack([torch.full((2, 2, 3), 1.0), torch.full((2, 2, 3), 2.0), torch.full((2, 2, 3), 9.0)])[None]
    remember(kept, errors, torch.tensor([[0.2, 0.9, 0.0]]), generator())
    assert kept.kept.tolist() == [1, 1]  # a clean frame has no error of its own
    back = kept.disturb_frames(torch.zeros(1, 2, 2, 2, 3), torch.tensor([[0.4, 0.6]]), generator())
    assert back[0, 0].eq(1).all() and back[0, 1].eq(2).all()


def test_a_full_bin_replaces_and_an_empty_one_gives_nothing() -> None:
    kept = bank(frame=1.0, past=1.0)
    for value in range(20):
        remember(kept, torch.full((1, 1, 2, 2, 3), float(value)), torch.tensor([[0.9]]), generator(value))
    assert kept.kept.tolist() == [0, 20] and len(kept.errors[1].unique()) == 4 and kept.errors[1].max() > 3
    assert kept.disturb_frames(torch.zeros(1, 1, 2, 2, 3), torch.tensor([[0.1]]), generator()).eq(0).all()
    past = kept.disturb_past(torch.zeros(1, 200, 2, 2, 3), generator())
    assert 0.3 < past.ne(0).float().mean() < 0.7  # of any bin, and one of two is empty


def test_shares_are_kept_and_noise_takes_what_a_wrong_estimate_implies() -> None:
    kept = bank(frame=0.25, noise=1.0)
    remember(kept, torch.ones(1, 1, 2, 2, 3), torch.tensor([[0.5]]), generator())
    times = torch.full((1, 1000), 0.8)
    share = kept.disturb_frames(torch.zeros(1, 1000, 2, 2, 3), times, generator()).ne(0).float().mean()
    assert 0.2 < share < 0.3
    noise = torch.randn(1, 1, 2, 2, 3)
    t, clean = 0.8, torch.randn(1, 1, 2, 2, 3)
    x = torch.lerp(clean, noise, t)
    implied = (x - (1 - t) * (clean + 1)) / t  # noise if the estimate were wrong by 1
    assert torch.allclose(kept.disturb_noise(noise, torch.tensor([[t]]), generator()), implied, atol=1e-5)


def test_a_bank_reaches_the_loss_and_is_resumed(data: Path, tmp_path: Path) -> None:
    def run(out: Path, steps: int) -> dict[str, torch.Tensor]:
        bank = ErrorBankConfig(size=3, bins=2, clean=0.0)
        settings = config(data, out, precision="fp32", steps=steps, own_after=0.0, errors=bank)
        settings.trainer.optimizer.decay = 0.0
        train(settings)
        return weights(out)

    run(tmp_path / "parts", 4)
    parts, whole = run(tmp_path / "parts", 8), run(tmp_path / "whole", 8)
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())
    settings = config(data, tmp_path / "none", precision="fp32", own_after=0.0)
    settings.trainer.optimizer.decay = 0.0
    train(settings)
    assert not torch.equal(weights(tmp_path / "none")["tokenizer.place"], whole["tokenizer.place"])


def test_the_bank_fills_while_training(data: Path, tmp_path: Path) -> None:
    run = trainer(config(data, tmp_path, precision="fp32", errors=ErrorBankConfig(size=64, stored=5)))
    for _ in range(3):
        run.train_step()
    assert run.objective.bank is not None and 5 <= int(run.objective.bank.kept.sum()) <= 15


def test_parts_of_a_step_see_the_same_bank_whoever_takes_them(data: Path, tmp_path: Path) -> None:
    run = trainer(config(data, tmp_path, precision="fp32", accumulate=2, moments=0,
                         errors=ErrorBankConfig(size=64, stored=5)))
    run.objective.levels.weights = torch.tensor([1.0, 0, 0, 0, 0]).double()  # teacher-forced
    run._learn(last=False)
    assert run.objective.bank is not None and int(run.objective.bank.kept.sum()) == 0
    other = trainer(config(data, tmp_path / "other", precision="fp32", errors=ErrorBankConfig(size=64, stored=5)))
    noted = run.objective.noted()
    for objective in (run.objective, other.objective):  # as two processes do
        objective.learned(noted)
    assert int(run.objective.bank.kept.sum()) == 5 and not run.objective.noted()
    assert all(a.equal(other.objective.memory()[name]) for name, a in run.objective.memory().items())


def test_a_run_goes_on_with_a_bank_of_another_size(data: Path, tmp_path: Path) -> None:
    run = trainer(config(data, tmp_path, errors=ErrorBankConfig(size=3)))
    run.objective.learned([(0, 0, torch.ones(8, 12, 3).half())])
    run.train_step()
    run.save()
    kept = [trainer(config(data, tmp_path, errors=ErrorBankConfig(size=size))).objective.memory()["kept"].sum()
            for size in (3, 4)]
    assert kept[0] >= 1 and kept[1] == 0


@pytest.mark.parametrize(("wrong", "said"), [({"size": -1}, "size >= 0"), ({"past": 1.5}, "past must be from 0 to 1")])
def test_settings_that_cannot_be_are_named(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ErrorBankConfig(**wrong)  # type: ignore[arg-type]
