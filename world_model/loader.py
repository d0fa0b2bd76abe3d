"""Clips for the steps to come, cut by other processes while the network learns from earlier ones."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .clips import Clips, ClipSource, Places
from .team import Team
from .trainer_config import TrainerConfig


@dataclass
class Portion:
    """What a process learns from at once: a step's clips, or its share of them."""

    step: int
    part: int
    """number of the share, from 0"""
    clips: Clips
    moments: Clips | None


Asked = tuple[int, int, Places]


class _Cutter(Dataset[Portion]):
    """Cuts what it is asked for; in a worker this is all that is done."""

    def __init__(self, source: ClipSource, frames: int, moment_frames: int):
        self.source, self.frames, self.moment_frames = source, frames, moment_frames

    def __getitem__(self, asked: Asked) -> Portion:
        step, part, places = asked
        moments = self.source.cut(places.moments, self.moment_frames) if len(places.moments) else None
        return Portion(step, part, self.source.cut(places.clips, self.frames), moments)


class ClipLoader:
    """This process's portions, step after step.

    Places are drawn `config.ahead` steps before they are learned from, by what was known then: workers read meanwhile,
    and neither their number nor that of the processes changes what is drawn. Every process of a team draws the places
    of the whole step and cuts its own.

    Args:
        source: where clips come from.
        config: sizes of a step.
        moment_frames: frames of a moment, the one to learn included.
        team: who shares a step's clips.

    Raises:
        ValueError: if a step's clips cannot be shared out evenly.
    """

    def __init__(self, source: ClipSource, config: TrainerConfig, moment_frames: int, team: Team):
        self.source, self.config, self.team, self.moment_frames = source, config, team, moment_frames
        self.parts = team.size * config.accumulate
        if config.batch % self.parts or config.moments % self.parts:
            raise ValueError(
                f"trainer.batch={config.batch} and trainer.moments={config.moments} must be multiples of {self.parts}, "
                f"which is {team.size} processes times trainer.accumulate={config.accumulate}")
        self.waited = 0.0
        """seconds spent waiting for clips so far, drawing their places included"""
        self._plans: deque[Places] = deque()
        self._step = 0
        self._portions: Iterator[Portion] | None = None

    def begin(self, step: int, planned: tuple[Tensor, Tensor] | None = None) -> None:
        """Begin with a step.

        Args:
            planned: what `planned` returned when that was the next step.
        """
        self._step, self._portions = step, None
        given = zip(*(x.numpy() for x in planned), strict=True) if planned else ()
        self._plans = deque(Places(clips, moments) for clips, moments in given)
        for later in range(len(self._plans), self.config.ahead + 1):
            self._plans.append(self._draw(step + later))

    def planned(self) -> tuple[Tensor, Tensor]:
        """Places int64 [ahead + 1, B, 2] and [ahead + 1, M, 2] of the steps from the next one on."""
        clips, moments = ([getattr(p, name) for p in self._plans] for name in ("clips", "moments"))
        return torch.from_numpy(np.stack(clips)), torch.from_numpy(np.stack(moments))

    def next(self) -> Portion:
        """The next portion of the step; there are `config.accumulate` of them."""
        begun = time.perf_counter()
        if self._portions is None:
            self._portions = self._start()
        portion = next(self._portions)
        self.waited += time.perf_counter() - begun
        return portion

    def advance(self) -> None:
        """The step is done and what it taught about difficulty is remembered: plan one more."""
        begun = time.perf_counter()
        self._plans.popleft()
        self._step += 1
        self._plans.append(self._draw(self._step + self.config.ahead))
        self.waited += time.perf_counter() - begun

    def close(self) -> None:
        """Let the workers go."""
        self._portions = None

    def _draw(self, step: int) -> Places:
        return Places(self.source.places(step, self.config.batch, self.config.frames + 1),
                      self.source.moment_places(step, self.config.moments, self.moment_frames))

    def _start(self) -> Iterator[Portion]:
        workers, ahead = self.config.worker_count, self.config.ahead * self.config.accumulate
        cutter = _Cutter(self.source, self.config.frames + 1, self.moment_frames)
        return iter(DataLoader(cutter, batch_size=None, sampler=self._asked(), num_workers=workers,
                               prefetch_factor=ahead // workers if workers else None))

    def _asked(self) -> Iterator[Asked]:
        """Places of all portions of this process; taken up to `ahead` steps before the portion is handed out."""
        step = self._step
        while step < self.config.steps:
            places = self._plans[step - self._step]
            for part in range(self.team.rank * self.config.accumulate, (self.team.rank + 1) * self.config.accumulate):
                yield step, part, Places(*(np.array_split(x, self.parts)[part] for x in (places.clips, places.moments)))
            step += 1
