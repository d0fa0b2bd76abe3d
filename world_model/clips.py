"""Training clips cut from a recording: frames with the action that leads to each, and what it brought."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recorders import Episode, Recording


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


class ClipSource:
    """Random clips of a recording held in memory; the same step number always gives the same batch."""

    def __init__(self, recording: Recording, episodes: list[Episode], reward_values: list[float], num_actions: int,
                 event_share: float = 0.2, seed: int = 0, progress: bool = True):
        self.frames = recording.load_frames(progress=progress)
        self.seed = seed
        self.event_share = event_share
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
        self.mean, self.spread = self._picture_statistics()
        """of every pixel, float32 [H, W, 3] in [0, 1]"""
        self.events = np.flatnonzero((self.rewards != 0) | (self.terminated != 0))

    def batch(self, step: int, size: int, frames: int) -> Clips:
        """`size` clips of `frames` frames: a share of them around an event, the rest anywhere.

        Raises:
            ValueError: if no episode is long enough.
        """
        rng = np.random.default_rng([self.seed, step])
        rows = np.array([self._start(rng, frames) for _ in range(size)])[:, None] + np.arange(frames)
        return Clips(
            frames=torch.from_numpy(self.frames[rows]),
            actions=torch.from_numpy(self.actions[rows]),
            rewards=torch.from_numpy(self.reward_index[rows]),
            terminated=torch.from_numpy(self.terminated[rows]),
        )

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

    def _start(self, rng: np.random.Generator, frames: int) -> int:
        for _ in range(1000):
            if len(self.events) and rng.random() < self.event_share:
                event = int(rng.choice(self.events))
                start = event - 1 - int(rng.random() ** 2 * max(frames - 2, 1))  # mostly early: see what follows it
            else:
                start = int(rng.integers(len(self.frames)))
            episode = int(np.searchsorted(self.starts, start, side="right")) - 1
            if episode >= 0 and self.starts[episode] <= start and start + frames <= self.stops[episode]:
                return start
        raise ValueError(f"no episode of this recording holds {frames} frames in a row; record longer episodes")


def _nearest(values: np.ndarray, choices: list[float]) -> np.ndarray:
    """Index of the nearest choice of every value, int64."""
    return np.abs(values[:, None] - np.asarray(choices)[None]).argmin(1)
