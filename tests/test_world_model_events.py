"""Events: found where they are, every kind drawn alike, and said how often."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from recorders import ZarrRecorder, open_recording
from world_model import Actions
from world_model.clips import ClipSource
from world_model.events import event_table, event_weights, lives_lost
from world_model.heldout import note_split, split, split_for


@pytest.fixture
def mortal(tmp_path: Path) -> Path:
    """Three episodes of 30 steps with three lives; the last one goes with the episode."""
    path, rng = tmp_path / "mortal", np.random.default_rng(0)
    pictures, keys = gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8), gymnasium.spaces.Discrete(2)
    with ZarrRecorder(path, pictures, keys, extras={"lives": "int16"}, meta={"game": {"id": "Mortal"}}) as writer:
        for episode in range(3):
            writer.begin(seed=episode)
            for step in range(30):
                lives = 3 - (step >= 10) - (step >= 20) - (step == 29)
                picture = rng.integers(0, 256, (4, 4, 3), np.uint8)
                writer.add(picture, 0, float(step == 5), step == 29, False, lives=lives)
            writer.end(np.zeros((4, 4, 3), np.uint8))
    return path


def test_a_life_is_lost_in_the_frame_that_the_step_led_to(mortal: Path, data: Path) -> None:
    recording = open_recording(mortal)
    expected = [e.start + step + 1 for e in recording.episodes for step in (10, 20, 29)]
    assert np.flatnonzero(lives_lost(recording)).tolist() == expected
    assert not lives_lost(open_recording(data)).any()


def test_kinds_are_drawn_alike_and_as_often_as_reported(mortal: Path) -> None:
    recording = open_recording(mortal)
    source = ClipSource(recording, recording.episodes, [0.0, 1.0], Actions(2), event_share=0.6, progress=False)
    weights = {w.name: w for w in event_weights(source.events, recording.episodes, 3, 0.6)}
    assert [(w.name, w.count) for w in weights.values()] == [("reward 1", 3), ("life lost", 9), ("end", 3)]
    assert weights["reward 1"].weight == pytest.approx(0.4 + 0.2 * 93 / 9)
    assert weights["life lost"].weight == pytest.approx(0.4 + 0.2 * 93 / 27)
    clips = source.batch(0, 3000, 3)
    shown = {"reward 1": (clips.rewards == 1).sum().item() / 3000,
             "end": (clips.terminated > 0).sum().item() / 3000}
    assert shown["reward 1"] == pytest.approx(weights["reward 1"].drawn_per_clip, rel=0.1)
    assert shown["end"] > weights["end"].drawn_per_clip  # an end is a life lost as well
    table = event_table(list(weights.values())).splitlines()
    assert table[0].split() == ["event", "count", "in", "a", "clip", "drawn", "times"] and len(table) == 4


def test_a_recording_without_events_is_drawn_from_anywhere(mortal: Path) -> None:
    recording = open_recording(mortal)
    source = ClipSource(recording, recording.episodes, [0.0], Actions(2), event_share=1.0, progress=False)
    source.events = []
    assert len(np.unique(source.batch(0, 200, 3).rows)) > 80
    assert event_weights([], recording.episodes, 3, 0.5) == []


def test_held_out_episodes_stay_held_out_and_are_never_drawn(data: Path, tmp_path: Path) -> None:
    episodes = open_recording(data).episodes
    training, heldout = split_for(tmp_path, episodes[:4], 0.25)
    assert [e.id for e in heldout] == [episodes[3].id] and len(training) == 3
    note_split(tmp_path, training, heldout)
    assert json.loads((tmp_path / "split.json").read_text())["heldout"] == [episodes[3].id]
    training, heldout = split_for(tmp_path, episodes, 0.5)  # two episodes have been recorded since
    assert [e.id for e in heldout] == [episodes[3].id] and len(training) == 5
    source = ClipSource(open_recording(data), training, [-1.0, 0.0, 1.0], Actions(3), event_share=0.3, hard_share=0.3,
                        progress=False)
    source.difficulty.remember(slice(None), np.ones(246, np.float32))
    source.nearby.remember(slice(None), np.ones(246, np.float32))
    drawn = np.concatenate([source.batch(0, 500, 4).rows.ravel(), source.moments(0, 500, 4).rows.ravel()])
    assert not ((drawn >= heldout[0].start) & (drawn < heldout[0].stop)).any()
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(ValueError, match=r"split\.json does not say which episodes are held out"):
        split_for(tmp_path, episodes, 0.5)
    with pytest.raises(ValueError, match=r"no episode of .* is left to train on"):
        ClipSource(open_recording(data), [], [0.0], Actions(3), progress=False)
    assert split(episodes, 0.0) == (episodes, []) and split(episodes[:1], 0.9) == (episodes[:1], [])
