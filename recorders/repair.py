"""Puts in order what killed recorders have left: `python -m recorders.repair path=data/pong`."""

import sys
from dataclasses import dataclass
from typing import cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from .collection import segment_names
from .command import Command, command, settings
from .layout import RecordingError
from .leftovers import repair_alone_if_possible
from .storage import storage_at


@dataclass(kw_only=True)
class RepairConfig(Command):
    """What is put in order."""

    path: str = MISSING
    """the collection's folder, or its address in an object store"""
    alone: bool = False
    """you say that nobody is recording there; object stores have no locks that would tell"""


ConfigStore.instance().store(name="repair", node=RepairConfig)


@command("repair")
def main(cfg: DictConfig) -> None:
    """Entry point; bad input ends with one line and exit code 2, damage that cannot be repaired with 1."""
    try:
        config = cast(RepairConfig, settings(cfg))
        path, storage = config.path, storage_at(config.path)
        if not segment_names(storage):
            raise RecordingError(f"{path} holds no segment (seg-*/journal.jsonl)")
        report = repair_alone_if_possible(storage, config.alone)
    except (ValueError, OSError) as error:
        print(f"recorders.repair: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{path}: {len(report.sealed)} segments sealed, {len(report.kept)} unfinished episodes kept, "
          f"{len(report.removed)} empty segments and {report.litter} leftovers removed, "
          f"{len(report.live)} segments being written left alone")  # fmt: skip
    if report.live and not storage.locks:
        print("alone=true repairs and seals those, if you know that nobody is writing them")
    for problem in report.damaged:
        print(f"recorders.repair: {problem}", file=sys.stderr)
    sys.exit(1 if report.damaged else 0)


if __name__ == "__main__":
    main()
