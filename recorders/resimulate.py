"""Lives an episode again: same environment, same seed, same actions, and are the observations the same?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from .clip import Clip
from .episode import Episode
from .layout import RecordingError
from .recording import Recording
from .spaces import to_rows, value_at, values_equal


@dataclass
class Difference:
    """The first thing that was not as recorded.

    Attributes:
        step: number of the step that brought it; -1 for `reset`.
        what: "observation", "reward", "terminated" or "truncated".
        recorded: what the recording says.
        found: what came now.
    """

    step: int
    what: str
    recorded: Any
    found: Any

    def __str__(self) -> str:
        """One line; of arrays, how many values differ and by how much."""
        where = "after reset" if self.step < 0 else f"at step {self.step}"
        a, b = np.asarray(self.recorded), np.asarray(self.found)
        if self.what != "observation" or a.shape != b.shape or a.dtype.kind not in "biuf" or not a.ndim:
            return f"{where}: {self.what} was {_short(self.recorded)}, now {_short(self.found)}"
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
        return f"{where}: observation differs in {np.count_nonzero(gap)} of {gap.size} values, by up to {gap.max():g}"


@dataclass
class Replay:
    """How a replay went: the episode, how many of its steps were compared, and the first difference, if any."""

    episode: Episode
    steps: int
    difference: Difference | None = None


def resimulate(
    recording: Recording,
    episode: Episode,
    env: gymnasium.Env[Any, Any],
    progress: Callable[[int], object] = lambda steps: None,
    after: Episode | None = None,
) -> Replay:
    """Step the environment through an episode, compare everything, and stop at the first difference.

    Args:
        recording: where the episode is.
        episode: which one.
        env: of the kind that was recorded.
        progress: told how many more steps have been compared, now and then.
        after: the episode that `env` has just lived through to its end; neither it nor those before are lived again.

    Raises:
        RecordingError: if the recording cannot say how the episode began.
    """
    if (difference := _walk_in(recording, episode, env, after)) is not None:
        return Replay(episode, 0, difference)
    steps = 0
    for clip in _pieces(recording, episode):
        for t in range(len(clip)):
            difference = _step(recording, clip, t, env)
            if difference is not None:
                return Replay(episode, steps, difference)
            steps += 1
        progress(len(clip))
    return Replay(episode, steps)


def branch(recording: Recording, episode: Episode, step: int, env: gymnasium.Env[Any, Any]) -> Any:
    """Bring an environment to where an episode was before its step number `step`, to go on from there differently.

    Returns:
        The observation there.

    Raises:
        IndexError: if the episode has no such step.
        RecordingError: if the environment does not do again what was recorded up to there.
    """
    if not 0 <= step <= episode.steps:
        raise IndexError(f"branch at step {step} asked for, episode {episode.id} has steps 0 to {episode.steps}")
    difference = _walk_in(recording, episode, env)
    for clip in _pieces(recording, episode, step):
        for t in range(len(clip)):
            difference = difference or _step(recording, clip, t, env)
    if difference is not None:
        raise RecordingError(f"{episode.id} does not replay, so there is nothing to branch from: {difference}")
    return value_at(recording.observation_space, recording.read(episode, step, step).observations, 0)


def lead_in(recording: Recording, episode: Episode) -> list[Episode]:
    """The episodes to go through first, because this one went on with the generator they had left.

    Raises:
        RecordingError: if none of them has a seed.
    """
    before = [e for e in recording.episodes if e.segment == episode.segment and e.number < episode.number]
    chain: list[Episode] = []
    it = episode
    while it.seed is None:
        if not before or before[-1].number != it.number - 1 or before[-1].unfinished:
            raise RecordingError(f"nobody noted how {episode.id} was seeded, so it cannot be replayed")
        it = before.pop()
        chain.insert(0, it)
    return chain


def _walk_in(recording: Recording, episode: Episode, env: gymnasium.Env[Any, Any],
             after: Episode | None = None) -> Difference | None:  # fmt: skip
    """Go through what came before, but for what comes up to `after`, reset, and compare the first observation."""
    chain = lead_in(recording, episode)
    done = next((place for place, it in enumerate(chain, 1) if after is not None and it.id == after.id), 0)
    for earlier in chain[done:]:
        env.reset(seed=earlier.seed, options=earlier.options())
        for clip in _pieces(recording, earlier):
            for t in range(len(clip)):
                _set_controls(recording, clip, t, env)
                env.step(_action(recording, clip, t))
    observation, _ = env.reset(seed=episode.seed, options=episode.options())
    recorded = value_at(recording.observation_space, recording.read(episode, 0, 0).observations, 0)
    return None if _same(recording, recorded, observation) else Difference(-1, "observation", recorded, observation)


def _step(recording: Recording, clip: Clip, t: int, env: gymnasium.Env[Any, Any]) -> Difference | None:
    """Take step t of a clip and compare what it brings."""
    _set_controls(recording, clip, t, env)
    observation, reward, terminated, truncated, _ = env.step(_action(recording, clip, t))
    recorded = value_at(recording.observation_space, clip.observations, t + 1)
    number = clip.start + t
    if not _same(recording, recorded, observation):
        return Difference(number, "observation", recorded, observation)
    precision = clip.rewards.dtype.type  # float32 before version 1
    for what, was, found in (
        ("reward", clip.rewards[t], precision(reward)),
        ("terminated", bool(clip.terminated[t]), bool(terminated)),
        ("truncated", bool(clip.truncated[t]), bool(truncated)),
    ):
        if was != found:
            return Difference(number, what, was, found)
    return None


def _set_controls(recording: Recording, clip: Clip, t: int, env: gymnasium.Env[Any, Any]) -> None:
    """Before step t, give the environment what the recording's `controls` say: extra of the step -> `set_...` method.

    Raises:
        RecordingError: if a control is no such method, or the environment has none of that name.
    """
    for name, method in recording.meta.get("controls", {}).items():
        setter = getattr(env.unwrapped, method, None) if str(method).startswith("set_") else None
        if name not in clip.extras or not callable(setter):
            raise RecordingError(f"the recording is controlled by {name!r} through {method!r}, which needs an extra of "
                                 f"that name and a method set_... of {env.unwrapped}: it cannot be replayed there")
        setter(clip.extras[name][t].item())


def _same(recording: Recording, recorded: Any, found: Any) -> bool:
    """Whether an observation would be recorded as this one was: environments may return float64 in a float32 space."""
    if values_equal(recorded, found):
        return True
    try:
        rows = [to_rows("observation", recording.observation_space, value) for value in (recorded, found)]
    except RecordingError:
        return False
    return values_equal(*({name: np.asarray(value) for name, value in row.items()} for row in rows))


def _action(recording: Recording, clip: Clip, t: int) -> Any:
    action = value_at(recording.action_space, clip.actions, t)
    return int(action) if isinstance(recording.action_space, gymnasium.spaces.Discrete) else action


def _pieces(recording: Recording, episode: Episode, stop: int | None = None, size: int = 64) -> Iterator[Clip]:
    """An episode, some steps at a time."""
    stop = episode.steps if stop is None else stop
    for start in range(0, stop, size):
        yield recording.read(episode, start, min(start + size, stop))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
