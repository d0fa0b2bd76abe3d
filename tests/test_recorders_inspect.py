"""`python -m recorders.inspect` and `python -m recorders.repair`: what is there, is it whole, put it in order."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from recorder_suite import EXTRAS, FIVE, PICTURES, check, pictures, write

from recorders import ZarrRecorder, open_recording
from recorders.inspect import summary
from recorders.integrity import problems

ROOT = Path(__file__).resolve().parent.parent


def command(tool: str, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", f"recorders.{tool}", *arguments], cwd=ROOT, capture_output=True,
                          text=True, check=False)  # fmt: skip


def record(path, lengths, **options) -> Path:
    with ZarrRecorder(path, PICTURES, FIVE, extras=EXTRAS, meta={"game": {"id": "Square"}}, **options) as recorder:
        for number, steps in enumerate(lengths):
            write(recorder, number, steps)
    return path / recorder.segments[0]


def test_a_recording_in_order_is_summed_up(tmp_path):
    record(tmp_path / "mine", [40, 3])
    done = command("inspect", f"path={tmp_path / 'mine'}", f"thumbnails={tmp_path / 'sheet.png'}")
    assert done.returncode == 0, done.stderr
    assert "Square, format 1" in done.stdout
    assert "2 episodes (0 unfinished), 43 steps, 1 segments (1 sealed)" in done.stdout
    assert "every chunk has its checksum; nothing is missing" in done.stdout
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    height, width, _ = PICTURES.shape
    assert sheet.shape == (2 * height, 8 * width, 3)
    assert (sheet[:height, :width] == pictures(0, 41)[0]).all()
    assert (sheet[height:, -width:] == pictures(1, 4)[3]).all()


def test_damage_is_named_and_ends_with_code_1(tmp_path):
    segment = record(tmp_path, [40, 3], seal=False)
    (segment / "data.zarr/frames/c.1.0.0.0").unlink()
    done = command("inspect", f"path={tmp_path}")
    assert done.returncode == 1
    assert "c.1.0.0.0 is missing" in done.stderr


def test_what_a_killed_recorder_left_is_repaired(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, "tests")
from recorder_suite import *
from recorders import ZarrRecorder
recorder = ZarrRecorder({str(tmp_path)!r}, PICTURES, FIVE, extras=EXTRAS)
write(recorder, 1, 50)
recorder.begin(seed=2)
for t in range(40):
    recorder.add(pictures(2, 41)[t], t % 5, 1.0, False, False, **extras_of(2, t))
recorder.flush()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    segment = tmp_path / open_recording(tmp_path).segments[0].name
    (segment / "data.zarr/frames/c.9.0.0.0.tmp").write_bytes(b"half")
    with open(segment / "journal.jsonl", "ab") as journal:
        journal.write(b"12345678 {torn")
    assert "the last line of the journal" in command("inspect", f"path={tmp_path}").stderr
    done = command("repair", f"path={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "1 segments sealed, 1 unfinished episodes kept, 0 empty segments and 1 leftovers removed" in done.stdout
    assert command("inspect", f"path={tmp_path}").returncode == 0
    recording = open_recording(tmp_path)
    check(recording, recording.episodes[0])
    assert (recording.episodes[1].unfinished, recording.episodes[1].steps) == (True, 39)
    assert (recording.read(1).observations == pictures(2, 41)[:40]).all()
    assert "0 segments sealed" in command("repair", f"path={tmp_path}").stdout


def test_a_segment_that_cannot_be_repaired_is_left_as_it_is(tmp_path):
    segment = record(tmp_path, [40], seal=False)
    (segment / "data.zarr/frames/c.0.0.0.0").write_bytes(b"nonsense")
    before = {file: file.read_bytes() for file in segment.rglob("*") if file.is_file()}
    done = command("repair", f"path={tmp_path}")
    assert done.returncode == 1
    assert "c.0.0.0.0 is damaged" in done.stderr
    assert {file: file.read_bytes() for file in segment.rglob("*") if file.is_file()} == before


def test_bad_input_ends_with_one_line_and_code_2(tmp_path):
    for tool, arguments, message in [
        ("inspect", [f"path={tmp_path / 'no'}"], "is not a recording"),
        ("inspect", [], "path= is missing"),
        ("repair", [f"path={tmp_path}"], "holds no segment"),
        ("repair", [], "path= is missing"),
        ("replay", [], "path= is missing"),
    ]:
        done = command(tool, *arguments)
        assert done.returncode == 2, (tool, done.stderr)
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_damaged_arrays_of_an_episode_are_named(tmp_path):
    with ZarrRecorder(tmp_path, PICTURES, FIVE, meta={"env": "Square"}) as recorder:
        recorder.begin(arrays={"clip": np.arange(99)})
        recorder.end(pictures(0, 1)[0])
    assert summary(open_recording(tmp_path))[0].endswith(": Square, format 1")
    assert problems(open_recording(tmp_path), progress=False) == []
    file = tmp_path / recorder.segments[0] / "arrays/000000.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 8
    file.write_bytes(data)
    (problem,) = problems(open_recording(tmp_path), progress=False)
    assert "arrays/000000.npz is damaged" in problem
