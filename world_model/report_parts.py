"""Finished parts of an evaluation, on disk as soon as they are there: a killed one goes on where it was."""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Part = dict[str, Any]


class ReportParts:
    """Parts by name, each computed once.

    Args:
        path: a JSON file; replaced after every part.
        key: what the parts depend on. A file of another key is not read.
        resume: whether a file is read at all.
    """

    def __init__(self, path: Path, key: dict[str, Any], resume: bool = True) -> None:
        self.path = path
        self.key: dict[str, Any] = json.loads(to_json(key))
        self.parts: dict[str, Part] = {}
        self.seconds: dict[str, float] = {}
        stored = _read(path) if resume else {}
        if stored.get("key") == self.key:
            self.parts, self.seconds = stored["parts"], stored["seconds"]

    def get(self, name: str, compute: Callable[[], Part]) -> Part:
        """The part of that name, computed unless it is there. It comes back as JSON has it: nan is None."""
        if name not in self.parts:
            begun = time.perf_counter()
            self.parts[name] = json.loads(to_json(compute()))
            self.seconds[name] = round(time.perf_counter() - begun, 1)
            write(self.path, to_json({"key": self.key, "seconds": self.seconds, "parts": self.parts}))
        return self.parts[name]

    def close(self) -> None:
        """Remove the file: the report is written."""
        self.path.unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """JSON with a line per figure or list of numbers, at six significant digits; nan and infinities are null."""
    return _lines(_plain(value), 0) + "\n"


def write(path: Path, text: str) -> None:
    """Replace a file atomically."""
    part = path.with_name(path.name + ".new")
    part.write_text(text)
    os.replace(part, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, float):  # numpy's float64, too
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _lines(value: Any, depth: int) -> str:
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(x, dict | list) for x in nested):
        return json.dumps(value)
    indent = "\n" + " " * (depth + 1)
    if isinstance(value, dict):
        inside = [f"{json.dumps(name)}: {_lines(x, depth + 1)}" for name, x in value.items()]
        return "{" + indent + ("," + indent).join(inside) + "\n" + " " * depth + "}"
    return "[" + indent + ("," + indent).join(_lines(x, depth + 1) for x in value) + "\n" + " " * depth + "]"
