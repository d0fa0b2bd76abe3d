"""Clips: what they hold, where they come from, and that hard frames and ends of episodes come up."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recorders import open_recording
from world_model import Actions
from world_model.clips import ClipSource
from world_model.difficulty import Difficulty
from world_model.heldout import split


def source(data: Path, **shares: float) -> ClipSource:
    recording = open_recording(data)
    return ClipSource(recording, recording.episodes, [-1.0, 0.0, 1.0], Actions(3), progress=False, **shares)  # type: ignore[arg-type]


def test_clips_align_actions_and_rewards_with_the_frames_they_lead_to(data: Path) -> None:
    clips = source(data, event_share=0.5).batch(step=0, size=32, frames=6)
    arrays = (x.numpy() for x in (clips.frames, clips.actions, clips.rewards))
    for frames, actions, rewards in zip(*arrays, strict=True):
        places = [int(np.argmax(frame[3, :, 0] > 100)) for frame in frames]
        for i in range(1, 6):
            expected = int(np.clip(places[i - 1] + (0, -2, 2, 0)[actions[i]], 0, 10))
            assert places[i] == expected
            moved = places[i] != places[i - 1]
            assert rewards[i] - 1 == (moved and places[i] == 10) - (moved and places[i] == 0)


def test_a_step_number_and_what_was_hard_decide_a_batch(data: Path) -> None:
    clips = source(data, hard_share=0.5)
    first = clips.batch(step=0, size=32, frames=6)
    assert torch.equal(first.frames, clips.batch(step=0, size=32, frames=6).frames)
    assert not torch.equal(first.frames, clips.batch(step=1, size=32, frames=6).frames)
    other = source(data, hard_share=0.5)
    for each in (clips, other):
        each.difficulty.remember(np.array([17, 60]), np.array([0.1, 0.2], np.float32))
    assert np.array_equal(clips.batch(1, 32, 6).rows, other.batch(1, 32, 6).rows)


def test_clips_never_cross_episodes_and_repeat_at_most_the_last_frame(data: Path) -> None:
    clips = source(data, event_share=0.5, hard_share=0.2)
    clips.difficulty.remember(np.arange(0, 246, 40), np.ones(7, np.float32))
    batch = clips.batch(0, 400, 5)
    steps = np.diff(batch.rows, axis=1)
    assert set(np.unique(steps)) == {0, 1} and (steps[:, :-1] == 1).all()
    episode = np.searchsorted(clips.starts, batch.rows, side="right")
    assert (episode == episode[:, :1]).all()
    behind = steps[:, -1] == 0
    assert behind.any() and (batch.rows[behind, -1] == clips.stops[episode[behind, 0] - 1] - 1).all()
    assert (batch.actions.numpy()[behind, -1] == 3).all()
    assert (batch.rewards.numpy()[behind, -1] == 1).all() and (batch.terminated.numpy()[behind, -1] == 0).all()
    with pytest.raises(ValueError, match="no episode of this recording holds 99 frames"):
        clips.batch(0, 1, 99)


def test_every_kind_of_event_comes_up_alike(data: Path) -> None:
    recording = open_recording(data)
    training, heldout = split(recording.episodes, 0.2)
    assert len(training) == 5 and len(heldout) == 1
    clips = ClipSource(recording, training, [-1.0, 0.0, 1.0], Actions(3), event_share=1.0, progress=False)
    batch = clips.batch(0, 600, 5)
    assert batch.rows.max() < training[-1].stop
    has = [(batch.rewards == 0).any(1), (batch.rewards == 2).any(1), (batch.terminated > 0).any(1)]
    assert torch.stack(has).any(0).all()
    assert min(float(x.float().mean()) for x in has) > 0.28
    past = batch.terminated[:, 1:-1] > 0  # where a world is asked whether the episode is over
    assert float(past.any(1).float().mean()) > 0.28


def test_frames_that_were_drawn_badly_come_up_often_and_late_in_clips(data: Path) -> None:
    clips = source(data, event_share=0.0, hard_share=1.0)
    rows = np.arange(246)
    clips.difficulty.remember(rows, np.full(246, 1e-4, np.float32))
    hard = np.array([30, 71, 100, 150])
    clips.difficulty.remember(hard, np.full(4, 10.0, np.float32))
    drawn = clips.batch(0, 300, 6).rows
    contains = np.isin(drawn, hard)
    assert contains.any(1).mean() > 0.9
    places = np.argwhere(contains)[:, 1]
    assert (places == 5).mean() > 0.25 and (places < 2).mean() < 0.15
    clips.difficulty.remember(rows, np.full(246, 1e-4, np.float32))
    assert np.isin(clips.batch(0, 300, 6).rows, hard).any(1).mean() < 0.3


def test_moments_end_at_frames_that_the_decoder_alone_drew_badly_or_anywhere(data: Path) -> None:
    clips = source(data)
    assert len(np.unique(clips.moments(0, 200, 4).rows[:, -1])) > 80
    clips.nearby.remember(np.array([30, 71]), np.ones(2, np.float32))
    last = clips.moments(0, 200, 4).rows[:, -1]
    hard = np.isin(last, [30, 71])
    assert 0.45 < hard.mean() < 0.6 and len(np.unique(last[~hard])) > 60
    assert not np.isin(clips.batch(0, 200, 4).rows[:, -1], [30, 71]).mean() > 0.1


def test_the_worse_a_frame_was_drawn_the_oftener_it_comes_again() -> None:
    known = Difficulty(5, power=2.0)
    assert len(known.draw(np.random.default_rng(0), 3)) == 0
    known.remember(np.array([1, 4]), np.array([1.0, 3.0], np.float32))
    rows = known.draw(np.random.default_rng(0), 5000)
    assert set(rows) == {1, 4} and abs((rows == 4).mean() - 0.9) < 0.02
