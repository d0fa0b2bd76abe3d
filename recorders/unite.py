"""Recordings of different games as one: what holds all of them, and under which condition each step was taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np

from .layout import RecordingError
from .recording import Recording
from .schema import Extra
from .spaces import Space

CONDITION = "condition"
NOTE = Extra("int64", description="number, from 0, of the one of meta's `conditions` that the step was taken under")


@dataclass
class Kind:
    """What a step of a recording holds, and what changes when it is copied."""

    observation_space: Space
    action_space: Space
    extras: dict[str, Extra]
    meta: dict[str, Any] = field(default_factory=dict)
    """in the place of its own"""
    condition: int = -1
    """-1: none is noted"""
    actors: tuple[int, ...] = ()
    """new number of each behaviour; empty: as they are"""

    def extras_at(self, values: dict[str, np.ndarray], t: int) -> dict[str, Any]:
        """Extras of step t of a clip; 0 where the recording has no such field."""
        if self.condition < 0:
            return {name: own[t] for name, own in values.items()}
        known = {name: own[t] for name, own in values.items()} | {CONDITION: self.condition}
        if self.actors and "actor" in known:
            known["actor"] = self.actors[int(known["actor"])]
        return {name: known.get(name, np.zeros(extra.shape, extra.dtype)) for name, extra in self.extras.items()}


def united(recordings: Sequence[Recording], kinds: Sequence[Kind], conditions: Sequence[str]) -> list[Kind]:
    """The kinds of recordings that become one under conditions.

    Actions are those of the game that has most; the others' must be the first of them, by name. Fields that a recording
    has not are 0 in its steps. Players are counted through.

    Args:
        conditions: a name for each recording; the same one for recordings of the same game.

    Raises:
        RecordingError: saying which recording does not go with the others, and why.
    """
    if len(conditions) != len(recordings) or not all(conditions):
        raise RecordingError(f"conditions must name each of the {len(recordings)} inputs, got {list(conditions)}")
    names = list(dict.fromkeys(conditions))
    most = max(kinds, key=lambda kind: _count(kind.action_space))
    widest = recordings[list(kinds).index(most)]
    extras = {CONDITION: NOTE} | {name: extra for kind in reversed(kinds) for name, extra in kind.extras.items()}
    players: list[str] = []
    for recording in recordings:
        players += [name for name in recording.meta.get("behaviours", []) if name not in players]
    for recording, kind in zip(recordings, kinds, strict=True):
        _check(recording, kind, widest, most, extras)
    meta = {"conditions": names, "behaviours": players, "game": _game(recordings, widest, conditions)}
    return [replace(kind, action_space=most.action_space, extras=extras, meta=meta,
                    condition=names.index(name),
                    actors=tuple(players.index(player) for player in recording.meta.get("behaviours", [])))
            for recording, kind, name in zip(recordings, kinds, conditions, strict=True)]  # fmt: skip


def _alike(space: Space, most: Space) -> bool:
    return space == most or bool(_count(space) and _count(most))


def _count(space: Space) -> int:
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 0


def _check(recording: Recording, kind: Kind, widest: Recording, most: Kind, extras: dict[str, Extra]) -> None:
    if kind.observation_space != most.observation_space:
        raise RecordingError(f"{recording.path} has the observation_space {kind.observation_space}, {widest.path} has "
                             f"{most.observation_space}: record them with the same size=")
    if CONDITION in kind.extras:
        raise RecordingError(f"{recording.path} notes conditions already: name its own inputs instead")
    own, all_ = (list(r.meta.get("game", {}).get("action_meanings", [])) for r in (recording, widest))
    same = kind.action_space == most.action_space and (not own or not all_)  # nobody knows more
    if not same and (not own or not _alike(kind.action_space, most.action_space) or all_[: len(own)] != own):
        raise RecordingError(f"{recording.path} has the actions {own or kind.action_space}, {widest.path} has "
                             f"{all_ or most.action_space}: they go together if the ones are the first of the others")
    for name, extra in kind.extras.items():
        if (extra.dtype, tuple(extra.shape)) != (extras[name].dtype, tuple(extras[name].shape)):
            raise RecordingError(f"the field {name!r} of {recording.path} is {extra.dtype} {list(extra.shape)}, in "
                                 f"another recording {extras[name].dtype} {list(extras[name].shape)}")


def _game(recordings: Sequence[Recording], widest: Recording, conditions: Sequence[str]) -> dict[str, Any]:
    """The card of a game that is all of them: that of the widest, with the keys of all; the first one's come first."""
    games = [recording.meta.get("game", {}) for recording in recordings]
    if len(rates := {game.get("fps") for game in games}) > 1:
        raise RecordingError(f"the games run at {sorted(map(str, rates))} steps a second: record them at one rate")
    keys: dict[str, Any] = {}
    for game in games:
        keys = dict(game.get("keys", {})) | keys
    return {**widest.meta.get("game", {}), "id": " + ".join(dict.fromkeys(str(game.get("id")) for game in games)),
            "keys": keys, "conditions": dict(reversed([*zip(conditions, games, strict=True)]))}
