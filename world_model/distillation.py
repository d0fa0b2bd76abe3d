"""A world taught by itself to need fewer passes: multistep consistency distillation.

A student of K passes cuts the way from noise to the frame into K parts. Inside a part, wherever on the teacher's path
it is asked, it has to name the same end (multistep consistency models, Heek et al. 2024, arXiv:2403.06807; consistency
distillation, Song et al. 2023, arXiv:2303.01469; of next-frame models, NFD, arXiv:2506.01380). The sampler stays as it
is: K passes, deterministic. The past is real or the student's own, as in training; unlike the recording, the teacher
has an answer to any past, gone astray or not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .clips import ClipSource
from .model import WorldModel
from .objective import Objective
from .sampler import SamplerConfig, level_times
from .trainer_config import TrainerConfig


@dataclass(kw_only=True)
class DistillationConfig:
    """How the teacher's path is cut."""

    grid: int = 8
    """steps of the teacher's path; a multiple of the student's passes"""
    pure: float = 0.3
    """share of frames asked at pure noise, where the sampler starts"""

    def check(self, passes: int) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: if the grid is no multiple of the passes, or `pure` no share.
        """
        if self.grid < 1 or self.grid % passes:
            raise ValueError(f"grid must be a multiple of the student's {passes} passes, got {self.grid}")
        if not 0 <= self.pure <= 1:
            raise ValueError(f"pure must be from 0 to 1, got {self.pure}")


class GridLevels:
    """Noise times on the teacher's path; stands where a `LevelSampler` would."""

    def __init__(self, config: DistillationConfig, served: SamplerConfig):
        self.config = config
        ends = level_times(served)
        parts = config.grid // served.steps
        inner = torch.arange(parts) / parts
        self.times_of = torch.cat([(ends[:-1, None] + inner * ends.diff()[:, None]).flatten(), ends[-1:]])
        """[grid + 1], ascending from 0 to 1"""
        self.end_of = ends[:-1].repeat_interleave(parts)
        """[grid]: where the part ends that step n + 1 of the path lies in"""

    def mode(self, generator: torch.Generator | None = None) -> str:
        """Every frame from its clean past, always."""
        return "teacher"

    def times(self, mode: str, batch: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
        """[batch, frames] times of the path but 0, all equally likely, and 1 for a share besides."""
        grid = torch.randint(1, self.config.grid + 1, (batch, frames), generator=generator)
        pure = torch.rand(batch, frames, generator=generator) < self.config.pure
        return self.times_of[torch.where(pure, self.config.grid, grid)]

    def below(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """(time one step down the path, time at which the part ends) for times [B, T] of the path but 0."""
        path = self.times_of.to(times.device)
        step = (times[..., None] - path).abs().argmin(-1)
        return path[step - 1], self.end_of.to(times.device)[step - 1]


class Distillation(Objective):
    """The loss of a student against its teacher; both are as they are served (eval mode)."""

    levels: GridLevels  # type: ignore[assignment]

    def __init__(self, model: WorldModel, source: ClipSource, served: SamplerConfig, config: TrainerConfig,
                 teacher: WorldModel, how: DistillationConfig):
        """For a student `model` that will be served as `served` says.

        Raises:
            ValueError: if the teacher's path cannot be cut so.
        """
        how.check(served.steps)
        super().__init__(model.eval(), source, served, config)
        self.levels = GridLevels(how, served)
        self.answers_any_past = True
        object.__setattr__(self, "teacher", teacher.eval().requires_grad_(False))  # not a part of what is trained

    teacher: WorldModel

    def train(self, mode: bool = True) -> "Distillation":
        """Stays as served."""
        return super().train(False)

    def _expected(self, context: Tensor, noise: Tensor, actions: Tensor) -> Tensor:
        """What the student's first pass makes of this very noise: where its later passes begin."""
        return self.model.forward_teacher(context, noise, torch.ones_like(noise[..., 0, 0, 0]), actions)[0]

    @torch.no_grad()
    def _target(self, x: Tensor, context: Tensor, noisy: Tensor, times: Tensor, actions: Tensor) -> Tensor:
        """The clean estimate that leads from `noisy` to where the student, from one teacher's step below, would end."""
        lower, end = self.levels.below(times)
        taught = self.teacher.forward_teacher(context, noisy, times, actions)[0].float()
        below = move(noisy, taught, times, lower)
        own = self.model.forward_teacher(context, below, lower, actions)[0].float()
        there = torch.where((lower > end)[..., None, None, None], move(below, own, lower, end), below)
        return leads_to(there, noisy, times, end)


def move(x: Tensor, clean: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """Frames x [B, T, H, W, 3] at times `start` [B, T] moved along their clean estimates to times `stop` (DDIM)."""
    keep = (stop / start.clamp(min=1e-6))[..., None, None, None]
    return keep * x + (1 - keep) * clean  # (1 - stop) - keep * (1 - start) = 1 - keep


def leads_to(there: Tensor, x: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """The clean estimate by which `move` brings x from `start` to `there` at `stop`, stop < start."""
    keep = (stop / start)[..., None, None, None]
    return (there - keep * x) / (1 - keep)
