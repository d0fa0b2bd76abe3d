"""What a training step learns from, and what it must not learn from."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from recorders import open_recording
from tests.test_world_model_train import config
from world_model import Actions, WorldModel
from world_model.clips import ClipSource
from world_model.levels import LevelConfig
from world_model.losses import outcome_loss
from world_model.train import fit_to_recording, train
from world_model.train_config import TrainConfig
from world_model.trainer import Trainer
from world_model.trainer_config import TrainerConfig


def trainer(settings: TrainConfig) -> Trainer:
    recording = open_recording(settings.data)
    fit_to_recording(settings.model, recording)
    source = ClipSource(recording, recording.episodes, settings.model.reward_values, Actions(3), progress=False)
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    return Trainer(WorldModel(settings.model), source, settings.sampler, settings.trainer, Path(settings.out))


def logged(settings: TrainConfig) -> list[dict[str, float]]:
    train(settings)
    return [json.loads(line) for line in (Path(settings.out) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_undecided_frame_holds_what_was_expected(data: Path, tmp_path: Path, share: float) -> None:
    run = trainer(config(data, tmp_path, ghost_share=0.0, undecided_share=share))
    x = torch.randn(4, 6, 8, 12, 3)
    expected, noise = torch.randn(2, 4, 5, 8, 12, 3)
    generator = torch.Generator().manual_seed(0)
    clean = run.objective._noisy(x, expected, noise, torch.zeros(4, 5), generator)
    assert clean.equal(expected if share else x[:, 1:])
    assert run.objective._noisy(x, expected, noise, torch.ones(4, 5), generator).allclose(noise, atol=1e-6)


def test_nothing_is_learned_from_a_past_gone_astray(data: Path, tmp_path: Path) -> None:
    losses = {}
    for limit in (-1.0, 0.0, 1e9):  # all of it, what was drawn, nothing
        settings = config(data, tmp_path / str(limit), precision="fp32", steps=3, own_after=0.0, own_share=1.0,
                          free_share=0.0, astray=limit, moments=0)
        settings.trainer.levels.prefix = settings.trainer.levels.ad = 0.0
        settings.trainer.levels.fopp = settings.trainer.levels.independent = 0.0
        losses[limit] = logged(settings)[0]
    assert 0.25 < losses[0.0]["astray"] <= 0.75 and losses[1e9]["astray"] == 0  # the first of four frames is real
    assert losses[-1.0]["astray"] == 1 and losses[-1.0]["outcome"] == losses[-1.0]["picture"] == 0
    assert losses[1e9]["outcome"] > 0 and losses[0.0]["picture"] != losses[1e9]["picture"]


def test_no_frames_have_no_outcome_and_others_their_mean() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    ends, rewards, terminated = torch.randn(5), torch.tensor([0, 1, 2, 1, 0]), torch.tensor([0.0, 1, 0, 0, 1])
    single = [outcome_loss(logits[i : i + 1], ends[i : i + 1], rewards[i : i + 1], terminated[i : i + 1])
              for i in range(5)]
    assert torch.isclose(outcome_loss(logits, ends, rewards, terminated), torch.stack(single).mean())
    nothing = outcome_loss(logits[:0], ends[:0], rewards[:0], terminated[:0])
    nothing.backward()
    assert nothing == 0 and logits.grad is not None and not logits.grad.any()


def test_pairing_and_undecided_frames_reach_the_loss(data: Path, tmp_path: Path) -> None:
    def loss(name: str, **changes: float) -> float:
        run = trainer(config(data, tmp_path / name, precision="fp32", ghost_share=0.0, **changes))
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in run.model.parameters():  # new ones do not look at the noisy frame
                parameter.copy_(torch.randn_like(parameter) * 0.1)
        moments = run.source.moments(0, 64, run.objective.moment_frames)
        return float(run.objective._nearby_loss(torch.Generator().manual_seed(0), moments, 0).detach())

    plain = loss("plain", noise_draws=1, undecided_share=0.0)
    assert loss("again", noise_draws=1, undecided_share=0.0) == plain
    assert loss("paired", noise_draws=64, undecided_share=0.0) != plain
    assert loss("undecided", noise_draws=1, undecided_share=1.0) != plain
    with pytest.raises(ValueError, match="noise_draws must be at least 1, got 0"):
        TrainerConfig(noise_draws=0)


def test_a_chained_pass_goes_on_from_what_the_one_before_estimated(data: Path, tmp_path: Path) -> None:
    run = trainer(config(data, tmp_path, precision="fp32", own_share=0.0, chain=3, chain_share=1.0))
    objective, seen = run.objective, []
    whole_pass = objective._teacher_pass

    def watched(clips, x, past, *rest):  # type: ignore[no-untyped-def]
        record, estimate = whole_pass(clips, x, past, *rest)
        seen.append((clips, x, past, record["loss"], estimate))
        return record, estimate

    objective._teacher_pass = watched  # type: ignore[method-assign]
    clips = run.source.batch(0, 4, 5)
    x = run.model.scaler.encode(clips.frames)
    generator = torch.Generator().manual_seed(0)
    record = objective._teacher_losses(clips, x, torch.ones(4, 4), torch.randn(4, 4, 8, 12, 3), generator, 0)
    assert [len(part[0].rows[0]) for part in seen] == [5, 4, 3]
    for (_, frames, _, _, estimate), (clips_after, after, past, _, _) in pairwise(seen):
        assert after.equal(frames[:, 1:]) and (clips_after.rows == clips.rows[:, -after.shape[1]:]).all()
        scaler = run.model.scaler
        assert past.equal(scaler.encode(scaler.decode(estimate[:, :-1].detach()))) and not past.requires_grad
    assert torch.isclose(record["loss"], torch.stack([part[3] for part in seen]).mean())
    with pytest.raises(ValueError, match="chain must be at least 1, got 0"):
        TrainerConfig(chain=0)


def test_what_is_expected_is_drawn_only_where_it_is_used(data: Path, tmp_path: Path) -> None:
    run = trainer(config(data, tmp_path, precision="fp32", noise_draws=1, undecided_share=0.0, own_share=0.0))
    run.objective._expected = lambda *_: pytest.fail("drawn")  # type: ignore[method-assign, assignment]
    assert run.train_step()["loss"] > 0
    half = trainer(config(data, tmp_path / "half", expect_share=0.5)).objective
    assert 60 < sum(half._expects(step) for step in range(200)) < 140


def test_rewards_are_learned_from_clean_frames_of_every_mixture(data: Path, tmp_path: Path) -> None:
    settings = config(data, tmp_path, precision="fp32", moments=0)
    settings.trainer.levels = LevelConfig(teacher=0.0, prefix=1.0, ad=0.0, fopp=0.0, independent=0.0)
    run = trainer(settings)
    assert run.train_step()["outcome"] > 0
    head = run.model.outcome.reward.weight.detach().clone()
    run.train_step()
    assert not head.equal(run.model.outcome.reward.weight)
    settings.trainer.levels = LevelConfig(teacher=0.0, prefix=0.0, ad=0.0, fopp=0.0, independent=1.0)
    settings.out = str(tmp_path / "noisy")
    assert trainer(settings).train_step()["outcome"] == 0  # nothing is committed at a level above 0
