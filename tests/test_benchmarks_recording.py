"""The recording benchmark runs and compares like with like."""

import numpy as np
import pytest

from benchmarks.recording import RecordingConfig, footprint, report
from benchmarks.recording_play import play

PONG = "ALE/Pong-v5"


def test_every_contender_that_is_installed_returns_the_play_bit_by_bit(tmp_path, capsys):
    config = RecordingConfig(games=[PONG], sizes=[[26, 20]], steps=70, clip=4, workers=[0], seconds=0.05,
                             folder=str(tmp_path))
    (rows,) = report(config).values()
    assert {"ours, open", "ours, sealed", "zarr-python", "h5py gzip 1", "minari raw", "mp4 lossless"} <= rows.keys()
    measured = {name: row for name, row in rows.items() if "absent" not in row}
    assert {"ours, open", "ours, sealed", "zarr-python"} <= measured.keys()
    for name, row in measured.items():
        assert row["exact"], name
        assert row["files"] > 0
        assert row["bytes_per_step"] > 0
        assert row["clips_per_s_0"] > 0
        assert row["add_us"][0] <= row["add_us"][1] <= row["add_us"][2]
    printed = capsys.readouterr().out
    assert f"{PONG} 26x20: 70 steps" in printed
    assert all(name in printed for name in measured)
    assert not list(tmp_path.iterdir())


def test_a_play_is_the_same_for_the_same_seed():
    one, same, other = (play(PONG, [26, 20], 90, seed) for seed in (0, 0, 1))
    assert one.steps == same.steps == 90
    assert one.episodes[0].truncated[-1]
    assert (one.episodes[0].observations == same.episodes[0].observations).all()
    assert (one.episodes[0].actions == same.episodes[0].actions).all()
    assert not np.array_equal(one.episodes[0].actions, other.episodes[0].actions)


def test_clips_lie_inside_episodes():
    played = play(PONG, [26, 20], 40)
    assert {(0, 0), (0, 1), (0, 2)} == set(played.clips(100, 38, 0))
    with pytest.raises(ValueError, match="no episode has 41 steps"):
        played.clips(1, 41, 0)


def test_a_footprint_counts_all_files(tmp_path):
    (tmp_path / "a").write_bytes(bytes(5000))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(bytes(3))
    size, disk, files = footprint(tmp_path)
    assert (size, files) == (5003, 2)
    assert disk >= 5003


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="only=x leaves none of"):
        RecordingConfig(only="x")
    with pytest.raises(ValueError, match="steps and clip must be at least 1"):
        RecordingConfig(steps=0)
