"""Training clips cut from a recording: frames with the action that leads to each, and what it brought."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recorders import Episode, Recording, TrainingCache

from .actions import Actions
from .difficulty import Difficulty
from .events import find_events, lives_lost


@dataclass
class Clips:
    """A batch of clips of T+1 frames."""

    frames: Tensor
    """uint8 [B, T+1, H, W, 3], or [B, T+1, R, S, C] where an AR-VAE's tokens are learned"""
    actions: Tensor
    """[B, T+1, ...] as told (`Actions.told`): `actions[:, i]` leads to frame i; unknown where nothing led to it"""
    rewards: Tensor
    """int64 [B, T+1]: index into the model's reward values, of the step that led to frame i"""
    terminated: Tensor
    """float32 [B, T+1]: 1 where that step ended the episode"""
    rows: np.ndarray
    """int64 [B, T+1]: of the recording"""

    def after_first(self) -> "Clips":
        """The same clips from their second frames on."""
        return Clips(*(getattr(self, field.name)[:, 1:] for field in fields(self)))

    def __getstate__(self) -> dict[str, Any]:
        """For another process: frames go through shared memory, where each tensor costs a handshake, the rest along."""
        return {k: v.numpy() if isinstance(v, Tensor) and k != "frames" else v for k, v in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = ("actions", "rewards", "terminated")
        self.__dict__.update({k: torch.from_numpy(v) if k in tensors else v for k, v in state.items()})


@dataclass
class Places:
    """Where the clips of a training step lie, drawn before they are cut."""

    clips: np.ndarray
    """int64 [B, 2]: first row, end of the episode; or [B, 4]: as well the frame from which on the clip is another one,
    under another condition, and that one's row"""
    moments: np.ndarray
    """int64 [M, 2], likewise, of single frames with those just before them"""


class ClipSource:
    """Random clips of a recording: anywhere, around events, and where the network is still wrong.

    The same step number gives the same places as long as what is known of the difficulty of frames is the same.

    Args:
        recording: a training cache, which is read as clips are cut, or a recording, which is loaded into memory.
        episodes: those that are trained on; clips lie within one.
        reward_values: of the model.
        actions: what an action of the model is.
        event_share: share of clips around an event, every kind equally often.
        hard_share: share of clips that end near a frame which was drawn badly.
        seed: decides the places.
        switch_share: share of clips that go on as one under another condition from some frame on.
        progress: whether a bar shows the loading.
        codes: what a network that draws an AR-VAE's tokens learns instead of frames, uint8 [rows, R, S, C].

    Raises:
        ValueError: if there is no episode.
    """

    def __init__(self, recording: Recording | TrainingCache, episodes: list[Episode], reward_values: list[float],
                 actions: Actions, event_share: float = 0.2, hard_share: float = 0.0, seed: int = 0,
                 progress: bool = True, codes: np.ndarray | None = None, switch_share: float = 0.0):
        if not episodes:
            raise ValueError(f"no episode of {recording.path} is left to train on: record more, or lower heldout")
        self._cache = recording if isinstance(recording, TrainingCache) else None
        self._loaded = None if isinstance(recording, TrainingCache) else recording.load_frames(progress=progress)
        self.codes = codes
        self.seed, self.event_share, self.hard_share, self.switch_share = seed, event_share, hard_share, switch_share
        self.kind = actions
        first = np.array([e.start for e in recording.episodes])
        # Row t of a recording holds frame t and the action taken there; a clip wants the action before the frame.
        taken = recording.extra("action")
        led = _led_to(taken.astype(np.float32 if actions.continuous else np.int64), first, actions.null)
        self.actions = actions.told(torch.from_numpy(led), torch.from_numpy(_conditions(recording, actions))).numpy()
        """as told, of every row"""
        rewards = _led_to(recording.extra("reward").astype(np.float32), first, 0)
        self.terminated = _led_to(recording.extra("terminated").astype(np.float32), first, 0)
        episodes = sorted(episodes, key=lambda e: e.start)
        self.starts = np.array([e.start for e in episodes])
        self.stops = np.array([e.stop for e in episodes])
        self.reward_index = _nearest(rewards, reward_values)
        self.no_reward = int(_nearest(np.zeros(1), reward_values)[0])
        inside = np.zeros(len(rewards), bool)
        for start, stop in zip(self.starts, self.stops, strict=True):
            inside[start:stop] = True
        sample = np.flatnonzero(inside)[::7]
        self.mean, self.spread = self._picture_statistics(sample)
        """of every number of what is learned, float32 [H, W, 3] or [R, S, C], in [0, 1]"""
        under = actions.condition(torch.from_numpy(self.actions[sample])).numpy()
        self.condition_means = torch.stack([
            self._picture_statistics(sample[under == k])[0] if (under == k).any() else self.mean
            for k in range(actions.conditions)]) if actions.conditions else self.mean[None]
        """of the frames under each condition, [K, H, W, 3] or [K, R, S, C]"""
        self.events = find_events(rewards, self.terminated > 0, lives_lost(recording), inside)
        self.difficulty = Difficulty(len(rewards))
        """of frames drawn with all that a clip shows of their past"""
        self.nearby = Difficulty(len(rewards))
        """of frames drawn from those just before them alone"""

    @property
    def frames(self) -> np.ndarray:
        """All frames of the recording, uint8 [rows, H, W, 3], not to be written to."""
        if self._cache is not None:
            return self._cache.mapped
        assert self._loaded is not None
        return self._loaded

    @property
    def learned(self) -> np.ndarray:
        """What clips are cut from: `codes`, or `frames` where there are none."""
        return self.frames if self.codes is None else self.codes

    def batch(self, step: int, size: int, frames: int) -> Clips:
        """The clips of `places`, cut."""
        return self.cut(self.places(step, size, frames), frames)

    def moments(self, step: int, size: int, frames: int) -> Clips:
        """The clips of `moment_places`, cut."""
        return self.cut(self.moment_places(step, size, frames), frames)

    def places(self, step: int, size: int, frames: int) -> np.ndarray:
        """Where `size` clips of `frames` frames lie, int64 [size, 2] or [size, 4], see `Places`.

        A clip may end one frame behind the end of its episode: the last frame is then there twice, so that it is
        once the past of another.

        Raises:
            ValueError: if no episode is long enough.
        """
        rng = np.random.default_rng([self.seed, step])
        hard = self.difficulty.draw(rng, size)
        places = np.array([self._place(rng, frames, hard[i : i + 1]) for i in range(size)]).reshape(-1, 2)
        return places if not self.switch_share else self._with_switches(places, frames, step)

    def _with_switches(self, places: np.ndarray, frames: int, step: int) -> np.ndarray:
        """Places [B, 4] of clips some of which become others: places [B, 2], the frame where, and the row of that."""
        rng = np.random.default_rng([self.seed, step, 2])
        under = self.kind.condition(torch.from_numpy(self.actions)).numpy()
        nothing = np.full((len(places), 1), frames), np.zeros((len(places), 1), np.int64)
        whole = np.concatenate([places, *nothing], 1)
        for i in np.flatnonzero(rng.random(len(places)) < self.switch_share):
            other = next((place for place in (self._place(rng, frames, np.zeros(0, np.int64)) for _ in range(100))
                          if under[place[0]] != under[places[i, 0]]), None)
            if other is not None:
                whole[i, 2:] = int(rng.integers(2, frames)), other[0] + 1  # an action led there
        return whole

    def moment_places(self, step: int, size: int, frames: int) -> np.ndarray:
        """`places` of short clips for learning their last frame: half anywhere, half where `nearby` is high."""
        rng = np.random.default_rng([self.seed, step, 1])
        rows = [*self.nearby.draw(rng, size // 2), *rng.integers(len(self.actions), size=size)]
        places = [place for row in rows if (place := self._fit(int(row) - frames + 1, int(row), frames))]
        while len(places) < size:
            places.append(self._place(rng, frames, np.zeros(0, np.int64)))
        return np.array(places[:size]).reshape(-1, 2)

    def cut(self, places: np.ndarray, frames: int) -> Clips:
        """Clips of `frames` frames from `Places`, oldest frame first."""
        wanted = places[:, :1] + np.arange(frames)
        rows = np.minimum(wanted, places[:, 1:2] - 1)
        behind = wanted > rows
        fresh = np.zeros_like(behind)
        if places.shape[1] > 2:
            since = np.arange(frames) - places[:, 2:3]
            rows, behind = np.where(since < 0, rows, places[:, 3:] + since), behind & (since < 0)
            fresh = since == 0
        return Clips(
            frames=torch.from_numpy(np.asarray(self.learned[rows])),
            actions=torch.from_numpy(self._between(rows, behind)),
            rewards=torch.from_numpy(np.where(behind | fresh, self.no_reward, self.reward_index[rows])),
            terminated=torch.from_numpy(np.where(behind | fresh, 0, self.terminated[rows]).astype(np.float32)),
            rows=rows,
        )

    def _between(self, rows: np.ndarray, behind: np.ndarray) -> np.ndarray:
        """Actions that led to these rows [B, T], unknown where a frame lies `behind` its episode: [B, T, ...]."""
        actions = self.actions[rows]
        actions[behind] = self.kind.hidden(torch.from_numpy(actions[behind])).numpy()
        return actions

    def _picture_statistics(self, sample: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every number over the given rows, in [0, 1]."""
        total = np.zeros(self.learned.shape[1:], np.float64)
        square = np.zeros_like(total)
        for rows in np.array_split(sample, max(1, len(sample) // 512)):
            x = self.learned[rows].astype(np.float32) / 255
            total += x.sum(0)
            square += (x * x).sum(0)
        mean = total / len(sample)
        spread = np.sqrt(np.maximum(square / len(sample) - mean**2, 0))
        return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()

    def _place(self, rng: np.random.Generator, frames: int, hard: np.ndarray) -> tuple[int, int]:
        """(first row of a clip, end of its episode): anywhere or around an event or the given row, if there is one."""
        for _ in range(1000):
            kind, offset = rng.random(), int(rng.random() ** 2 * max(frames - 2, 1))
            if self.events and kind < self.event_share:
                row = int(rng.choice(self.events[int(rng.integers(len(self.events)))].rows))
                found = self._fit(row - 1 - offset, row, frames)  # mostly early in the clip: see what follows it
            elif len(hard) and kind < self.event_share + self.hard_share:
                row = int(hard[0])
                found = self._fit(row - (frames - 1) + offset, row, frames)  # mostly late: with all the past there is
            else:
                start = int(rng.integers(len(self.actions)))
                found = self._fit(start, start, frames)
            if found is not None:
                return found
        raise ValueError(f"no episode of this recording holds {frames} frames in a row; record longer episodes")

    def _fit(self, start: int, row: int, frames: int) -> tuple[int, int] | None:
        """(first row, end of the episode) of a clip that starts near `start` and holds `row`; None if none does."""
        episode = int(np.searchsorted(self.starts, row, side="right")) - 1
        if episode < 0 or row >= self.stops[episode]:
            return None
        low, stop = int(self.starts[episode]), int(self.stops[episode])
        high = stop + 1 - frames
        return (min(max(start, low), high), stop) if low <= high else None


def _conditions(recording: Recording | TrainingCache, actions: Actions) -> np.ndarray:
    """Under which each frame of a recording was drawn, int64 [rows]."""
    if not actions.conditions:
        return np.zeros(0, np.int64)
    noted = recording.extra("condition").astype(np.int64)
    first = np.array([e.start for e in recording.episodes])
    moved = np.roll(noted, 1)
    moved[first] = noted[first]
    return moved


def _led_to(values: np.ndarray, first: np.ndarray, nothing: float) -> np.ndarray:
    """Of every frame, what belongs to the step that led to it; `nothing` in the `first` rows of episodes."""
    moved = np.roll(values, 1, axis=0)
    moved[first] = nothing
    return moved


def _nearest(values: np.ndarray, choices: list[float]) -> np.ndarray:
    """Index of the nearest choice of every value, int64."""
    return np.abs(values[:, None] - np.asarray(choices)[None]).argmin(1)
