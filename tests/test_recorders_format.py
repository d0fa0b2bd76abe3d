"""What lies on disk: readable by others, refused when it makes no sense, and never altered by a refusal."""

import json
import os
import shutil
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from gymnasium import spaces
from recorder_suite import EXTRAS, FIVE, PICTURES, check, pictures, write

from recorders import BusyError, RecordingError, ZarrRecorder, open_recording
from recorders.integrity import problems
from recorders.journal import JournalFile, encode_line
from recorders.layout import Field
from recorders.spaces import to_rows
from recorders.storage import LocalStorage
from recorders.tail import decode_tail

SHARDS_OF_NOTHING = [{"name": "sharding_indexed", "configuration": {"chunk_shape": [0, 20, 18, 3]}}]
ROOT = Path(__file__).resolve().parent.parent


def record(path, lengths, **options) -> Path:
    with ZarrRecorder(path, PICTURES, FIVE, extras=EXTRAS, **options) as recorder:
        for number, steps in enumerate(lengths):
            write(recorder, number, steps)
    return Path(path) / recorder.segments[0]


def contents(path: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the lock."""
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "writers.lock"]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(params=["sealed", "open"])
def segment(tmp_path, request) -> Path:
    return record(tmp_path, [40, 1100], seal=request.param == "sealed", meta={"behaviours": ["a", "b", "c"]})


def group_of(segment: Path) -> Path:
    return next(segment / name for name in ("sealed.zarr", "data.zarr") if (segment / name).exists())


def test_any_zarr_reader_sees_the_same(segment):
    recording, group = open_recording(segment.parent), zarr.open_group(str(group_of(segment)), mode="r")
    rows = len(recording)
    assert group.attrs["format"] == "foreframe-recording"
    assert group.attrs["version"] == 1
    assert group.attrs["behaviours"] == recording.meta["behaviours"] == ["a", "b", "c"]
    assert (group["frames"][:rows] == recording.frames(0, rows)).all()
    whole = rows if "sealed" in str(group_of(segment)) else 1024  # the rest is in the journal until there is a chunk
    for name in ("action", "reward", "terminated", "actor", "latent", "note"):
        assert (group[name][:whole] == recording.extra(name)[:whole]).all(), name


def test_a_sealed_segment_has_exact_shapes_and_says_where_episodes_end(tmp_path):
    segment = record(tmp_path, [40, 1100])
    group = zarr.open_group(str(segment / "sealed.zarr"), mode="r")
    assert {array.shape[0] for _, array in group.arrays()} == {41 + 1101}
    assert group["meta/episode_ends"][:].tolist() == [41, 41 + 1101]
    assert not (segment / "data.zarr").exists()
    assert len(contents(segment)) < 25


def test_xarray_opens_a_sealed_segment(tmp_path):
    xarray = pytest.importorskip("xarray")
    segment = record(tmp_path, [40])
    with xarray.open_zarr(segment / "sealed.zarr", consolidated=False, chunks=None) as data:
        assert data["frames"].dims == ("row", "height", "width", "channel")
        assert (data["frames"].values == pictures(0, 41)).all()
        assert data["reward"].dims == ("row",)


def test_sealing_keeps_the_bytes_of_every_chunk(tmp_path):
    segment = record(tmp_path, [100], seal=False)
    chunks = [(segment / f"data.zarr/frames/c.{i}.0.0.0").read_bytes() for i in range(4)]
    with ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS):
        pass  # seals what the other has left
    assert (segment / "sealed.zarr/frames/c.0.0.0.0").read_bytes().startswith(b"".join(chunks))
    check(open_recording(tmp_path), open_recording(tmp_path).episodes[0])


def test_recordings_of_version_0_are_read_and_left_alone(tmp_path):
    segment = version_0(tmp_path)
    before = contents(segment)
    with ZarrRecorder(tmp_path / "other", PICTURES, FIVE):
        pass
    recording = open_recording(tmp_path)
    assert (recording.frames(0, 6) == pictures(0, 6)).all()
    assert recording.rewards.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]
    assert recording.episodes[0].terminated
    with pytest.raises(RecordingError, match="does not say what its action_space is"):
        _ = recording.action_space
    with pytest.raises(RecordingError, match="record elsewhere"):
        ZarrRecorder(tmp_path, PICTURES, FIVE)
    assert contents(segment) == before


def version_0(path: Path) -> Path:
    """A segment as the recorder wrote it before there was a version 1: made with zarr itself, without checksums."""
    segment = path / "seg-0"
    group = zarr.create_group(str(segment / "data.zarr"), attributes={"format": "foreframe-recording", "version": 0})
    columns = {"frames": pictures(0, 6), "action": np.array([0, 1, 2, 3, 4, 0]),
               "reward": np.array([0, 1, 2, 3, 4, 0], np.float32), "terminated": np.array([0, 0, 0, 0, 1, 0], bool),
               "truncated": np.zeros(6, bool)}  # fmt: skip
    for name, rows in columns.items():
        array = group.create_array(name, shape=(1 << 22, *rows.shape[1:]), chunks=(32, *rows.shape[1:]),
                                   dtype=rows.dtype, compressors=zarr.codecs.ZstdCodec(level=1), fill_value=0,
                                   config={"write_empty_chunks": True},
                                   chunk_key_encoding={"name": "default", "separator": "."})  # fmt: skip
        array[:32] = np.concatenate([rows, np.zeros((26, *rows.shape[1:]), rows.dtype)])
    events = [{"event": "begin", "episode": 0, "start": 0, "seed": 0, "meta": {"options": None}},
              {"event": "flush", "rows": 6},
              {"event": "end", "episode": 0, "start": 0, "stop": 6, "return": 10.0, "meta": {}}]  # fmt: skip
    (segment / "journal.jsonl").write_bytes(b"".join(map(encode_line, events)))
    return segment


@pytest.mark.parametrize("place", [0, 9, 30])
def test_a_damaged_journal_line_is_refused_and_what_comes_before_can_be_read(tmp_path, place):
    segment = record(tmp_path, [10, 10])
    journal = segment / "journal.jsonl"
    data = bytearray(journal.read_bytes())
    last = data.rindex(b"\n", 0, -1) + 1
    data[last + place] ^= 1
    journal.write_bytes(data)
    with pytest.raises(RecordingError, match=r"journal of .* is damaged at byte"):
        open_recording(tmp_path)
    left = open_recording(tmp_path, salvage=True)
    assert len(left.episodes) == 1
    assert "is damaged at byte" in problems(left, progress=False)[0]


def test_a_journal_damaged_in_the_middle_is_not_cut_off(tmp_path):
    segment = record(tmp_path, [10, 10, 10], seal=False)
    journal = segment / "journal.jsonl"
    data = bytearray(journal.read_bytes())
    data[data.index(b"\n") + 20] ^= 1
    journal.write_bytes(data)
    before = contents(segment)
    with pytest.raises(RecordingError, match="nothing was changed"):
        LocalStorage(tmp_path).journal(segment.name, False)
    with ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS) as recorder:
        write(recorder, 1, 3)
    assert contents(segment) == before


def test_a_torn_last_line_is_cut_and_the_rest_kept_by_the_next_recorder(tmp_path):
    segment = record(tmp_path, [10, 10], seal=False)
    journal = segment / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    first, second = open_recording(tmp_path).episodes
    assert second.unfinished
    with ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS):
        pass
    recording = open_recording(tmp_path)
    assert [episode.unfinished for episode in recording.episodes] == [False, True]
    check(recording, recording.episodes[0])
    assert problems(recording, progress=False) == []
    assert first.steps == 10


def test_a_missing_chunk_is_named(segment):
    chunk = sorted((group_of(segment) / "frames").glob("c.*"))[-1]
    chunk.unlink()
    with pytest.raises(RecordingError, match=r"frames/c\.\d+\.0\.0\.0 is missing"):
        open_recording(segment.parent).load_frames(progress=False)
    assert any("is missing" in problem for problem in problems(open_recording(segment.parent), progress=False))


def test_every_changed_byte_of_a_chunk_is_noticed(tmp_path):
    segment = record(tmp_path, [3], seal=False)
    chunk = segment / "data.zarr/frames/c.0.0.0.0"
    whole = chunk.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        chunk.write_bytes(damaged)
        with pytest.raises(RecordingError, match="is damaged"):
            open_recording(tmp_path).load_frames(progress=False)


def test_a_damaged_shard_is_named(tmp_path):
    segment = record(tmp_path, [100])
    shard = segment / "sealed.zarr/frames/c.0.0.0.0"
    whole = shard.read_bytes()
    for damaged, message in (
        (whole[:100], "fewer than its index"),
        (whole[:-3] + b"abc", "does not have its checksum"),
        (b"\0" * 50 + whole[50:], "is damaged"),
    ):
        shard.write_bytes(damaged)
        with pytest.raises(RecordingError, match=message):
            open_recording(tmp_path).load_frames(progress=False)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path):
    segment = record(tmp_path, [3], seal=False)
    chunk = segment / "data.zarr/frames/c.0.0.0.0"
    bomb = bytes(numcodecs.Zstd(level=1).encode(np.zeros(1 << 28, np.uint8)))
    chunk.write_bytes(bomb)
    with pytest.raises(RecordingError, match=f"unpacks to {1 << 28} bytes instead of {32 * 1080}"):
        open_recording(tmp_path).load_frames(progress=False)
    chunk.write_bytes(bomb[:4] + b"\x00\x50" + bomb[13:])  # a frame that does not say how large it is
    with pytest.raises(RecordingError, match="does not say how much"):
        open_recording(tmp_path).load_frames(progress=False)


def test_an_arrays_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with ZarrRecorder(tmp_path, PICTURES, FIVE) as recorder:
        recorder.begin(arrays={"clip": np.zeros(3)})
        recorder.end(pictures(0, 1)[0])
    file = tmp_path / recorder.segments[0] / "arrays/000000.npz"
    data = bytearray(file.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 0xF0000000)
    file.write_bytes(data)
    with pytest.raises(RecordingError, match="would unpack to 4026531840 bytes"):
        open_recording(tmp_path).episodes[0].arrays()
    file.write_bytes(b"PK nonsense")
    with pytest.raises(RecordingError, match="is damaged"):
        open_recording(tmp_path).episodes[0].arrays()


def test_arrays_outside_of_the_segment_are_not_read(tmp_path):
    segment = record(tmp_path, [3])
    journal = segment / "journal.jsonl"
    events = [json.loads(line[9:]) for line in journal.read_text().splitlines()]
    os.mkfifo(tmp_path.parent / "endless.npz")  # whoever opens it to read waits for ever
    for name in ("../../endless.npz", "/dev/zero", "", 7):
        events[0]["arrays"] = name
        journal.write_bytes(b"".join(map(encode_line, events)))
        with pytest.raises(RecordingError, match="lie in arrays"):
            open_recording(tmp_path).episodes[0].arrays()


def test_every_changed_byte_of_arrays_is_read_unchanged_or_refused(tmp_path):
    with ZarrRecorder(tmp_path, PICTURES, FIVE) as recorder:
        recorder.begin(arrays={"clip": np.arange(50)})
        recorder.end(pictures(0, 1)[0])
    file = tmp_path / recorder.segments[0] / "arrays/000000.npz"
    whole, episode = file.read_bytes(), open_recording(tmp_path).episodes[0]
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 16
        file.write_bytes(data)
        try:
            found = episode.arrays()
        except RecordingError:
            continue
        assert all((array == np.arange(50)).all() for array in found.values()), place
    file.unlink()
    with pytest.raises(RecordingError, match=r"arrays/000000\.npz is missing"):
        episode.arrays()


def test_a_note_that_refers_to_no_array_is_refused(tmp_path):
    segment = record(tmp_path, [3])
    journal = segment / "journal.jsonl"
    events = [json.loads(line[9:]) for line in journal.read_text().splitlines()]
    for name in ("gone", [1]):
        events[0]["options"] = {"from": {"$array": name}}
        journal.write_bytes(b"".join(map(encode_line, events)))
        with pytest.raises(RecordingError, match="refer to an array"):
            open_recording(tmp_path).episodes[0].options()


@pytest.mark.parametrize("options", [{1: "a"}, {"$array": "a"}, {"in": {None: 1}}])
def test_notes_that_json_would_alter_are_refused(tmp_path, options):
    with ZarrRecorder(tmp_path, PICTURES, FIVE) as recorder, pytest.raises(RecordingError, match="keys are text"):
        recorder.begin(options=options)


def test_arrays_that_cannot_be_kept_leave_no_episode_open(tmp_path):
    with ZarrRecorder(tmp_path, PICTURES, FIVE) as recorder:
        with pytest.raises(RecordingError, match="array of objects"):
            recorder.begin(arrays={"clip": np.array([None])})
        recorder.begin()
        recorder.end(pictures(0, 1)[0])
    assert len(open_recording(tmp_path).episodes) == 1


def test_a_bomb_in_a_journal_line_is_refused_before_it_is_unpacked():
    fields = {"x": Field(shape=(64,), dtype="float64")}
    with pytest.raises(ValueError, match="more than 268435456"):
        decode_tail({"tail": ""}, 1 << 22, fields)


def test_a_space_of_no_numbers_is_recorded(tmp_path):
    space = spaces.Dict({"none": spaces.Box(0, 1, (0,)), "one": FIVE})
    value = {"none": np.zeros(0, np.float32), "one": 3}
    with ZarrRecorder(tmp_path, space, FIVE) as recorder:
        recorder.begin()
        recorder.add(value, 0, 0.0, True, False)
        recorder.end(value)
    assert open_recording(tmp_path).read(0).observations["none"].shape == (2, 0)


def edit(file: Path, **values) -> None:
    """Change what a `zarr.json` says."""
    card = json.loads(file.read_text())
    for path, value in values.items():
        *way, last = path.split("__")
        place = card
        for key in way:
            place = place[key]
        place[last] = value
    file.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("where", "values", "message"),
    [
        ("", {"attributes__version": 99}, "has version 99, this program reads up to 1; update"),
        ("", {"attributes__version": "new"}, "has version 'new'"),
        ("", {"attributes__format": "x"}, "is not a foreframe-recording"),
        ("", {"attributes": []}, "is not a foreframe-recording"),
        ("reward/", {"data_type": "complex128"}, "make no sense"),
        ("frames/", {"shape": [10**18, 20, 18, 3]}, "arrays of"),
        ("frames/", {"shape": [-1, 20, 18, 3]}, "make no sense"),
        ("frames/", {"shape": [4194304, 20, 18, 10**12]}, "make no sense"),
        ("frames/", {"chunk_grid__configuration__chunk_shape": [32]}, "make no sense"),
        ("frames/", {"codecs": [{"name": "bytes"}, {"name": "gzip"}]}, "make no sense"),
        ("frames/", {"codecs": []}, "make no sense"),
        ("frames/", {"codecs": SHARDS_OF_NOTHING}, "make no sense"),
        ("action/", {"shape": None}, "make no sense"),
    ],
)
def test_metadata_that_make_no_sense_are_refused(segment, where, values, message):
    edit(group_of(segment) / where / "zarr.json", **values)
    before = contents(segment)
    with pytest.raises(RecordingError, match=message):
        open_recording(segment.parent)
    assert contents(segment) == before


@pytest.mark.parametrize("rows", [10**15, -5, "many"])
def test_a_journal_that_counts_more_than_there_is_is_refused(tmp_path, rows):
    segment = record(tmp_path, [3], seal=False)
    journal = segment / "journal.jsonl"
    journal.write_bytes(
        journal.read_bytes()
        + encode_line({"event": "begin", "episode": 1, "start": 4, "seed": 0, "meta": {}})
        + encode_line({"event": "flush", "rows": rows, "tail": ""})
    )
    with pytest.raises(RecordingError, match=r"journal of .* (makes no sense|counts)"):
        open_recording(tmp_path)


def test_a_foreign_store_is_refused(tmp_path):
    zarr.create_group(str(tmp_path / "seg-1" / "data.zarr"), attributes={"mine": 1})
    (tmp_path / "seg-1" / "journal.jsonl").touch()
    with pytest.raises(RecordingError, match="its format is None"):
        open_recording(tmp_path)


def test_a_second_recorder_is_refused_unless_both_share(tmp_path):
    with ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS) as first:
        before = contents(tmp_path)
        for shared in (False, True):
            with pytest.raises(BusyError, match="somebody else is recording"):
                ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS, shared=shared)
        assert contents(tmp_path) == before
        write(first, 1, 3)
    with (
        ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS, shared=True) as first,
        ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS, shared=True) as second,
    ):
        write(first, 3, 30)
        write(second, 5, 40)
        with pytest.raises(BusyError):
            ZarrRecorder(tmp_path, PICTURES, FIVE, extras=EXTRAS)
    assert [e.seed for e in open_recording(tmp_path).episodes] == [1, 3, 5]


def test_a_recorder_does_not_work_in_a_forked_child(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from recorder_suite import *
from recorders import ZarrRecorder, RecordingError
recorder = ZarrRecorder({str(tmp_path)!r}, PICTURES, FIVE, extras=EXTRAS)
if os.fork() == 0:
    try:
        recorder.begin()
    except RecordingError as error:
        print(error, flush=True)
    sys.exit()
os.wait()
write(recorder, 1, 3)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "this recorder belongs to the process that made it: make one in every process"
    assert done.returncode == 0, done.stderr
    recording = open_recording(tmp_path)  # nobody closed it: leaving the program did
    check(recording, recording.episodes[0])
    assert recording.segments[0].sealed


def test_a_recorder_without_a_step_leaves_nothing(tmp_path):
    with ZarrRecorder(tmp_path, PICTURES, FIVE, lanes=3):
        pass
    assert os.listdir(tmp_path) == ["writers.lock"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="is a file"):
        ZarrRecorder(tmp_path / "file", PICTURES, FIVE)


def test_adding_waits_when_the_queue_is_full_and_says_so(tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (210, 160, 3), np.uint8)
    big = type(PICTURES)(0, 255, frame.shape, np.uint8)
    with ZarrRecorder(tmp_path, big, FIVE, queue=1) as recorder:
        recorder.begin()
        for _ in range(300):
            recorder.add(frame, 0, 0.0, False, False)
        stats = recorder.stats()
        recorder.end(frame)
    assert stats.waits > 0
    assert stats.waited_s > 0
    assert stats.rows - stats.committed_rows <= 3 * 32


@pytest.mark.parametrize("name", ["frames", "meta", "observation", "lane"])
def test_an_extra_cannot_take_a_name_that_a_reader_means_otherwise(tmp_path, name):
    with pytest.raises(RecordingError, match=f"rename the extras .*{name}"):
        ZarrRecorder(tmp_path, FIVE, FIVE, extras={name: "float32"})


@pytest.mark.parametrize(
    ("text", "message"), [("\ud800", "cannot be recorded as UTF-8"), ("é" * 140_000, "has 280000 bytes of text")]
)
def test_text_that_could_not_be_read_again_is_refused_at_once(tmp_path, text, message):
    with ZarrRecorder(tmp_path, FIVE, FIVE, extras={"note": "string"}) as recorder:
        recorder.begin()
        for _ in range(1100):
            recorder.add(0, 0, 0.0, False, False, note="x")
        with pytest.raises(RecordingError, match=message):
            recorder.add(0, 0, 0.0, False, False, note=text)
        recorder.end(0)
    assert open_recording(tmp_path).read(0).extras["note"].tolist() == ["x"] * 1100


def test_integers_that_would_change_their_sign_are_refused():
    signed, unsigned = spaces.Box(-128, 127, (2,), np.int8), spaces.Box(0, 2**63, (1,), np.uint64)
    for space, value in ((signed, np.array([200, 1], np.uint8)), (unsigned, np.array([-1]))):
        with pytest.raises(RecordingError, match="would be altered"):
            to_rows("observation", space, value)
    assert to_rows("o", signed, np.array([100, 1], np.uint8))["o"].tolist() == [100, 1]


def test_a_recording_that_is_removed_meanwhile_is_one_clear_error(tmp_path):
    recorder = ZarrRecorder(tmp_path / "gone", PICTURES, FIVE, extras=EXTRAS)
    write(recorder, 0, 3)
    recorder.flush()
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(RecordingError, match="has been removed or moved away"):
        write(recorder, 1, 3)
    with pytest.raises(RecordingError):
        recorder.close()


def test_a_forked_child_does_not_keep_a_closed_journal_locked(tmp_path):
    journal = JournalFile(tmp_path / "journal.jsonl")
    with subprocess_that_sleeps(journal):
        journal.close()
        JournalFile(tmp_path / "journal.jsonl").close()


@contextmanager
def subprocess_that_sleeps(journal):
    """A child that has inherited the open file, as a forked data loader does."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[journal._fd])
    try:
        yield
    finally:
        child.communicate(b"\n", timeout=60)


def test_a_return_that_no_number_holds_is_refused_at_the_step_that_brings_it(tmp_path):
    with ZarrRecorder(tmp_path, FIVE, FIVE) as recorder:
        recorder.begin()
        recorder.add(0, 0, 1e308, False, False)
        with pytest.raises(RecordingError, match="scale rewards"):
            recorder.add(0, 0, 1e308, False, False)
        recorder.end(0)
    assert open_recording(tmp_path).episodes[0].return_ == 1e308
