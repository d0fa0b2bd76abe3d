"""Recorders are killed at random instants; `python -m benchmarks.crash_recorder` does the same for longer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.crash_checks import ENDED, leftovers, look
from benchmarks.crash_episodes import ACTIONS, EXTRAS, OBSERVATIONS, Name
from benchmarks.crash_recorder import CrashConfig
from recorders import ZarrRecorder

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked writers")


def command(code, *arguments):
    """Run it in a process of its own: the harness forks, which no process with threads should."""
    return subprocess.run([sys.executable, *code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100)


def figures(text):
    """The table's rows: name to the figures of its columns, the last of which is their sum."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: [int(figure) for figure in row[1:]] for row in rows if len(row) > 1 and row[-1].isdigit()}


def record(recorder, name):
    rows = name.rows()
    recorder.begin(seed=name.seed, options=name.options, arrays=name.arrays, **name.meta)
    for t in range(name.steps):
        rows.add(recorder, t, 0)
    recorder.end(rows.observations[-1], length=name.steps)


@pytest.fixture
def recorded(tmp_path):
    """A collection of two whole episodes, closed; and what is claimed of it."""
    names = [name for name in (Name(7, 0, number) for number in range(50)) if 40 < name.steps < 100][:2]
    with ZarrRecorder(tmp_path, OBSERVATIONS, ACTIONS, extras=EXTRAS, seal=False) as recorder:
        for name in names:
            record(recorder, name)
    return tmp_path, dict.fromkeys(names, ENDED)


@pytest.mark.parametrize("mode", ["single", "vector", "processes", "sealing"])
def test_whatever_a_kill_interrupts_nothing_committed_is_lost_or_changed(mode, tmp_path):
    done = command(["-m", "benchmarks.crash_recorder"], f"mode={mode}", "kills=5", f"folder={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = figures(done.stdout)
    assert found["kills"] == [5, 5]
    assert found["reads"][0] > 0


LIAR = """
import time
import benchmarks.crash_writers as writers
from benchmarks.crash_recorder import CrashConfig, run
class Liar(writers.ZarrRecorder):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        submit = self._writer.submit
        self._writer.submit = lambda job: submit(lambda: (time.sleep(0.05), job()))  # however fast the disk is
    def end(self, *given, wait=True, **named):
        super().end(*given, wait=False, **named)
    def flush(self):
        pass
writers.ZarrRecorder = Liar
raise SystemExit(0 if run(CrashConfig(mode="single", kills=8)) else 1)
"""


def test_a_recorder_that_reports_too_early_is_found_out():
    done = command(["-c", LIAR])
    assert done.returncode == 1, done.stdout + done.stderr
    assert figures(done.stdout)["lost"][0] > 0


def test_what_is_whole_is_found_in_order(recorded):
    path, claims = recorded
    found = look(path, claims)
    assert found.good
    assert found.seen == claims
    assert found.rows == {name: name.steps + 1 for name in claims}


def test_what_is_claimed_but_not_there_is_lost(recorded):
    path, claims = recorded
    claims[Name(8, 0, 0)] = 3
    assert look(path, claims).lost == [f"{Name(8, 0, 0)} is not there, 3 rows were committed"]
    shutil.rmtree(path)
    assert "3 episodes were committed, but" in look(path, claims).lost[0]
    assert look(path, {}).good


def test_what_is_cut_off_is_lost(recorded):
    path, claims = recorded
    (journal,) = path.glob("seg-*/journal.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    ends = [index for index, line in enumerate(lines) if b'"end"' in line]
    journal.write_bytes(b"".join(lines[: ends[-1]]))
    (line,) = look(path, claims).lost
    assert "its end was committed" in line


def test_a_chunk_of_something_else_is_wrong(recorded):
    path, claims = recorded
    first, second = sorted(path.glob("seg-*/data.zarr/*/c.[01].0.0.0"))
    shutil.copy(second, first)
    found = look(path, claims)
    assert any("observations differ from row 0 on" in line for line in found.wrong)


def test_a_chunk_that_is_gone_is_wrong(recorded):
    path, claims = recorded
    sorted(path.glob("seg-*/data.zarr/*/c.1.0.0.0"))[0].unlink()
    assert any("cannot be read" in line for line in look(path, claims).wrong)


def test_what_lies_about_after_a_repair_is_noticed(recorded):
    path, _ = recorded
    assert any("is not sealed" in line for line in leftovers(path))
    next(path.glob("seg-*")).joinpath("x.tmp").touch()
    assert any("x.tmp is left over" in line for line in leftovers(path))


def test_kills_are_shared_among_the_modes():
    assert CrashConfig(kills=10).shares() == {"single": 3, "vector": 3, "processes": 2, "sealing": 2}
    assert CrashConfig(kills=3, mode="vector").shares() == {"vector": 3}


def test_a_mode_that_is_none_is_refused():
    with pytest.raises(ValueError, match="mode is one of single, vector, processes, sealing, all, powercut, got x"):
        CrashConfig(mode="x")
    with pytest.raises(ValueError, match="kills and per_collection must be at least 1"):
        CrashConfig(kills=0)


def test_a_segment_whose_writer_was_killed_while_it_was_made_does_not_hide_the_others(recorded):
    path, claims = recorded
    half_made = path / "seg-18ea3662a63fc430-28392-050b92"
    (half_made / "data.zarr" / "frames").mkdir(parents=True)
    (half_made / "data.zarr" / "frames" / "zarr.json.tmp").touch()
    assert look(path, claims).good
    ZarrRecorder(path, OBSERVATIONS, ACTIONS, extras=EXTRAS, shared=True).close()
    assert half_made.exists(), "another writer might be making it"
    ZarrRecorder(path, OBSERVATIONS, ACTIONS, extras=EXTRAS).close()
    assert not half_made.exists()
    assert look(path, claims).good
    assert leftovers(path) == []


def test_an_episode_is_read_whole_behind_shorter_segments(tmp_path):
    names = [Name(run, 0, 0) for run in range(200) if 0 < Name(run, 0, 0).steps < 8][:2]
    names += [name for name in (Name(run, 0, 0) for run in range(200)) if 20 < name.steps < 32][:1]
    for name in names:
        with ZarrRecorder(tmp_path, OBSERVATIONS, ACTIONS, extras=EXTRAS) as recorder:
            record(recorder, name)
    found = look(tmp_path, dict.fromkeys(names, ENDED))
    assert found.good, found


HELD = """
import os, signal, sys
from pathlib import Path
from tqdm import tqdm
from benchmarks.crash_episodes import ACTIONS, EXTRAS, OBSERVATIONS
from recorders import ZarrRecorder
lock = tqdm.get_lock()
pid = os.fork()
if not pid:
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
ZarrRecorder(Path(sys.argv[1]), OBSERVATIONS, ACTIONS, extras=EXTRAS).close()
print("opened")
"""


def test_a_process_killed_while_it_drew_a_bar_holds_up_no_recorder(tmp_path):
    done = command(["-c", HELD], str(tmp_path))  # waits for ever if the lock that forked processes share is asked for
    assert done.stdout == "opened\n", done.stderr
