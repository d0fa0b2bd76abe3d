"""With fsync, no power cut loses what was committed; `python -m benchmarks.crash_recorder mode=powercut` cuts more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_with_fsync_a_power_cut_loses_nothing_committed_and_without_it_does(tmp_path):
    words = [sys.executable, "-m", "benchmarks.crash_recorder", "mode=powercut", "kills=2", f"folder={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    if done.returncode == 2 and "cannot run here" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row[0]: row[1:] for row in map(str.split, done.stdout.splitlines()) if row}
    assert [int(figure) for figure in rows["kills"]] == [2, 2, 2, 6]
    episode, flush, without, _ = (int(figure) for figure in rows["lost"])
    assert episode == flush == 0
    assert without > 0, "nothing was lost without fsync: the power was not really cut"
