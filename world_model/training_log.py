"""What every step of a run gave, one line of JSON each: `metrics.jsonl`."""

import json
import os
from pathlib import Path
from typing import Any


class TrainingLog:
    """A log that is written to from a step on; what was logged of later steps, before a kill, is dropped.

    Args:
        path: of the file; created if there is none.
        step: last step whose line is kept.
    """

    def __init__(self, path: Path, step: int):
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            part = path.with_name(path.name + ".part")
            part.write_text("".join(line + "\n" for line in kept))
            os.replace(part, path)
        self._file = open(path, "a")  # noqa: SIM115  (closed by `close`)

    def write(self, record: dict[str, Any]) -> None:
        """Add the line of a step, which is `record["step"]`."""
        self._file.write(json.dumps(record) + "\n")

    def flush(self) -> None:
        """Hand all lines to the system."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def _step_of(line: str) -> float:
    """Step of a line; infinite if the line was torn."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
