"""Recordings in an object store: a real S3 server on loopback (moto), real sockets, real kills."""

import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import zip_longest
from pathlib import Path
from threading import Event, Thread

import boto3
import numpy as np
import pytest
import zarr
from flaky_network import FlakyNetwork
from moto.server import ThreadedMotoServer
from obstore.store import from_url
from recorder_suite import EXTRAS, FIVE, PICTURES, RecorderSuite, check, extras_of, pictures, play, properties, write

from recorders import BusyError, RecordingError, ZarrRecorder, open_recording
from recorders.collect import CollectConfig, collect
from recorders.export import ExportConfig, export
from recorders.inspect import InspectConfig, inspect
from recorders.integrity import problems
from recorders.journal import parse_events
from recorders.leftovers import repair_storage
from recorders.merge import MergeConfig, merge
from recorders.object_journal import BLOCK
from recorders.object_storage import ObjectStorage

ROOT = Path(__file__).resolve().parent.parent
BUCKET = "bucket"
KILLS = int(os.environ.get("KILLS", "5"))


@pytest.fixture(scope="module")
def server():
    """Address of an S3 server with a bucket, which this process and its children use."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key",
            "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield host, port
    moto.stop()


@pytest.fixture
def fresh(server, request):
    """A function that gives a new empty place in the bucket at each call."""
    count = iter(range(10**6))
    return lambda: f"s3://{BUCKET}/{request.node.name}/place-{next(count)}"


class TestObjectStore(properties(examples=3), RecorderSuite):
    @pytest.fixture
    def fresh(self, fresh):
        return fresh


@pytest.fixture
def network(server, monkeypatch):
    """A network to the server that can break; whatever is opened from now on goes through it."""
    network = FlakyNetwork(*server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
    yield network
    network.close()


def recorder_at(place, **more):
    return ZarrRecorder(place, PICTURES, FIVE, extras=EXTRAS, **more)


def run(code, *arguments):
    """Run Python in a process of its own, in which what tests import can be imported."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    return subprocess.run([sys.executable, *code, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": paths},
                          capture_output=True, text=True, timeout=100)  # fmt: skip


def test_two_recorders_write_one_collection_at_the_same_time(fresh):
    place = fresh()
    with recorder_at(place, shared=True) as one, recorder_at(place, shared=True) as two:
        for first, second in zip_longest(play(one, 1, 70), play(two, 3, 40)):
            assert first is second is None
    recording = open_recording(place)
    assert sorted(episode.seed for episode in recording.episodes) == [1, 3]
    for episode in recording.episodes:
        check(recording, episode)
    assert all(segment.sealed for segment in recording.segments)
    assert problems(recording, progress=False) == []


def test_a_new_recorder_leaves_segments_that_are_being_written_alone(fresh):
    place = fresh()
    with recorder_at(place) as one:
        write(one, 1, 40)
        with recorder_at(place) as two:  # not even said to be shared
            write(two, 3, 40)
        assert [segment.sealed for segment in open_recording(place).segments] == [False, True]
        write(one, 5, 40)
    recording = open_recording(place)
    assert [episode.seed for episode in recording.episodes] == [1, 5, 3]
    for episode in recording.episodes:
        check(recording, episode)


def test_an_object_is_created_once_and_never_overwritten(fresh):
    storage = ObjectStorage(fresh())
    storage.create("a/1", b"mine")
    storage.create("a/1", b"mine")  # an answer that got lost makes a writer try again
    with pytest.raises(BusyError, match=r"place-0/a/1 has been written by somebody else"):
        storage.create("a/1", b"yours")
    assert storage.read("a/1") == b"mine"


def test_of_two_writers_of_one_journal_the_first_stops_at_its_next_event(fresh):
    one, two = ObjectStorage(place := fresh()), ObjectStorage(place)
    first = one.journal("seg-1", False)
    first.append({"event": "begin", "n": 1})
    second = two.journal("seg-1", False)
    with pytest.raises(BusyError, match="somebody else"):
        first.append({"event": "begin", "n": 2})
    second.append({"event": "begin", "n": 3})
    events = parse_events(ObjectStorage(place).read_journal("seg-1"))
    assert [event.get("n") for event in events] == [None, 1, None, 3]


def test_a_writer_that_was_taken_for_dead_stops_and_changes_nothing(fresh):
    place = fresh()
    with pytest.raises(RecordingError, match=r"could not be closed|written by somebody else"), recorder_at(place) as it:
        write(it, 1, 40)
        assert repair_storage(it.storage, progress=False, alone=True).sealed == it.segments  # which was not true
        write(it, 3, 40)
    recording = open_recording(place)
    assert [episode.seed for episode in recording.episodes] == [1]
    check(recording, recording.episodes[0])


def test_a_journal_is_read_in_few_requests_and_news_in_fewer(fresh, network):
    writer, reader = ObjectStorage(place := fresh()), ObjectStorage(place)
    journal = writer.journal("seg-1", False)
    for n in range(200):
        journal.append({"event": "flush", "n": n})
        if n % 67 == 0 or n > 195:
            events = parse_events(reader.read_journal("seg-1"))
            assert [event["n"] for event in events[1:]] == list(range(n + 1))
    before = network.requests
    assert len(parse_events(ObjectStorage(place).read_journal("seg-1"))) == 201
    assert network.requests - before == 1 + 1 + 201 // BLOCK + 1 + 1  # journal.jsonl?, a list, blocks, journal.jsonl?
    before = network.requests
    reader.read_journal("seg-1")
    assert network.requests - before == 2
    ObjectStorage(place).remove("seg-1/journal/00000150.jsonl")
    assert len(parse_events(ObjectStorage(place).read_journal("seg-1"))) == 150  # nothing counts behind a gap
    lines = reader.read_journal("seg-1")
    writer.replace_journal("seg-1", lines)
    assert reader.read_journal("seg-1") == ObjectStorage(place).read_journal("seg-1") == lines
    assert writer.list("seg-1") == ["journal.jsonl"]


@pytest.mark.parametrize("slow", ["reader", "writer"])
def test_a_journal_is_whole_at_any_moment_while_it_is_replaced(fresh, server, network, monkeypatch, slow):
    storages = {"slow": ObjectStorage(place := fresh())}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server))
    storages["fast"] = ObjectStorage(place)
    writer, reader = (storages["slow" if who == slow else "fast"] for who in ("writer", "reader"))
    counts, over = [], Event()

    def poll(name):
        while not over.is_set():
            reader._journals.clear()  # as one that sees the journal for the first time
            counts.append(reader.read_journal(name).count(b"\n"))

    for name in ("seg-1", "seg-2", "seg-3", "seg-4"):
        over.clear()
        network.delay = 0
        journal = writer.journal(name, False)
        for n in range(39):
            journal.append({"event": "flush", "rows": n})
        network.delay = 0.05  # opens every gap there might be
        with ThreadPoolExecutor(1) as pool:
            polling = pool.submit(poll, name)
            writer.replace_journal(name, writer.read_journal(name))
            over.set()
            polling.result()
    assert set(counts) == {40}


def test_a_segment_has_an_address_of_its_own(fresh):
    place = fresh()
    with recorder_at(place) as it:
        write(it, 1, 40)
        for _ in range(2):  # while it is written, and sealed
            recording = open_recording(f"{place}/{it.segments[0]}/")
            check(recording, recording.episodes[0])
            it.close()


def test_a_clip_of_a_sealed_segment_takes_one_request(fresh, network):
    place = fresh()
    with recorder_at(place) as it:
        write(it, 1, 200)
    recording = open_recording(place)
    recording.frames(0, 10)  # fetches the shard's index
    before = network.requests
    assert (recording.frames(100, 116) == pictures(1, 201)[100:116]).all()
    assert network.requests - before == 1
    before = network.requests
    assert not recording.refresh()
    assert not recording.refresh()
    assert network.requests - before <= 3  # the collection twice, the journal of what is sealed once


def test_a_lost_connection_is_one_clear_error_and_flush_goes_on(fresh, network):
    place, frames = fresh(), pictures(1, 200)
    recorder = recorder_at(place)
    recorder.begin(seed=1)
    for t in range(199):
        if t == 50:
            recorder.flush()
            network.broken = True
        recorder.add(frames[t], t % 5, t - 0.5, t == 198, False, **extras_of(1, t))
    with pytest.raises(RecordingError) as caught:
        recorder.flush()
    message = str(caught.value)
    assert f"recording into {place} has stopped" in message
    assert "calling flush() goes on" in message
    assert len(message) < 500 and "\n" not in message
    network.broken = False
    recorder.flush()
    recorder.end(frames[199], number=1)
    recorder.close()
    recording = open_recording(place)
    check(recording, recording.episodes[0])
    assert recording.episodes[0].steps == 199


def test_an_answer_that_gets_lost_costs_nothing(fresh, network):
    place = fresh()
    with recorder_at(place) as it:
        network.losing = b"/journal/"
        with suppress(RecordingError):
            write(it, 1, 40)
        network.losing = None
        it.flush()
    assert network.lost > 0
    recording = open_recording(place)
    check(recording, recording.episodes[0])
    assert problems(recording, progress=False) == []


KILLED = """
import sys
from recorder_suite import EXTRAS, FIVE, PICTURES, write
from recorders import ZarrRecorder
place, life, episodes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
number = 1000 * life
while True:
    with ZarrRecorder(place, PICTURES, FIVE, extras=EXTRAS) as recorder:
        for _ in range(episodes):
            number += 1
            write(recorder, number, 20 + number % 50)
            recorder.flush()
            print(number, flush=True)
"""


def test_whatever_a_kill_interrupts_what_was_reported_is_there(fresh):
    place, chance, reported = fresh(), np.random.default_rng(), []
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    for life in range(KILLS):
        episodes = 4 if life < KILLS - 1 else 10**6  # the last never closes its recorder: something is left to seal
        with subprocess.Popen([sys.executable, "-c", KILLED, place, str(life), str(episodes)], stdout=subprocess.PIPE,
                              text=True, env={**os.environ, "PYTHONPATH": paths}) as child:  # fmt: skip
            first = child.stdout.readline()  # it has started
            time.sleep(chance.uniform(0, 1.5))
            child.kill()
            reported += [int(line) for line in [first, *child.stdout.read().splitlines()]]
    _assert_there(place, reported)
    assert not all(segment.sealed for segment in open_recording(place).segments)
    done = run(["-m", "recorders.repair"], f"path={place}")
    assert done.returncode == 0, done.stderr
    assert "alone=true repairs and seals those" in done.stdout
    done = run(["-m", "recorders.repair"], f"path={place}", "alone=true")
    assert done.returncode == 0, done.stderr
    _assert_there(place, reported)
    assert all(segment.sealed for segment in open_recording(place).segments)
    assert not repair_storage(ObjectStorage(place), progress=False, alone=True).sealed


def _assert_there(place, reported):
    recording = open_recording(place)
    assert len(reported) >= 1
    assert set(reported) <= {episode.seed for episode in recording.episodes if not episode.unfinished}
    for episode in recording.episodes:
        if episode.unfinished:
            seen = recording.read(episode).observations
            assert (seen == pictures(episode.seed, 21 + episode.seed % 50)[: len(seen)]).all()
        else:
            check(recording, episode)
    assert problems(recording, progress=False) == []


def test_plain_zarr_opens_a_sealed_segment(fresh):
    place = fresh()
    with recorder_at(place) as it:
        write(it, 1, 100)
    (segment,) = (recording := open_recording(place)).segments
    store = zarr.storage.ObjectStore(from_url(f"{place}/{segment.name}/sealed.zarr"), read_only=True)
    group = zarr.open_group(store, mode="r")
    assert (group["frames"][:] == recording.frames(0, 101)).all()
    assert (group["reward"][:] == recording.rewards).all()
    assert list(group["note"][:]) == list(recording.extra("note"))


WORKERS = """
import sys
from torch.utils.data import DataLoader
from recorders import ClipDataset
if __name__ == "__main__":
    clips = ClipDataset(sys.argv[1], steps=8, count=6)
    plain = [item["frames"] for batch in [list(clips)] for item in batch]
    for item, other in zip(plain, DataLoader(clips, batch_size=None, num_workers=2, multiprocessing_context="spawn")):
        assert (item == other["frames"].numpy()).all()
    try:
        next(iter(DataLoader(clips, batch_size=None, num_workers=2, multiprocessing_context="fork")))
    except OSError as error:
        print("refused:", "multiprocessing_context='spawn'" in str(error))
    assert (clips[3]["frames"] == plain[3]).all()
    print("the same")
"""


def test_workers_read_the_same_clips_when_spawned_and_are_refused_when_forked(fresh, tmp_path):
    place, script = fresh(), tmp_path / "workers.py"
    with recorder_at(place) as it:
        write(it, 1, 60)
    script.write_text(WORKERS)  # spawned processes import it
    done = run([str(script)], place)
    assert done.stdout.split("\n")[:2] == ["refused: True", "the same"], done.stderr


def test_the_commands_take_addresses(fresh, tmp_path, capsys):
    one, two = fresh(), fresh()
    assert collect(CollectConfig(env="CartPole-v1", out=one, steps=60)) == one
    with pytest.raises(RecordingError, match="already holds a recording"):
        collect(CollectConfig(env="CartPole-v1", out=one, steps=60))
    merge(MergeConfig(inputs=[one, one], out=two))
    assert inspect(InspectConfig(path=two))
    assert "every chunk has its checksum" in capsys.readouterr().out
    export(ExportConfig(path=two, to="npz", out=str(tmp_path / "npz")))
    with pytest.raises(RecordingError, match="a folder of this machine"):
        export(ExportConfig(path=two, to="npz", out=fresh()))
    assert len(list((tmp_path / "npz").iterdir())) == len(open_recording(two).episodes)


def test_the_missing_package_is_named():
    done = run(["-c", "import sys; sys.modules['obstore'] = None; import recorders; recorders.open_recording('s3://b/x')"])
    assert "RecordingError: object stores need another package" in done.stderr
    assert "pip install -e '.[remote]'" in done.stderr


class Denied(BaseHTTPRequestHandler):
    """Answers as S3 does whoever has no right."""

    def do_GET(self):
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_what_cannot_be_reached_is_said_in_one_line(fresh, server, monkeypatch):
    with pytest.raises(RecordingError, match=r"s3://no-bucket/x cannot be read: .*NoSuchBucket"):
        open_recording("s3://no-bucket/x")
    with pytest.raises(RecordingError, match=r"cannot record into s3://no-bucket/x: .*NoSuchBucket"):
        recorder_at("s3://no-bucket/x")
    with pytest.raises(RecordingError, match="pathlib took a / from it: give s3:// as a string"):
        open_recording(Path("s3://bucket/x"))
    with pytest.raises(RecordingError, match="ftp://x is no object store"):
        open_recording("ftp://x")
    with HTTPServer(("127.0.0.1", 0), Denied) as denying:
        Thread(target=denying.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{denying.server_port}")
        with pytest.raises(RecordingError, match=r"cannot be read: access was denied to .*, AccessDenied"):
            open_recording("s3://bucket/x")
        denying.shutdown()
    with pytest.raises(RecordingError, match=r"cannot be read: .*127.0.0.1:\d+ \(Connection refused\)"):
        open_recording("s3://bucket/x")
