"""Which worlds there are: names of the shipped ones, and folders of one's own."""

import difflib
from pathlib import Path

from world_model import WorldError

WORLDS = Path(__file__).resolve().parent / "worlds"


def shipped_worlds(root: Path = WORLDS) -> list[str]:
    """Names of the worlds in `root`, sorted, e.g. `["Pong-v0"]`."""
    return [card.parent.name for card in sorted(root.glob("*/world.json"))]


def find_world(world: str, root: Path = WORLDS) -> Path:
    """The folder of a world.

    Args:
        world: a shipped world's name; upper and lower case do not matter and the version may be left out
            ("Pong-v0", "pong"), which means the newest. Or the path of a folder that holds a world.json.
        root: where shipped worlds lie.

    Raises:
        WorldError: if there is no such world; the message lists those that exist, the nearest first.
    """
    names = shipped_worlds(root)
    if world in names:
        return root / world
    if (Path(world) / "world.json").is_file():
        return Path(world)
    same = [name for name in names if world.casefold() in (name.casefold(), _stem(name).casefold())]
    if same:
        return root / max(same, key=_version)
    raise WorldError(f"no world {world!r}: expected {_expected(world, names)}, or the folder of a trained world")


def _expected(world: str, names: list[str]) -> str:
    near = difflib.get_close_matches(world.casefold(), [name.casefold() for name in names], n=3, cutoff=0.4)
    ordered = sorted(names, key=lambda name: (name.casefold() not in near, name))
    return "one of the shipped worlds (" + (", ".join(ordered) or "none ships with this checkout") + ")"


def _stem(name: str) -> str:
    return name.rpartition("-v")[0] or name


def _version(name: str) -> int:
    version = name.rpartition("-v")[2]
    return int(version) if version.isdigit() else -1
