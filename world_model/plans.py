"""Inference plans: which frame is denoised in which pass, as an integer matrix (AR-Diffusion, arXiv:2503.07418).

A level counts the denoising steps a frame still needs: `steps` is pure noise, 0 is clean. Along the frames a row
never decreases, so earlier frames are always at least as clean as later ones.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class LevelPlan:
    """Levels of all frames before every pass, and after the last one."""

    steps: int
    """denoising steps a frame takes from noise to clean"""
    levels: np.ndarray
    """int64 [passes + 1, frames]"""

    def __post_init__(self) -> None:
        if self.levels.ndim != 2 or (np.diff(self.levels, axis=1) < 0).any():
            raise ValueError("levels must be [passes + 1, frames] with rows that never decrease along the frames")
        if (self.levels[0] != self.steps).any() or self.levels[-1].any():
            raise ValueError(f"a plan starts with every frame at {self.steps} and ends with every frame at 0")

    @property
    def passes(self) -> int:
        """Number of network passes."""
        return len(self.levels) - 1

    @property
    def frames(self) -> int:
        """Number of frames drawn."""
        return self.levels.shape[1]

    @property
    def update(self) -> np.ndarray:
        """Bool [passes, frames]: the frames that move to a lower level in a pass."""
        return self.levels[1:] < self.levels[:-1]

    def live(self, row: int) -> tuple[int, int]:
        """The half-open interval of frames a pass has to look at: from the first to the last one it updates."""
        moved = np.flatnonzero(self.update[row])
        return int(moved[0]), int(moved[-1]) + 1


def ad_levels(frames: int, steps: int, stagger: int) -> np.ndarray:
    """Closed form of the AD scheduler: after pass r frame i has done clip(r - i*min(stagger, steps), 0, steps).

    Returns:
        int64 [steps + (frames - 1) * min(stagger, steps) + 1, frames] levels.
    """
    stagger = min(stagger, steps)
    rows = np.arange(steps + (frames - 1) * stagger + 1)[:, None]
    return steps - np.clip(rows - np.arange(frames)[None] * stagger, 0, steps)


def ad_plan(frames: int, steps: int, stagger: int) -> LevelPlan:
    """Every frame starts `stagger` passes after its predecessor (AR-Diffusion's AD scheduler).

    Raises:
        ValueError: if frames or steps is below 1 or stagger below 0.
    """
    if frames < 1 or steps < 1 or stagger < 0:
        raise ValueError(f"need frames >= 1, steps >= 1, stagger >= 0, got {frames}, {steps}, {stagger}")
    return LevelPlan(steps=steps, levels=ad_levels(frames, steps, stagger))


def live_levels(steps: int, stagger: int) -> np.ndarray:
    """Rows of the AD plan between two frames, once it runs: those of one step of a world that is played live.

    The next frame (column 0) goes from level min(stagger, steps) to 0, the frames after it, whose actions nobody knows
    yet, `stagger` levels down each. With stagger >= steps there is only the next one.

    Returns:
        int64 [stagger + 1, ceil(steps / stagger)].

    Raises:
        ValueError: if steps or stagger is below 1.
    """
    if steps < 1 or stagger < 1:
        raise ValueError(f"need steps >= 1 and stagger >= 1, got {steps} and {stagger}")
    stagger = min(stagger, steps)
    done = steps - stagger + np.arange(stagger + 1)[:, None] - np.arange(-(-steps // stagger))[None] * stagger
    return steps - np.clip(done, 0, steps)


def autoregressive_plan(frames: int, steps: int) -> LevelPlan:
    """One frame after the other: AD with stagger = steps. The only unbiased plan under causal attention."""
    return ad_plan(frames, steps, steps)


def synchronous_plan(frames: int, steps: int) -> LevelPlan:
    """All frames together: AD with stagger 0."""
    return ad_plan(frames, steps, 0)
