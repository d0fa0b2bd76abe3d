"""Noise by counter: what a frame is drawn from depends on its seed and its number alone.

It does not matter when, or with what else, it is drawn. The sampler is deterministic, so one draw per frame is all the
noise there is.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def frame_noise(seed: int, frame: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise that depends on (seed, frame) alone, whatever was drawn before. float32 [*shape]."""
    return _fill(torch.empty(shape, dtype=torch.float32, device="cpu"), seed, frame)


def batch_noise(seeds: Sequence[int], frames: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """`frame_noise` of B rollouts, float32 [B, *shape] on the CPU."""
    noise = torch.empty(len(seeds), *shape, dtype=torch.float32, device="cpu")
    for row, seed, frame in zip(noise, seeds, frames, strict=True):
        _fill(row, seed, frame)
    return noise


def _fill(row: Tensor, seed: int, frame: int) -> Tensor:
    mixed = int(np.random.SeedSequence([seed, frame]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return row.normal_(generator=torch.Generator("cpu").manual_seed(mixed))
