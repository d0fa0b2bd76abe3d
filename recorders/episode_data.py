"""One whole episode in memory: the form in which recordings move between formats."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from . import notes
from .episode import Episode
from .layout import RecordingError
from .leaves import count
from .recorder import Recorder
from .recording import Recording
from .schema import Extra
from .spaces import value_at

Space = gymnasium.Space[Any]


@dataclass(kw_only=True)
class EpisodeData:
    """An episode with all its observations.

    Attributes:
        observations: T + 1 of them: an array [T + 1, ...], a dict or tuple of such, or a list.
        actions: T of them, likewise.
        rewards: float64 [T].
        terminated: bool [T].
        truncated: bool [T].
        extras: name to [T, ...], the further fields of every step.
        arrays: what was recorded with the episode as a whole.
        seed: what the environment was reset with, if known.
        options: reset options, if there were any.
        meta: anything JSON that was noted.
        id: the episode's name where it comes from.
        unfinished: whether recording broke off.
    """

    observations: Any
    actions: Any
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    seed: int | None = None
    options: dict[str, Any] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    unfinished: bool = False

    @property
    def steps(self) -> int:
        """Number of actions."""
        return len(self.rewards)


@dataclass(kw_only=True)
class Source:
    """Episodes of another format, opened.

    Attributes:
        name: where they lie, for messages.
        observation_space: of all episodes.
        action_space: of all episodes.
        extras: the further fields of every step.
        meta: anything JSON that holds for all episodes.
        episodes: reads one after the other.
        total: how many there are.
        notes: what a user should know, e.g. that spaces were guessed.
    """

    name: str
    observation_space: Space
    action_space: Space
    extras: dict[str, Extra]
    meta: dict[str, Any]
    episodes: Iterator[EpisodeData]
    total: int
    notes: list[str] = field(default_factory=list)


def read_episode(recording: Recording, episode: Episode) -> EpisodeData:
    """A whole episode of a recording, in memory."""
    clip, options = recording.read(episode), episode.options()
    return EpisodeData(
        observations=clip.observations, actions=clip.actions, rewards=clip.rewards, terminated=clip.terminated,
        truncated=clip.truncated, extras=clip.extras, arrays=own_arrays(episode), seed=episode.seed, options=options,
        meta=episode.meta, id=episode.id, unfinished=episode.unfinished,
    )  # fmt: skip


def own_arrays(episode: Episode) -> dict[str, np.ndarray]:
    """An episode's arrays without those that belong to its reset options."""
    found: dict[str, np.ndarray] = {}
    notes.split(episode.options(), "options", found)
    return {name: array for name, array in episode.arrays().items() if name not in found}


def write_episode(recorder: Recorder, data: EpisodeData, observation_space: Space, action_space: Space) -> None:
    """Record an episode that is in memory, step by step; an unfinished one stays marked as such.

    Raises:
        RecordingError: if its lengths do not fit together, or the recorder does not take it.
    """
    if wrong := mismatch(data, observation_space, action_space):
        raise RecordingError(f"episode {data.id} cannot be recorded: {wrong}")
    begin_episode(recorder, data.seed, data.options, data.arrays, data.meta)
    for t in range(data.steps):
        recorder.add(
            value_at(observation_space, data.observations, t), value_at(action_space, data.actions, t),
            float(data.rewards[t]), bool(data.terminated[t]), bool(data.truncated[t]),
            **{name: values[t] for name, values in data.extras.items()},
        )  # fmt: skip
    last = value_at(observation_space, data.observations, data.steps)
    recorder.end(last, **({"unfinished": True} if data.unfinished else {}))


def begin_episode(recorder: Recorder, seed: int | None, options: Mapping[str, Any] | None,
                  arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:  # fmt: skip
    """`recorder.begin` for notes that come from elsewhere.

    Raises:
        RecordingError: if a note has a name that `begin` needs for itself.
    """
    if taken := sorted(meta.keys() & {"lane", "seed", "options", "arrays", "self"}):
        raise RecordingError(f"notes of an episode cannot be called {taken}: rename them")
    recorder.begin(seed=seed, options=options, arrays=arrays, **meta)


def mismatch(data: EpisodeData, observation_space: Space, action_space: Space) -> str | None:
    """What is wrong with an episode's lengths, or None."""
    steps, seen = data.steps, count(observation_space, data.observations)
    lengths = {"actions": count(action_space, data.actions), "terminated": len(data.terminated),
               "truncated": len(data.truncated)}  # fmt: skip
    lengths |= {f"extra {name!r}": len(values) for name, values in data.extras.items()}
    wrong = {name: length for name, length in lengths.items() if length != steps}
    if wrong:
        return f"it has {steps} rewards, but {', '.join(f'{n} {name}' for name, n in wrong.items())}"
    if seen != steps + 1:
        return f"{steps} actions need {steps + 1} observations, it has {seen}"
    return None
