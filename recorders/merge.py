"""Merge recordings: `python -m recorders.merge inputs=[data/a,data/b] out=data/c`.

Recordings of different games become one under conditions, for a world that holds them all:
`python -m recorders.merge inputs=[data/pong,data/breakout] conditions=[Pong,Breakout] out=data/both`.
"""

import sys
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import gymnasium
import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from .cards import extra_cards, extras_of, portable_meta
from .collection import segment_names
from .command import Command, command, settings
from .destination import new_recording
from .episode import Episode
from .episode_data import begin_episode, own_arrays
from .layout import FRAMES, RecordingError
from .progress import Progress
from .recording import Recording, open_recording
from .spaces import space_from_card, value_at
from .storage import storage_at
from .unite import Kind, united
from .zarr_recorder import ZarrRecorder

BLOCK = 256
"""steps in memory at a time"""


@dataclass(kw_only=True)
class MergeConfig(Command):
    """Which recordings become one."""

    inputs: list[str] = field(default_factory=list)
    """folders of recordings; they are not touched"""
    out: str = MISSING
    """folder of the new recording; it must not hold one yet"""
    conditions: list[str] = field(default_factory=list)
    """for different games: the name of each input's, noted with every step; empty: all inputs are of one game"""
    action_space: dict[str, Any] = field(default_factory=dict)
    """for recordings from before version 1 that do not note it: +action_space={type:Discrete,n:6,start:0}"""


def merge(config: MergeConfig) -> int:
    """Copy all episodes of the inputs into a new recording, with a progress bar.

    The result appears whole or not at all. Every segment of an input becomes one of it, with its notes; every episode's
    meta says under `merged_from` which recording and episode it was.

    Returns:
        How many episodes there are.

    Raises:
        RecordingError: if an input is none, they differ in spaces or fields, or `out` holds a recording.
    """
    if not config.inputs:
        raise RecordingError("inputs must name at least one recording, e.g. inputs=[data/a,data/b]")
    if segment_names(storage_at(config.out)):
        raise RecordingError(f"{config.out} already holds a recording: choose another out")
    recordings = [open_recording(path) for path in config.inputs]
    kinds = [_kind(recording, config.action_space) for recording in recordings]
    if config.conditions:
        kinds = united(recordings, kinds, config.conditions)
    for recording, kind in zip(recordings[1:], kinds[1:], strict=True) if not config.conditions else ():
        _check_alike(recordings[0], kinds[0], recording, kind)
    total = sum(len(recording.episodes) for recording in recordings)
    with new_recording(config.out) as out, Progress(total=total, unit="episode", desc=f"into {config.out}") as bar:
        for recording, kind in zip(recordings, kinds, strict=True):
            for segment, episodes in groupby(recording.episodes, key=lambda episode: episode.segment):
                _copy_segment(recording, kind, segment, list(episodes), out, bar)
    return total


def _kind(recording: Recording, action_space: dict[str, Any]) -> Kind:
    observation = action = None
    try:
        observation, action = recording.observation_space, recording.action_space
    except RecordingError:
        if not action_space or FRAMES not in recording.fields:
            raise RecordingError(
                f"{recording.path} does not say what its spaces are: if its observations are pictures, "
                "give the actions', e.g. +action_space={type:Discrete,n:6,start:0}"
            ) from None
    if observation is None or action is None:
        observation = gymnasium.spaces.Box(0, 255, recording.frame_shape, np.uint8)
        action = space_from_card({"dtype": "int64", "shape": [], **action_space})
    return Kind(observation, action, extras_of({"extras": extra_cards(recording)}))


def _check_alike(first: Recording, kind: Kind, other: Recording, its: Kind) -> None:
    for what in ("observation_space", "action_space"):
        if getattr(kind, what) != getattr(its, what):
            raise RecordingError(
                f"{other.path} has the {what} {getattr(its, what)}, {first.path} has {getattr(kind, what)}: "
                "recordings of different games are merged under conditions=[one name for each input]"
            )
    if _fields(kind) != _fields(its):
        raise RecordingError(
            f"{other.path} has the extras {_fields(its)}, {first.path} has {_fields(kind)}: "
            "only recordings with the same fields can be merged"
        )
    if "actor" in kind.extras and first.meta.get("behaviours") != other.meta.get("behaviours"):
        raise RecordingError(
            f"the field actor counts {other.meta.get('behaviours')} in {other.path} and "
            f"{first.meta.get('behaviours')} in {first.path}: recordings with different players cannot be merged"
        )


def _fields(kind: Kind) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (extra.dtype, tuple(extra.shape)) for name, extra in sorted(kind.extras.items())}


def _copy_segment(recording: Recording, kind: Kind, segment: str, episodes: list[Episode], out: str,
                  bar: Any) -> None:  # fmt: skip
    meta = next(part.meta for part in recording.segments if part.name == segment)
    spaces = kind.observation_space, kind.action_space
    with ZarrRecorder(out, *spaces, extras=kind.extras, meta=portable_meta(meta) | kind.meta) as it:
        for episode in episodes:
            _copy_episode(recording, kind, episode, it)
            bar.update()


def _copy_episode(recording: Recording, kind: Kind, episode: Episode, recorder: ZarrRecorder) -> None:
    """Copy an episode block by block, so that long ones need little memory."""
    known = {"merged_from": episode.meta["merged_from"]} if "merged_from" in episode.meta else {}
    came = {"recording": str(recording.path), "episode": episode.id, **known}
    begin_episode(recorder, episode.seed, episode.options(), own_arrays(episode), {**episode.meta, "merged_from": came})
    last: Any = None
    for start in range(0, max(episode.steps, 1), BLOCK):
        clip = recording.read(episode, start, min(start + BLOCK, episode.steps))
        for t in range(len(clip)):
            recorder.add(
                value_at(kind.observation_space, clip.observations, t), value_at(kind.action_space, clip.actions, t),
                float(clip.rewards[t]), bool(clip.terminated[t]), bool(clip.truncated[t]),
                **kind.extras_at(clip.extras, t),
            )  # fmt: skip
        last = value_at(kind.observation_space, clip.observations, len(clip))
    recorder.end(last, **({"unfinished": True} if episode.unfinished else {}))


ConfigStore.instance().store(name="merge", node=MergeConfig)


@command("merge")
def main(cfg: DictConfig) -> None:
    """Entry point; bad input ends with one line and exit code 2."""
    try:
        config = cast(MergeConfig, settings(cfg))
        total = merge(config)
    except (ValueError, OSError) as error:
        print(f"recorders.merge: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"merged {total} episodes of {len(config.inputs)} recordings into {config.out}")


if __name__ == "__main__":
    main()
