"""Kill recorders and cut the power, and check what is left: `python -m benchmarks.crash_recorder kills=500`.

Writers record deterministic episodes at full speed, report what is committed, and are killed (SIGKILL) at random
instants while another process reads the growing collection. After every kill each byte is compared with what was
recorded; then the next recorder repairs and appends. `mode=powercut` needs root: it records onto ext4 in a loop device,
kills, copies the device's file before anything else reaches it, and mounts the copy. Exits with 1 if a check fails,
with 2 if the power cannot be cut here.
"""

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from recorders import Command, command, settings

from .crash_campaign import Tally, campaign
from .crash_writers import PROGRAMS
from .power_cuts import Unavailable, cut_power

SHOWN = 5
"""Failures printed of each kind."""


@dataclass(kw_only=True)
class CrashConfig(Command):
    """How often to kill, and what."""

    mode: str = "all"
    """single, vector, processes, sealing; all: these four; powercut: with fsync, and without for contrast"""
    kills: int = 500
    """in all; power cuts in each of the three settings with mode=powercut"""
    seed: int = 0
    """of the instants; what a writer has reached by then depends on the machine"""
    per_collection: int = 8
    """kills before a new collection is begun"""
    longest_s: float = 0.6
    """no writer lives longer than so many seconds"""
    folder: str | None = None
    """where to work, a new folder; null takes one that is deleted afterwards unless a check fails"""

    def __post_init__(self) -> None:
        if self.mode not in (*PROGRAMS, "all", "powercut"):
            raise ValueError(f"mode is one of {', '.join((*PROGRAMS, 'all', 'powercut'))}, got {self.mode}")
        if min(self.kills, self.per_collection) < 1 or self.longest_s <= 0:
            raise ValueError("kills and per_collection must be at least 1 and longest_s above 0")

    def shares(self) -> dict[str, int]:
        """Kills of each mode; vector and processes get what single and sealing leave over."""
        if self.mode != "all":
            return {self.mode: self.kills}
        part, rest = divmod(self.kills, len(PROGRAMS))
        return {mode: part + (index < rest) for index, mode in enumerate(PROGRAMS) if part + (index < rest)}


ConfigStore.instance().store(name="crash_recorder", node=CrashConfig)


def run(config: CrashConfig) -> bool:
    """Do what `config` says and print a table; whether all checks held."""
    folder = Path(config.folder or tempfile.mkdtemp(prefix="crash-"))
    begun = time.monotonic()
    try:
        tallies = _power_cuts(config, folder) if config.mode == "powercut" else _kills(config, folder)
    except Unavailable as why:
        print(f"mode=powercut cannot run here: {why}", file=sys.stderr)
        sys.exit(2)
    print_table(tallies)
    good = all(tally.good for label, tally in tallies.items() if "expected" not in label)
    print(f"{time.monotonic() - begun:.0f} s; " + ("all checks held" if good else f"FAILED, see above and {folder}"))
    if good and config.folder is None:
        shutil.rmtree(folder)
    return good


def print_table(tallies: dict[str, Tally]) -> None:
    """One line per figure, one column per setting; failures below."""
    names = list(next(iter(tallies.values())).table())
    width = max(12, *(len(label) + 2 for label in tallies))
    print(f"{'':14s}" + "".join(f"{label:>{width}s}" for label in tallies) + f"{'all':>{width}s}")
    for name in names:
        figures = [tally.table()[name] for tally in tallies.values()]
        whole = max(figures) if name == "worst_loss" else sum(figures)
        print(f"{name:14s}" + "".join(f"{figure:{width}d}" for figure in [*figures, whole]))
    for label, tally in tallies.items():
        for kind in ("lost", "wrong", "bad_reads", "broken"):
            for line in getattr(tally, kind)[:SHOWN]:
                print(f"{label}: {kind}: {line}")


def _kills(config: CrashConfig, folder: Path) -> dict[str, Tally]:
    return {mode: campaign(mode, kills, folder / mode, config.seed, config.per_collection, config.longest_s)
            for mode, kills in config.shares().items()}


def _power_cuts(config: CrashConfig, folder: Path) -> dict[str, Tally]:
    settings = {"fsync=episode": "episode", "fsync=flush": "flush", "none (losses expected)": "none"}
    return {label: cut_power(fsync, config.kills, folder / fsync, config.seed, config.longest_s)
            for label, fsync in settings.items()}


@command("crash_recorder")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    if not run(cast(CrashConfig, settings(cfg))):
        sys.exit(1)


if __name__ == "__main__":
    main()
