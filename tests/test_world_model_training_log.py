"""The log of a run has every step once, whatever happened on the way."""

import json
from pathlib import Path

from world_model.training_log import TrainingLog


def test_lines_of_later_steps_and_torn_ones_are_dropped_when_a_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = TrainingLog(path, 0)
    for step in range(1, 6):
        first.write({"step": step, "loss": step / 10})
    first.close()
    with open(path, "a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    second = TrainingLog(path, 3)
    second.write({"step": 4, "loss": 4.0})
    second.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 4.0)]
