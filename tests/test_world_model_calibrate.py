"""A calibrated world gives as many rewards as its recording has, and draws what it drew."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recorders import open_recording
from tests.test_world_model_train import config
from world_model import load_world, save_world
from world_model.calibrate import CalibrateConfig, calibrate, margins_of, shift_for, situations
from world_model.train import train


@pytest.fixture(scope="module")
def world(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = train(config(data, tmp_path_factory.mktemp("uncalibrated"), steps=3))
    one = load_world(folder)
    torch.manual_seed(0)
    with torch.no_grad():  # so few steps leave the head at zero
        one.model.outcome.reward.weight.normal_(std=2.0)
    save_world(folder, one.model, one.sampler, one.card, one.contexts)
    return folder


def settings(world: Path, data: Path, out: Path, **changes: object) -> CalibrateConfig:
    return CalibrateConfig(**{"world": str(world), "data": str(data), "out": str(out), "starts": 30, "horizon": 3,
                              "batch": 10} | changes)  # type: ignore[arg-type]


def test_the_shift_leaves_as_many_as_are_wanted() -> None:
    margins = np.array([[3.0, -1.0, 0.5], [2.0, -4.0, -0.25]], np.float32)
    for wanted in (1, 2, 3, 4, 5):
        assert (margins > shift_for(margins, wanted)).sum() == wanted
    assert shift_for(margins, 2) == 1.25


def test_rewards_become_as_frequent_as_recorded_and_pictures_stay(world: Path, data: Path, tmp_path: Path) -> None:
    how = settings(world, data, tmp_path / "out")
    shift = calibrate(how)
    before, after = load_world(world), load_world(how.out)
    note = after.card["calibrated"]
    assert note["from"] == before.hash != after.hash and note["shift"] == shift and note["steps"] == 90
    nothing = after.model.config.reward_values.index(0.0)
    changed = [name for (name, p), q in zip(before.model.named_parameters(), after.model.parameters(), strict=True)
               if not np.array_equal(p.detach().float().numpy(), q.detach().float().numpy())]
    assert changed == ["outcome.reward.bias"]
    moved = (after.model.outcome.reward.bias - before.model.outcome.reward.bias).detach().float().numpy()
    assert np.flatnonzero(moved).tolist() == [nothing] and moved[nothing] == pytest.approx(shift, rel=0.02, abs=0.02)

    recording = open_recording(data)
    held = after.card["data"]["heldout"]
    starts = situations(recording, [e for e in recording.episodes if e.id not in held], after, how)
    real = sum(int(np.count_nonzero(start.rewards)) for start in starts)
    given = [int((margins_of(w, starts, nothing, 10) > 0).sum()) for w in (before, after)]
    assert note["rewards"] == real and note["drawn"] == given[0] and abs(given[0] - real) > 3
    assert abs(given[1] - real) <= 1  # the bias is rounded to bfloat16
    states = [w.start(w.contexts.frames[0], w.contexts.actions[0], 5) for w in (before, after)]
    for action in (0, 1, 0):
        one, other = (w.step(state, action)[0] for w, state in zip((before, after), states, strict=True))
        assert (one == other).all()


def test_situations_are_the_recordings(world: Path, data: Path, tmp_path: Path) -> None:
    recording, loaded = open_recording(data), load_world(world)
    how = settings(world, data, tmp_path)
    start = situations(recording, recording.episodes[:1], loaded, how)[0]
    clip = recording.read(0)
    frames = np.concatenate([start.frames, start.real_frames])
    at = next(i for i in range(len(clip)) if (clip.observations[i : i + len(frames)] == frames).all())
    actions = np.concatenate([start.past_actions, start.actions])
    assert (clip.actions[at : at + len(actions)] == actions).all() and len(frames) == len(actions) + 1
    assert (start.rewards == clip.rewards[at + len(start.past_actions) :][:3]).all()


def test_what_cannot_be_calibrated_is_named(world: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no episode that was trained on has \d+ steps; pass a smaller horizon"):
        calibrate(settings(world, data, tmp_path, horizon=5000))
