"""Multistep consistency distillation: its path, its targets, and that a student comes to do what its teacher does."""

from pathlib import Path

import pytest
import torch

from recorders import open_recording
from tests.test_world_model_train import config
from world_model import Actions, WorldModel
from world_model.clips import ClipSource
from world_model.distillation import Distillation, DistillationConfig, GridLevels, leads_to, move
from world_model.sampler import SamplerConfig, level_times
from world_model.train import fit_to_recording
from world_model.trainer import Trainer


def student(data: Path, out: Path, passes: int, grid: int, **changes: object) -> tuple[Trainer, Distillation]:
    settings = config(data, out, **({"precision": "fp32", "noise_draws": 1, "moments": 0, "ghost_share": 0.0,
                                     "context_noise": 0.0, "own_share": 0.0} | changes))
    settings.trainer.loss.motion = settings.trainer.loss.outcome = 0.0
    recording = open_recording(settings.data)
    fit_to_recording(settings.model, recording)
    source = ClipSource(recording, recording.episodes, settings.model.reward_values, Actions(3), progress=False)
    torch.manual_seed(0)
    model, teacher = WorldModel(settings.model), WorldModel(settings.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.05)
    teacher.load_state_dict(model.state_dict())
    served = SamplerConfig(steps=passes)
    objective = Distillation(model, source, served, settings.trainer, teacher, DistillationConfig(grid=grid))
    out.mkdir(parents=True, exist_ok=True)
    return Trainer(model, source, served, settings.trainer, out, objective=objective), objective


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_path_passes_through_the_levels_of_the_sampler(shift: float) -> None:
    served = SamplerConfig(steps=2, shift=shift)
    levels = GridLevels(DistillationConfig(grid=8), served)
    ends = level_times(served)
    assert len(levels.times_of) == 9 and torch.equal(levels.times_of[[0, 4, 8]], ends)
    assert (levels.times_of.diff() > 0).all()
    times = levels.times("teacher", 200, 20, torch.Generator().manual_seed(0))
    assert set(times.unique().tolist()) == set(levels.times_of[1:].tolist())
    assert 0.35 < (times == 1).float().mean() < 0.42  # 0.3 and an eighth of the rest
    lower, end = levels.below(times)
    assert (lower < times).all() and (end <= lower).all()
    assert set(end.unique().tolist()) == {0.0, float(ends[1])}


def test_moving_and_leading_to_are_inverse() -> None:
    x, clean = torch.randn(2, 3, 4, 4, 4, 3).double().unbind(0)
    start, stop = torch.full((3, 4), 0.75).double(), torch.full((3, 4), 0.5).double()
    assert torch.allclose(leads_to(move(x, clean, start, stop), x, start, stop), clean)
    eps = (x - 0.25 * clean) / 0.75
    assert torch.allclose(move(x, clean, start, stop), 0.5 * clean + 0.5 * eps)


def test_with_as_many_passes_as_teacher_steps_the_target_is_the_teacher(data: Path, tmp_path: Path) -> None:
    _, objective = student(data, tmp_path, passes=4, grid=4)
    x = torch.randn(2, 5, 8, 12, 3)
    times = objective.levels.times("teacher", 2, 4, torch.Generator().manual_seed(0))
    noisy, actions = torch.randn(2, 4, 8, 12, 3), torch.randint(3, (2, 5))
    taught = objective.teacher.forward_teacher(x[:, :-1], noisy, times, actions)[0]
    assert torch.allclose(objective._target(x, x[:, :-1], noisy, times, actions), taught, atol=1e-4)


def test_a_target_leads_to_where_teacher_and_student_end_in_turn(data: Path, tmp_path: Path) -> None:
    _, objective = student(data, tmp_path, passes=1, grid=2)
    x, noise, actions = torch.randn(2, 5, 8, 12, 3), torch.randn(2, 4, 8, 12, 3), torch.randint(3, (2, 5))
    pure, half = torch.ones(2, 4), torch.full((2, 4), 0.5)
    target = objective._target(x, x[:, :-1], noise, pure, actions)
    with torch.no_grad():
        taught = objective.teacher.forward_teacher(x[:, :-1], noise, pure, actions)[0]
        below = 0.5 * taught + 0.5 * noise
        assert torch.allclose(target, objective.model.forward_teacher(x[:, :-1], below, half, actions)[0], atol=1e-5)


def test_a_student_learns_its_teachers_two_steps_in_one(data: Path, tmp_path: Path) -> None:
    trainer, objective = student(data, tmp_path, passes=1, grid=2, steps=150)
    trainer.optimizer.rates = [0.003, 0.003]
    clips = objective.source.batch(1000, 8, 5)
    x, actions, noise = objective.model.scaler.encode(clips.frames), clips.actions, torch.randn(8, 4, 8, 12, 3)

    def apart() -> float:
        pure, half = torch.ones(8, 4), torch.full((8, 4), 0.5)
        with torch.no_grad():
            first = objective.teacher.forward_teacher(x[:, :-1], noise, pure, actions)[0]
            second = objective.teacher.forward_teacher(x[:, :-1], 0.5 * first + 0.5 * noise, half, actions)[0]
            return float((objective.model.forward_teacher(x[:, :-1], noise, pure, actions)[0] - second).square().mean())

    before = apart()
    trainer.run()
    assert apart() < 0.7 * before
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    assert "teacher" not in "".join(objective.state_dict())


def test_paths_that_cannot_be_cut_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="grid must be a multiple of the student's 3 passes, got 8"):
        student(data, tmp_path, passes=3, grid=8)
