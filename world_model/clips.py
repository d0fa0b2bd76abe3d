"""Training clips cut from a recording: frames with the action that leads to each, and what it brought."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from recorders import Episode, Recording

from .difficulty import Difficulty


@dataclass
class Clips:
    """A batch of clips of T+1 frames."""

    frames: Tensor
    """uint8 [B, T+1, H, W, 3]"""
    actions: Tensor
    """int64 [B, T+1]: `actions[:, i]` leads to frame i; the null action where nothing led to it"""
    rewards: Tensor
    """int64 [B, T+1]: index into the model's reward values, of the step that led to frame i"""
    terminated: Tensor
    """float32 [B, T+1]: 1 where that step ended the episode"""
    rows: np.ndarray
    """int64 [B, T+1]: of the recording"""

    def after_first(self) -> "Clips":
        """The same clips from their second frames on."""
        return Clips(*(getattr(self, field.name)[:, 1:] for field in fields(self)))


class ClipSource:
    """Random clips of a recording held in memory: anywhere, around events, and where the network is still wrong.

    The same step number gives the same batch as long as what is known of the difficulty of frames is the same.
    """

    def __init__(self, recording: Recording, episodes: list[Episode], reward_values: list[float], num_actions: int,
                 event_share: float = 0.2, hard_share: float = 0.0, seed: int = 0, progress: bool = True):
        self.frames = recording.load_frames(progress=progress)
        self.seed = seed
        self.event_share, self.hard_share = event_share, hard_share
        self.null_action = num_actions
        rows = len(self.frames)
        # Row t of a recording holds frame t and the action taken there; a clip wants the action before the frame.
        self.actions = np.full(rows, num_actions, dtype=np.int64)
        self.rewards = np.zeros(rows, dtype=np.float32)
        self.terminated = np.zeros(rows, dtype=np.float32)
        self.actions[1:] = recording.actions[:-1]
        self.rewards[1:] = recording.rewards[:-1]
        self.terminated[1:] = recording.terminated[:-1]
        self.starts = np.array([e.start for e in episodes])
        self.stops = np.array([e.stop for e in episodes])
        first = np.array([e.start for e in recording.episodes])
        self.actions[first] = num_actions
        self.rewards[first] = 0
        self.terminated[first] = 0
        self.reward_index = _nearest(self.rewards, reward_values)
        self.no_reward = int(_nearest(np.zeros(1), reward_values)[0])
        self.mean, self.spread = self._picture_statistics()
        """of every pixel, float32 [H, W, 3] in [0, 1]"""
        self.events = self._events()
        """rows of every kind of event: each reward but 0, and ends"""
        self.difficulty = Difficulty(rows)
        """of frames drawn with all that a clip shows of their past"""
        self.nearby = Difficulty(rows)
        """of frames drawn from those just before them alone"""

    def batch(self, step: int, size: int, frames: int) -> Clips:
        """`size` clips of `frames` frames, oldest first.

        A clip may end one frame behind the end of its episode: the last frame is then there twice, so that it is
        once the past of another.

        Raises:
            ValueError: if no episode is long enough.
        """
        rng = np.random.default_rng([self.seed, step])
        hard = self.difficulty.draw(rng, size)
        places = [self._place(rng, frames, hard[i : i + 1]) for i in range(size)]
        return self._cut(np.array(places), frames)

    def moments(self, step: int, size: int, frames: int) -> Clips:
        """`size` short clips for learning their last frame: half of them anywhere, half where `nearby` is high."""
        rng = np.random.default_rng([self.seed, step, 1])
        rows = [*self.nearby.draw(rng, size // 2), *rng.integers(len(self.frames), size=size)]
        places = [place for row in rows if (place := self._fit(int(row) - frames + 1, int(row), frames))]
        while len(places) < size:
            places.append(self._place(rng, frames, np.zeros(0, np.int64)))
        return self._cut(np.array(places[:size]), frames)

    def _cut(self, places: np.ndarray, frames: int) -> Clips:
        """Clips from places int64 [B, 2]: their first row, the end of their episode."""
        wanted = places[:, :1] + np.arange(frames)
        rows = np.minimum(wanted, places[:, 1:] - 1)
        behind = wanted > rows
        return Clips(
            frames=torch.from_numpy(self.frames[rows]),
            actions=torch.from_numpy(np.where(behind, self.null_action, self.actions[rows])),
            rewards=torch.from_numpy(np.where(behind, self.no_reward, self.reward_index[rows])),
            terminated=torch.from_numpy(np.where(behind, 0, self.terminated[rows]).astype(np.float32)),
            rows=rows,
        )

    def _events(self) -> list[np.ndarray]:
        inside = np.zeros(len(self.rewards), bool)
        for start, stop in zip(self.starts, self.stops, strict=True):
            inside[start:stop] = True
        kinds = [self.reward_index == value for value in np.unique(self.reward_index) if value != self.no_reward]
        found = [np.flatnonzero(kind & inside) for kind in [*kinds, self.terminated > 0]]
        return [rows for rows in found if len(rows)]

    def _picture_statistics(self, every: int = 7) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every pixel over a subsample, float32 [H, W, 3] in [0, 1]."""
        sample = self.frames[::every]
        total = np.zeros(sample.shape[1:], np.float64)
        square = np.zeros_like(total)
        for part in np.array_split(sample, max(1, len(sample) // 512)):
            x = part.astype(np.float32) / 255
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
                row = int(rng.choice(self.events[int(rng.integers(len(self.events)))]))
                found = self._fit(row - 1 - offset, row, frames)  # mostly early in the clip: see what follows it
            elif len(hard) and kind < self.event_share + self.hard_share:
                row = int(hard[0])
                found = self._fit(row - (frames - 1) + offset, row, frames)  # mostly late: with all the past there is
            else:
                start = int(rng.integers(len(self.frames)))
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


def _nearest(values: np.ndarray, choices: list[float]) -> np.ndarray:
    """Index of the nearest choice of every value, int64."""
    return np.abs(values[:, None] - np.asarray(choices)[None]).argmin(1)
