"""What must hold of a recording after a kill: all that was reported committed is there, and nothing in it is wrong."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recorders import Clip, Episode, RecordingError, open_recording

from .crash_episodes import EXTRAS, Name

ENDED = -1
"""Instead of a number of rows: the whole episode, and that it ended."""
Claims = dict[Name, int]
"""What was reported committed: `ENDED`, or how many rows (observations) at least."""


@dataclass
class Findings:
    """What a look at a recording found.

    Attributes:
        seen: every episode that is there, as claims to hold the recording to at the next look.
        rows: how many rows each of them has.
        lost: one line for each claim that does not hold.
        wrong: one line for each thing that is not what the writer recorded.
    """

    seen: Claims = field(default_factory=dict)
    rows: dict[Name, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is lost and nothing wrong."""
        return not self.lost and not self.wrong


def look(path: Path, claims: Claims) -> Findings:
    """Open a collection, compare every byte of it with what its writers made, and hold it to `claims`.

    A collection without anything is in order as long as nothing is claimed of it.
    """
    found = Findings()
    try:
        recording = open_recording(path)
    except RecordingError as error:
        if claims:
            found.lost.append(f"{len(claims)} episodes were committed, but: {error}")
        return found
    for index, episode in enumerate(recording.episodes):
        name = Name(*episode.meta["who"])
        if name in found.seen:
            found.wrong.append(f"{name} is there twice")
        found.seen[name] = (episode.stop - episode.start) if episode.unfinished else ENDED
        found.rows[name] = episode.stop - episode.start
        try:
            found.wrong += [f"{name}: {what}" for what in differences(name, episode, recording.read(index))]
        except RecordingError as error:
            found.wrong.append(f"{name} cannot be read: {error}")
    for name, wanted in claims.items():
        has = found.seen.get(name)
        if has is None:
            found.lost.append(f"{name} is not there, {_said(wanted)}")
        elif has != ENDED and (wanted == ENDED or has < wanted):
            found.lost.append(f"{name} has {has} rows, {_said(wanted)}")
    return found


def differences(name: Name, episode: Episode, clip: Clip) -> list[str]:
    """What in a read episode is not as `name` says; rows after the last whole step of an unfinished one count too."""
    n, said = episode.steps, []
    if not episode.unfinished and n != name.steps:
        said.append(f"has {n} steps instead of {name.steps}")
    if episode.unfinished and n > name.steps:
        said.append(f"has {n} steps, more than the {name.steps} there ever were")
    terminated, truncated = name.flags(0, n)
    pairs = {"observations": (clip.observations, name.observations(0, n + 1)),
             "actions": (clip.actions, name.actions(0, n)), "rewards": (clip.rewards, name.rewards(0, n)),
             "terminated": (clip.terminated, terminated), "truncated": (clip.truncated, truncated)}
    extras = name.extras(0, n)
    pairs |= {extra: (clip.extras[extra], extras[extra]) for extra in EXTRAS}
    for what, (has, wanted) in pairs.items():
        if has.shape != wanted.shape or has.dtype != wanted.dtype:
            said.append(f"{what} are {has.dtype} {has.shape} instead of {wanted.dtype} {wanted.shape}")
        elif not np.array_equal(has, wanted):
            said.append(f"{what} differ from row {int(np.argmax((has != wanted).reshape(len(has), -1).any(1)))} on")
    if episode.seed != name.seed or episode.options() != name.options:
        said.append(f"has seed {episode.seed} and options {episode.options()}")
    if episode.return_ != name.rewards(0, n).sum():
        said.append(f"has the return {episode.return_} instead of {name.rewards(0, n).sum()}")
    if not episode.unfinished and episode.meta.get("length") != name.steps:
        said.append(f"has lost what was noted at its end: {episode.meta}")
    arrays, wanted_arrays = episode.arrays(), name.arrays or {}
    if arrays.keys() != wanted_arrays.keys() or any((arrays[k] != wanted_arrays[k]).any() for k in arrays):
        said.append(f"has other arrays: {sorted(arrays)}")
    return said


def leftovers(path: Path) -> list[str]:
    """What must not be there after a repair: half-written files, and segments that are not sealed."""
    found = [f"{file} is left over" for file in path.rglob("*.tmp*")]
    for segment in path.glob("seg-*"):
        if not (segment / "sealed.zarr").is_dir() or (segment / "data.zarr").exists():
            found.append(f"{segment} is not sealed: {sorted(file.name for file in segment.iterdir())}")
    return found


def _said(wanted: int) -> str:
    return "its end was committed" if wanted == ENDED else f"{wanted} rows were committed"
