"""Says what is in a recording: `python -m recorders.inspect path=data/pong`."""

import sys
from dataclasses import dataclass
from typing import cast

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from PIL import Image

from .command import Command, command, settings
from .destination import local_path
from .episode import Episode
from .integrity import problems
from .layout import FRAMES
from .recording import Recording, open_recording


@dataclass(kw_only=True)
class InspectConfig(Command):
    """What to look at."""

    path: str = MISSING
    """the recording"""
    check: bool = True
    """read every byte and compare it with its checksum"""
    episodes: int = 20
    """how many episodes to list, at most"""
    thumbnails: str | None = None
    """PNG to write with one row of pictures per listed episode"""


def summary(recording: Recording) -> list[str]:
    """What a recording is, in a few lines."""
    episodes, meta = recording.episodes, recording.meta
    steps = sum(episode.steps for episode in episodes)
    cards = [(meta.get(card) or {}, key) for card, key in (("world", "name"), ("game", "id"), ("env", "id"))]
    names = [card.get(key) if isinstance(card, dict) else str(card) for card, key in cards]
    what = next(filter(None, names), "unknown origin")
    unfinished = sum(episode.unfinished for episode in episodes)
    sealed = sum(segment.sealed for segment in recording.segments)
    versions = sorted({segment.recorded_with for segment in recording.segments})
    returns = [episode.return_ for episode in episodes] or [0.0]
    lines = [
        f"{recording.path}: {what}, format {' and '.join(map(str, versions))}",
        f"{len(episodes)} episodes ({unfinished} unfinished), {steps} steps, {len(recording.segments)} segments "
        f"({sealed} sealed)",
        f"return {np.mean(returns):g} on average, {min(returns):g} to {max(returns):g}",
        *(f"  {name}: {field.dtype} {list(field.shape)}" for name, field in recording.fields.items()),
    ]
    if meta.get("world_hash"):
        lines.append(f"world {meta['world_hash']}")
    return lines


def episode_line(place: int, episode: Episode) -> str:
    """One episode in one line."""
    ways = {"unfinished": episode.unfinished, "terminated": episode.terminated, "truncated": episode.truncated}
    how = next((way for way, holds in ways.items() if holds), "cut")
    return f"{place:5d} {episode.steps:7d} steps, return {episode.return_:g}, seed {episode.seed}, {how}, {episode.id}"


def thumbnails(recording: Recording, episodes: list[Episode], columns: int = 8) -> Image.Image:
    """A picture with a row per episode: frames from its start to its end, evenly spaced.

    Raises:
        RecordingError: if observations are no pictures.
    """
    height, width, _ = recording.frame_shape
    sheet = np.zeros((len(episodes) * height, columns * width, 3), np.uint8)
    for row, episode in enumerate(episodes):
        for column, at in enumerate(np.linspace(episode.start, episode.stop - 1, columns).astype(int).tolist()):
            y, x = row * height, column * width
            sheet[y : y + height, x : x + width] = recording.frames(at, at + 1)[0]
    return Image.fromarray(sheet)


def inspect(config: InspectConfig) -> bool:
    """Print what is there; returns whether all is in order.

    Raises:
        RecordingError: if it is no recording.
    """
    recording = open_recording(config.path, salvage=True)
    print("\n".join(summary(recording)))
    listed = recording.episodes[: config.episodes]
    for place, episode in enumerate(listed):
        print(episode_line(place, episode))
    if len(listed) < len(recording.episodes):
        print(f"       ... and {len(recording.episodes) - len(listed)} more (episodes=N lists N)")
    if config.thumbnails and FRAMES in recording.fields:
        thumbnails(recording, listed).save(local_path(config.thumbnails, "thumbnails"))
        print(f"thumbnails are in {config.thumbnails}")
    found = problems(recording) if config.check else []
    for problem in found:
        print(f"recorders.inspect: {problem}", file=sys.stderr)
    if config.check:
        print(f"{len(found)} problems" if found else "every chunk has its checksum; nothing is missing")
    return not found


ConfigStore.instance().store(name="inspect", node=InspectConfig)


@command("inspect")
def main(cfg: DictConfig) -> None:
    """Entry point; bad input ends with one line and exit code 2, a damaged recording with 1."""
    try:
        fine = inspect(cast(InspectConfig, settings(cfg)))
    except (ValueError, OSError) as error:
        print(f"recorders.inspect: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
