"""Random clips for training, from a recording and from a cache of it."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from test_recorders_disk import ROOT, mounted
from torch.utils.data import DataLoader

from recorders import ClipDataset, RecordingError, TrainingCache, ZarrRecorder, open_recording

SHAPE = (12, 10, 3)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three episodes of which the second is too short for most; frames that count rows."""
    place = tmp_path_factory.mktemp("clips")
    row = 0
    pictures = spaces.Box(0, 255, SHAPE, np.uint8)
    with ZarrRecorder(place, pictures, spaces.Discrete(4), extras={"t": "int32"}) as recorder:
        for steps in (70, 5, 40):
            recorder.begin()
            for t in range(steps):
                recorder.add(frame(row), t % 4, float(t), False, False, t=t)
                row += 1
            recorder.end(frame(row))
            row += 1
    return open_recording(place)


def frame(row: int) -> np.ndarray:
    return np.full(SHAPE, row % 256, np.uint8)


@pytest.fixture(params=["recording", "cache"])
def source(request, recording, tmp_path):
    return recording if request.param == "recording" else TrainingCache.build(recording, tmp_path / "c", progress=False)


def test_clips_lie_within_episodes_and_are_whole(source, recording):
    clips = ClipDataset(source, steps=8, count=300, extras=["t"])
    starts = set()
    for clip in (clips[i] for i in range(len(clips))):
        row = clip["row"]
        assert clip["frames"][:, 0, 0, 0].tolist() == list(range(row, row + 9))
        assert clip["t"].tolist() == list(range(clip["t"][0], clip["t"][0] + 8))
        assert clip["action"].tolist() == [t % 4 for t in clip["t"]]
        assert clip["reward"].tolist() == clip["t"].tolist()
        assert (clip["frames"] == recording.frames(row, row + 9)).all()
        starts.add(row)
    possible = {*range(0, 63), *range(71 + 6, 71 + 6 + 33)}
    assert starts <= possible
    assert len(starts) > 0.9 * len(possible)


def test_the_order_depends_on_the_seed_alone_and_can_be_resumed(source):
    rows = [ClipDataset(source, steps=4, count=50, seed=1)[i]["row"] for i in range(50)]
    later = ClipDataset(source, steps=4, count=30, seed=1, start=20)
    assert [later[i]["row"] for i in range(30)] == rows[20:]
    assert [ClipDataset(source, steps=4, count=50, seed=2)[i]["row"] for i in range(50)] != rows
    for workers in (0, 2):
        loader = DataLoader(ClipDataset(source, steps=4, count=48, seed=1), batch_size=8, num_workers=workers)
        batches = list(loader)
        assert batches[0]["frames"].shape == (8, 5, *SHAPE)
        assert [int(row) for batch in batches for row in batch["row"]] == rows[:48]


def test_workers_may_be_spawned(source):
    clips = ClipDataset(source, steps=4, count=4)
    context = multiprocessing.get_context("spawn")
    loader = DataLoader(clips, batch_size=4, num_workers=1, multiprocessing_context=context)
    assert [int(r) for r in next(iter(loader))["row"]] == [clips[i]["row"] for i in range(4)]


def test_clips_come_from_the_episodes_that_are_asked_for(recording):
    chosen = recording.select(lambda episode: episode.steps == 40)
    clips = ClipDataset(recording, steps=8, count=60, episodes=chosen)
    assert all(clips[i]["row"] >= chosen[0].start for i in range(60))


def test_clips_that_cannot_be_are_refused(recording, tmp_path):
    with pytest.raises(RecordingError, match=r"no episode of .* has 71 steps; the longest of those given has 70"):
        ClipDataset(recording, steps=71, count=1)
    with pytest.raises(RecordingError, match="no field 'latent'"):
        ClipDataset(recording, steps=7, count=1, extras=["latent"])
    with pytest.raises(RecordingError, match="need steps >= 1"):
        ClipDataset(recording, steps=0, count=1)
    with pytest.raises(IndexError):
        ClipDataset(recording, steps=7, count=1)[1]
    with ZarrRecorder(tmp_path, spaces.Discrete(3), spaces.Discrete(3)) as recorder:
        recorder.begin()
        for _ in range(3):
            recorder.add(1, 1, 0.0, False, False)
        recorder.end(1)
    with pytest.raises(RecordingError, match="clips are of pictures"):
        ClipDataset(str(tmp_path), steps=2, count=1)


def test_a_cache_is_built_once_and_noticed_when_it_is_not_whole(recording, tmp_path):
    cache = TrainingCache.build(recording, tmp_path, progress=False)
    assert (cache.frames(3, 50) == recording.frames(3, 50)).all()
    cache.verify(progress=False)
    file = tmp_path / "frames.npy"
    built = file.stat().st_mtime_ns
    assert TrainingCache.build(recording, tmp_path, progress=False).frames(0, 1).shape == (1, *SHAPE)
    assert file.stat().st_mtime_ns == built
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RecordingError, match="is damaged at rows 0 to 1024"):
        TrainingCache(recording, tmp_path).verify(progress=False)
    file.write_bytes(data[:-7])
    with pytest.raises(RecordingError, match="is not whole"):
        TrainingCache(recording, tmp_path)
    rebuilt = TrainingCache.build(recording, tmp_path, progress=False)
    rebuilt.verify(progress=False)
    (tmp_path / "cache.json").write_text("{}")
    with pytest.raises(RecordingError, match="no finished training cache"):
        TrainingCache(recording, tmp_path)


def test_a_cache_of_something_else_is_refused(recording, tmp_path):
    TrainingCache.build(recording, tmp_path / "cache", progress=False)
    with ZarrRecorder(tmp_path / "other", recording.observation_space, recording.action_space) as recorder:
        recorder.begin()
        recorder.add(frame(0), 0, 0.0, False, False)
        recorder.end(frame(1))
    with pytest.raises(RecordingError, match="built from another recording"):
        TrainingCache(open_recording(tmp_path / "other"), tmp_path / "cache")


def test_whoever_reads_a_cache_is_not_harmed_by_another_who_builds_it(recording, tmp_path, monkeypatch):
    readers, open_memmap = [], np.lib.format.open_memmap

    def open_late(file, mode="r+", *more, **options):
        """Another process has built the cache since this one found none, and reads it."""
        if mode == "w+" and not readers:
            readers.append(None)
            readers[0] = TrainingCache.build(recording, tmp_path, progress=False)
        mapped = open_memmap(file, mode, *more, **options)
        if mode == "w+" and readers[0]:
            assert (readers[0].frames(0, 110) == recording.frames(0, 110)).all()
        return mapped

    monkeypatch.setattr(np.lib.format, "open_memmap", open_late)
    TrainingCache.build(recording, tmp_path, progress=False).verify(progress=False)
    readers[0].verify(progress=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cache.json", "frames.npy"]


def test_a_cache_that_does_not_fit_on_the_disk_is_one_clear_error(recording, tmp_path):
    """Mapped memory that finds no space kills the process, so this has to be another one."""
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=20k", "none") as small:
        code = (
            "import sys; from recorders import *\n"
            "try: TrainingCache.build(open_recording(sys.argv[1]), sys.argv[2], False)\n"
            "except RecordingError as error: print(error)"
        )
        words = [sys.executable, "-c", code, recording.path, str(small / "cache")]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        assert "cannot be written: No space left on device" in done.stdout
        assert not list((small / "cache").iterdir())


def test_clips_stay_the_same_while_their_recording_is_refreshed(tmp_path):
    """Rows move when an earlier segment grows."""
    with ZarrRecorder(tmp_path, spaces.Box(0, 255, SHAPE, np.uint8), spaces.Discrete(250), lanes=2) as recorder:
        def episode(lane, first):
            recorder.begin(lane=lane)
            for t in range(first, first + 20):
                recorder.add(frame(t), t, float(t), False, False, lane=lane)
            recorder.end(frame(first + 20), lane=lane)

        episode(0, 0)
        episode(1, 100)
        recording = open_recording(tmp_path)
        dataset = ClipDataset(recording, steps=5, count=30)
        before = [dataset[item] for item in range(30)]
        episode(0, 200)
        assert recording.refresh()
        for item, clip in enumerate(before):
            assert (clip["frames"][:-1, 0, 0, 0] == clip["action"]).all()
            assert all((dataset[item][name] == value).all() for name, value in clip.items() if name != "row")


def test_a_path_may_be_given_as_one(recording):
    assert len(ClipDataset(Path(recording.path), steps=5, count=3)) == 3
