import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from recorders import Episode, RecordingError, RolloutWriter, open_recording

ROOT = Path(__file__).resolve().parent.parent
SHAPE = (6, 5, 3)


def observations(episode, count):
    """Frames that name their episode and place."""
    rng = np.random.default_rng([episode, 7])
    return rng.integers(0, 256, (count, *SHAPE), np.uint8)


def write_episode(writer, episode, steps, **begin):
    frames = observations(episode, steps + 1)
    writer.begin(seed=episode, **begin)
    for t in range(steps):
        writer.add(frames[t], t % 5, float(t), t == steps - 1, False, actor=episode % 3)
    return writer.end(frames[steps])


def record(path, lengths, **options):
    with RolloutWriter(path, SHAPE, extras={"actor": "uint8"}, **options) as writer:
        for episode, steps in enumerate(lengths):
            write_episode(writer, episode, steps)
    return writer.segment


def assert_episode(recording, episode, number):
    steps = episode.steps
    rows = slice(episode.start, episode.stop - 1)
    assert episode.seed == number
    assert (recording.frames(episode.start, episode.stop) == observations(number, steps + 1)).all()
    assert (recording.actions[rows] == np.arange(steps) % 5).all()
    assert (recording.rewards[rows] == np.arange(steps)).all()


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(0, 90), min_size=1, max_size=5))
def test_what_was_written_is_read_back_exactly(tmp_path_factory, lengths):
    path = tmp_path_factory.mktemp("recording")
    record(path, lengths)
    recording = open_recording(path)
    assert [episode.steps for episode in recording.episodes] == lengths
    assert len(recording) == sum(lengths) + len(lengths)
    assert (recording.load_frames(progress=False) == recording.frames(0, len(recording))).all()
    for number, episode in enumerate(recording.episodes):
        assert_episode(recording, episode, number)
        assert episode.return_ == sum(range(episode.steps))
        assert recording.terminated[episode.start : episode.stop].sum() == min(episode.steps, 1)
        assert (recording.actors[episode.start : episode.stop - 1] == number % 3).all()


def test_small_fields_longer_than_a_chunk_are_whole(tmp_path):
    record(tmp_path, [2500, 700])
    recording = open_recording(tmp_path)
    for number, episode in enumerate(recording.episodes):
        assert_episode(recording, episode, number)


def test_any_zarr_reader_sees_the_same(tmp_path):
    segment = record(tmp_path, [40, 3], meta={"behaviours": ["a", "b", "c"]})
    recording, group = open_recording(tmp_path), zarr.open_group(str(segment / "data.zarr"), mode="r")
    assert group.attrs["format"] == "foreframe-recording"
    assert group.attrs["behaviours"] == recording.meta["behaviours"] == ["a", "b", "c"]
    assert (group["frames"][:45] == recording.frames(0, 45)).all()
    assert (group["terminated"][:45] == recording.terminated).all()
    assert (group["actor"][:45] == recording.extra("actor")).all()


def test_rows_of_several_segments_follow_each_other(tmp_path):
    record(tmp_path, [10, 40])
    record(tmp_path, [7])
    recording = open_recording(tmp_path)
    assert [(episode.start, episode.stop) for episode in recording.episodes] == [(0, 11), (11, 52), (52, 60)]
    assert_episode(recording, recording.episodes[1], 1)
    assert_episode(recording, recording.episodes[2], 0)
    whole = recording.load_frames(progress=False)
    assert (recording.frames(5, 55) == whole[5:55]).all()


def test_an_episode_carries_its_notes_and_arrays(tmp_path):
    clip = observations(0, 4)
    with RolloutWriter(tmp_path, SHAPE, extras={"actor": "uint8"}) as writer:
        write_episode(writer, 0, 3, arrays={"context_frames": clip}, world_hash="abc", options={"context": 2})
        writer.begin(seed=1)
        writer.end(clip[0], cut=True)
    first, second = open_recording(tmp_path).episodes
    assert first.meta == {"world_hash": "abc", "options": {"context": 2}}
    assert (first.arrays()["context_frames"] == clip).all()
    assert second.meta == {"cut": True}
    assert second.arrays() == {}


def test_actions_may_be_vectors(tmp_path):
    with RolloutWriter(tmp_path, SHAPE, action_shape=(2,), action_dtype="float32") as writer:
        writer.begin()
        writer.add(observations(0, 1)[0], np.array([0.5, -1.0]), 0.0, False, True)
        writer.end(observations(0, 1)[0])
    recording = open_recording(tmp_path)
    assert recording.actions.tolist() == [[0.5, -1.0], [0.0, 0.0]]
    assert recording.truncated.tolist() == [True, False]


def test_fsync_writes_the_same(tmp_path):
    record(tmp_path, [40, 30], fsync=True)
    recording = open_recording(tmp_path)
    for number, episode in enumerate(recording.episodes):
        assert_episode(recording, episode, number)


def test_a_reader_may_look_while_the_writer_writes(tmp_path):
    with RolloutWriter(tmp_path, SHAPE, extras={"actor": "uint8"}) as writer:
        with pytest.raises(RecordingError, match="no finished chunk yet"):
            open_recording(tmp_path)
        for number in range(5):
            write_episode(writer, number, 20)
            recording = open_recording(tmp_path)
            assert len(recording.episodes) == number + 1
            assert_episode(recording, recording.episodes[-1], number)


def test_what_an_exception_interrupts_is_kept_as_unfinished(tmp_path):
    frames = observations(0, 50)
    with pytest.raises(KeyboardInterrupt), RolloutWriter(tmp_path, SHAPE) as writer:
        writer.begin(seed=0)
        for t in range(45):
            writer.add(frames[t], t, 1.0, False, False)
        raise KeyboardInterrupt
    recording = open_recording(tmp_path)
    (episode,) = recording.episodes
    assert episode.meta == {"unfinished": True}
    assert episode.steps == 44  # the last row's action has no outcome
    assert episode.return_ == 44
    assert (recording.frames(0, 45) == frames[:45]).all()


KILLED = """
import numpy as np, sys
from recorders import RolloutWriter
writer = RolloutWriter(sys.argv[1], (6, 5, 3), extras={"actor": "uint8"})
rng = np.random.default_rng(0)
for episode in range(10**6):
    steps = int(rng.integers(5, 200))
    frames = np.random.default_rng([episode, 7]).integers(0, 256, (steps + 1, 6, 5, 3), np.uint8)
    writer.begin(seed=episode)
    for t in range(steps):
        writer.add(frames[t], t % 5, float(t), t == steps - 1, False, actor=episode % 3)
    writer.end(frames[steps])
    print(steps, flush=True)
"""


@pytest.mark.parametrize("after_s", [0.01, 0.1, 0.2])
def test_killed_at_any_moment_no_finished_episode_is_lost(tmp_path, after_s):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    first = process.stdout.readline()
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    reported = [int(line) for line in [first, *process.stdout.read().splitlines(keepends=True)] if line[-1:] == "\n"]
    process.wait()
    process.stdout.close()
    recording = open_recording(tmp_path)
    finished = [episode for episode in recording.episodes if "unfinished" not in episode.meta]
    assert [episode.steps for episode in finished][: len(reported)] == reported
    assert len(finished) <= len(reported) + 1
    for number, episode in enumerate(finished):
        assert_episode(recording, episode, number)
    for episode in recording.episodes[len(finished) :]:
        seen = recording.frames(episode.start, episode.stop)
        assert (seen == observations(episode.seed, 1000)[: len(seen)]).all()


def test_a_torn_journal_line_hides_only_what_follows(tmp_path):
    segment = record(tmp_path, [10, 10])
    journal = segment / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    first, second = open_recording(tmp_path).episodes
    assert first.meta == {}
    assert second.meta == {"unfinished": True}


@pytest.mark.parametrize("place", [0, 9, 30])
def test_a_damaged_journal_line_is_noticed(tmp_path, place):
    segment = record(tmp_path, [10, 10])
    journal = segment / "journal.jsonl"
    data = bytearray(journal.read_bytes())
    last = data.rindex(b"\n", 0, -1) + 1
    data[last + place] ^= 1
    journal.write_bytes(data)
    assert [episode.meta.get("unfinished") for episode in open_recording(tmp_path).episodes] == [None, True]


def test_a_missing_or_damaged_chunk_is_named(tmp_path):
    segment = record(tmp_path, [100])
    chunk = segment / "data.zarr" / "frames" / "c.1.0.0.0"
    chunk.write_bytes(b"nonsense")
    with pytest.raises(RecordingError, match=r"c\.1\.0\.0\.0 is damaged"):
        open_recording(tmp_path).load_frames(progress=False)
    chunk.unlink()
    with pytest.raises(RecordingError, match=r"c\.1\.0\.0\.0 is missing"):
        open_recording(tmp_path).frames(30, 40)
    assert len(open_recording(tmp_path).frames(0, 32)) == 32


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="does not exist"):
        open_recording(tmp_path / "nothing")
    with pytest.raises(RecordingError, match="holds no segment"):
        open_recording(tmp_path)


@pytest.mark.parametrize(("key", "value", "message"), [("version", 99, "has version 99"), ("format", "x", "not a")])
def test_other_versions_and_formats_are_refused(tmp_path, key, value, message):
    card = record(tmp_path, [3]) / "data.zarr" / "zarr.json"
    content = json.loads(card.read_text())
    content["attributes"][key] = value
    card.write_text(json.dumps(content))
    with pytest.raises(RecordingError, match=message):
        open_recording(tmp_path)


def test_segments_of_different_games_do_not_mix(tmp_path):
    record(tmp_path, [3])
    with RolloutWriter(tmp_path, (4, 4, 3)) as writer:
        writer.begin()
        writer.end(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(RecordingError, match="differ in fields or frame size"):
        open_recording(tmp_path)


def test_a_writer_refuses_what_it_was_not_made_for(tmp_path):
    frame = np.zeros(SHAPE, np.uint8)
    with pytest.raises(RecordingError, match=r"rename the extras \['reward'\]"):
        RolloutWriter(tmp_path / "a", SHAPE, extras={"reward": "float32"})
    with RolloutWriter(tmp_path / "b", SHAPE, extras={"actor": "uint8"}) as writer:
        with pytest.raises(RecordingError, match="call begin first"):
            writer.add(frame, 0, 0.0, False, False, actor=0)
        writer.begin()
        with pytest.raises(RecordingError, match="call end before begin"):
            writer.begin()
        with pytest.raises(RecordingError, match=r"extras \['actor'\], got \[\]"):
            writer.add(frame, 0, 0.0, False, False)
        with pytest.raises(RecordingError, match=r"got float64 \[6, 5, 3\]"):
            writer.add(frame.astype(float), 0, 0.0, False, False, actor=0)
    with pytest.raises(RecordingError, match="closed"):
        writer.begin()


def test_unknown_fields_and_rows_are_refused(tmp_path):
    record(tmp_path, [3])
    recording = open_recording(tmp_path)
    with pytest.raises(RecordingError, match="no field 'latency_ms'; it has"):
        recording.extra("latency_ms")
    with pytest.raises(IndexError, match="rows 0:4"):
        recording.frames(0, 5)


def test_an_episode_counts_actions_not_frames():
    assert Episode(segment=Path(), start=3, stop=10, seed=None, return_=0.0).steps == 6


def test_adding_a_step_does_not_hold_up_a_player(tmp_path):
    frame, times = np.zeros((104, 80, 3), np.uint8), []
    with RolloutWriter(tmp_path, frame.shape) as writer:
        writer.begin()
        for t in range(2000):
            before = time.perf_counter()
            writer.add(frame, t % 6, 0.0, False, False)
            times.append(time.perf_counter() - before)
        writer.end(frame)
    print(f"add: median {np.median(times) * 1e6:.0f} us, p99 {np.percentile(times, 99) * 1e3:.2f} ms")
    assert np.median(times) < 1e-3
