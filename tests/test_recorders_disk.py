"""Disks that are full, limited or read-only: one clear error, nothing committed is harmed, and recording goes on."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import gymnasium
import numpy as np
import pytest

from recorders import RecordingError, ZarrRecorder, open_recording

ROOT = Path(__file__).resolve().parent.parent
SHAPE = (32, 32, 3)
SPACES = (gymnasium.spaces.Box(0, 255, SHAPE, np.uint8), gymnasium.spaces.Discrete(5))


def frames(number, count):
    """Noise, which no codec makes smaller; the same for the same episode."""
    return np.random.default_rng(number).integers(0, 256, (count, *SHAPE), np.uint8)


def add_episode(recorder, number, steps=40):
    seen = frames(number, steps + 1)
    recorder.begin(seed=number)
    for t in range(steps):
        recorder.add(seen[t], t % 5, float(number), t == steps - 1, False)
    recorder.end(seen[-1])


def assert_whole(recording, episode):
    clip = recording.read(episode)
    assert (clip.observations == frames(episode.seed, episode.steps + 1)).all()
    assert (clip.actions == np.arange(episode.steps) % 5).all()
    assert (clip.rewards == episode.seed).all()


def record_until_it_fails(recorder, first=0):
    """Episodes until one raises; how many ended before, and what was raised."""
    for number in range(first, 1000):
        try:
            add_episode(recorder, number)
        except RecordingError as error:
            return number, error
    raise AssertionError("the disk never became full")


def finish_episode(recorder, number, rows, steps=40):
    """Go on with an episode of which so many rows were taken when recording failed."""
    if rows == 0:
        with suppress(RecordingError):  # unless it was begun
            recorder.begin(seed=number)
    seen = frames(number, steps + 1)
    for t in range(rows, steps):
        recorder.add(seen[t], t % 5, float(number), t == steps - 1, False)
    if rows <= steps:
        recorder.end(seen[-1])


@contextmanager
def mounted(folder, *words):
    """A file system of a few MB under `folder`; skips where nothing can be mounted."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True, timeout=20)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


@contextmanager
def files_up_to(size):
    """No file of this process may grow above `size` bytes: EFBIG, which needs no root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("fsync", ["none", "episode"])
def test_a_full_disk_is_one_clear_error_and_recording_goes_on_when_there_is_space(tmp_path, fsync):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=3m", "none") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(1 << 20))
        recorder = ZarrRecorder(disk / "play", *SPACES, fsync=fsync, seal=False)
        ended, error = record_until_it_fails(recorder)
        assert ended > 3
        assert "the disk is full: free some space" in str(error)
        assert "What was committed is intact" in str(error)
        recording = open_recording(disk / "play")
        assert [e.seed for e in recording.episodes if not e.unfinished] == list(range(ended))
        for episode in recording.episodes[:ended]:
            assert_whole(recording, episode)
        with pytest.raises(RecordingError, match="the disk is full"):
            recorder.flush()  # still full
        filler.unlink()
        recorder.flush()
        assert recorder.stats().committed_rows == recorder.stats().rows
        finish_episode(recorder, ended, rows=recorder.stats().rows - 41 * ended)
        add_episode(recorder, ended + 1)
        recorder.close()
        recording = open_recording(disk / "play")
        assert [e.seed for e in recording.episodes] == list(range(ended + 2))
        for episode in recording.episodes:
            assert_whole(recording, episode)


def test_a_chunk_that_may_not_grow_is_one_clear_error_and_recording_goes_on(tmp_path):
    recorder = ZarrRecorder(tmp_path, *SPACES)
    add_episode(recorder, 0, steps=10)
    recorder.begin(seed=1)
    seen = frames(1, 71)
    with files_up_to(20_000):
        with pytest.raises(RecordingError, match="a file grew over the limit of this process"):
            for t in range(60):
                recorder.add(seen[t], t % 5, 1.0, False, False)
            recorder.flush()
        assert len(open_recording(tmp_path).read(0)) == 10
    recorder.flush()
    done = recorder.stats().rows - 11
    for t in range(done, 70):
        recorder.add(seen[t], t % 5, 1.0, False, False)
    recorder.end(seen[70])
    recorder.close()
    recording = open_recording(tmp_path)
    assert [e.steps for e in recording.episodes] == [10, 70]
    for episode in recording.episodes:
        assert_whole(recording, episode)


def test_a_journal_line_that_fits_only_in_part_is_taken_back(tmp_path):
    still = np.zeros(SHAPE, np.uint8)
    recorder = ZarrRecorder(tmp_path, *SPACES, seal=False)
    for _ in range(150):  # chunks of a still picture are small, the journal grows
        recorder.begin()
        recorder.add(still, 0, 0.0, True, False)
        recorder.end(still)
    (journal,) = tmp_path.glob("seg-*/journal.jsonl")
    before = journal.read_bytes()
    assert len(before) > 10_000
    recorder.begin(seed=7)
    recorder.flush()
    before = journal.read_bytes()
    with files_up_to(len(before) + 10):
        with pytest.raises(RecordingError, match=r"free some space|limit of this process"):
            recorder.add(still, 0, 0.0, True, False)
            recorder.end(still)
        assert journal.read_bytes() == before
        assert len(open_recording(tmp_path).episodes) == 150
    recorder.flush()
    recorder.close()
    recording = open_recording(tmp_path)
    assert [e.steps for e in recording.episodes] == [1] * 151
    assert recording.episodes[-1].seed == 7
    assert not recording.episodes[-1].unfinished


def test_what_cannot_be_written_at_close_is_said_and_done_by_a_repair(tmp_path):
    recorder = ZarrRecorder(tmp_path, *SPACES)
    add_episode(recorder, 0)
    recorder.begin(seed=1)
    for frame in frames(1, 20):
        recorder.add(frame, 0, 1.0, False, False)
    with files_up_to(20_000), pytest.raises(RecordingError, match="limit of this process"):
        recorder.close()
    recording = open_recording(tmp_path)
    assert_whole(recording, recording.episodes[0])
    ZarrRecorder(tmp_path, *SPACES).close()
    recording = open_recording(tmp_path)
    assert_whole(recording, recording.episodes[0])
    assert not list(tmp_path.rglob("*.tmp"))
    assert list(tmp_path.glob("seg-*/sealed.zarr"))


def test_a_seal_that_does_not_fit_leaves_the_chunks_and_is_done_later(tmp_path):
    recorder = ZarrRecorder(tmp_path, *SPACES)
    for number in range(4):
        add_episode(recorder, number)
    with files_up_to(150_000), pytest.raises(RecordingError, match="could not be closed properly: File too large"):
        recorder.close()  # a chunk has 100 kB, a shard holds five of them
    for sealed in (False, True):
        recording = open_recording(tmp_path)
        assert [segment.sealed for segment in recording.segments] == [sealed]
        for number, episode in enumerate(recording.episodes):
            assert episode.seed == number
            assert_whole(recording, episode)
        ZarrRecorder(tmp_path, *SPACES).close()


def contents(folder):
    return {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_read_only_disk_is_a_clear_error_and_nothing_is_altered(tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=3m", "none") as disk:
        with ZarrRecorder(disk / "play", *SPACES) as recorder:
            add_episode(recorder, 0)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=20)
        before = contents(disk)
        with pytest.raises(RecordingError, match=r"cannot record into .*play: Read-only file system"):
            ZarrRecorder(disk / "play", *SPACES)
        with pytest.raises(RecordingError, match=r"cannot record into .*other: Read-only file system"):
            ZarrRecorder(disk / "other", *SPACES)
        assert contents(disk) == before
        recording = open_recording(disk / "play")
        assert_whole(recording, recording.episodes[0])


UNPRIVILEGED = """
import os, sys
import gymnasium, numpy as np
from recorders import RecordingError, ZarrRecorder, open_recording
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
for work in (lambda: ZarrRecorder(sys.argv[1], gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8),
                                  gymnasium.spaces.Discrete(5)), lambda: open_recording(sys.argv[2])):
    try:
        work()
    except RecordingError as error:
        print(error)
"""


def test_a_folder_without_permission_is_a_clear_error_and_nothing_is_altered():
    with TemporaryDirectory() as folder:  # others may look into it, unlike into pytest's own
        play, secret = Path(folder) / "play", Path(folder) / "secret"
        for path in (play, secret):
            with ZarrRecorder(path, *SPACES) as recorder:
                add_episode(recorder, 0)
        os.chmod(folder, 0o755)
        for path in sorted(play.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        play.chmod(0o555)
        secret.chmod(0)
        before = contents(play)
        words = [sys.executable, "-c", UNPRIVILEGED, str(play), str(secret)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
        for path in [secret, play, *play.rglob("*")]:
            path.chmod(0o755)
        assert done.stdout.splitlines() == [f"cannot record into {play}: Permission denied",
                                            f"{secret} cannot be read: Permission denied"], done.stderr
        assert contents(play) == before


def test_a_disk_that_turns_read_only_is_one_clear_error_and_recording_goes_on_when_it_can(tmp_path):
    recorder = ZarrRecorder(tmp_path / "play", *SPACES, seal=False)
    add_episode(recorder, 0)
    with mounted(tmp_path / "again", "--bind", str(tmp_path)):  # is it possible here?
        pass
    subprocess.run(["mount", "--bind", str(tmp_path), str(tmp_path)], check=True, timeout=20)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path)], check=True, timeout=20)
        ended, error = record_until_it_fails(recorder, first=1)
        assert "the disk is read-only: make it writable" in str(error)
        recording = open_recording(tmp_path / "play")
        for episode in recording.episodes[:ended]:
            assert_whole(recording, episode)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True, timeout=20)
    recorder.flush()
    finish_episode(recorder, ended, rows=recorder.stats().rows - 41 * ended)
    recorder.close()
    recording = open_recording(tmp_path / "play")
    assert [e.seed for e in recording.episodes] == list(range(ended + 1))
    for episode in recording.episodes:
        assert_whole(recording, episode)
