"""What the project's commands have in common."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Command:
    """Configuration of a command line that leaves logging and the working folder alone, unlike Hydra by default."""

    defaults: list[Any] = field(
        default_factory=lambda: [
            "_self_",
            {"override hydra/job_logging": "none"},
            {"override hydra/hydra_logging": "none"},
        ]
    )
    hydra: Any = field(default_factory=lambda: {"run": {"dir": "."}, "output_subdir": None})
