"""Clips whose past the world has drawn itself: what it will see when it is served (self-forcing, done in parallel).

Served, a world sees its own frames; trained on real ones alone, it never learns to mend its own mistakes. Drawing a
clip frame by frame in training is slow. Under the teacher mask, though, every frame of a clip is drawn from the past
before it in one pass; doing so again from the frames just drawn goes one step deeper (scheduled sampling in parallel,
Mihaylova & Martins 2019, arXiv:1906.07651; the aim is that of Self Forcing, arXiv:2506.08009).
"""

import torch
from torch import Tensor

from .model import WorldModel
from .sampler import SamplerConfig, level_times


@torch.no_grad()
def own_past(model: WorldModel, past: Tensor, actions: Tensor, sampler: SamplerConfig, depth: int,
             generator: torch.Generator) -> Tensor:
    """Redraw the past of clips, all but the first frame, `depth` times over.

    Args:
        past: [B, T, H, W, 3] real frames 0..T-1.
        actions: int64 [B, T+1], `actions[:, i]` leads to frame i.
        sampler: how the world is served; each round takes 1 to `sampler.steps` of its passes, at random.
        depth: 0 leaves the past as it is.

    Returns:
        [B, T, H, W, 3].
    """
    for _ in range(depth if past.shape[1] > 1 else 0):
        passes = int(torch.randint(1, sampler.steps + 1, (), generator=generator))
        noise = torch.randn(past[:, 1:].shape, generator=generator).to(past.device)
        served = SamplerConfig(steps=passes, shift=sampler.shift)
        drawn = _draw(model, past[:, :-1], actions[:, :-1], noise, level_times(served).tolist())
        past = torch.cat([past[:, :1], model.scaler.quantise(drawn)], 1)
    return past


def _draw(model: WorldModel, context: Tensor, actions: Tensor, noise: Tensor, times: list[float]) -> Tensor:
    """Frames 1..T of clips, each from the context before it: `noise` [B, T, H, W, 3] followed down to level 0."""
    x = noise
    for high, low in zip(times[:0:-1], times[-2::-1], strict=True):
        levels = torch.full(x.shape[:2], high, device=x.device)
        clean = model.forward_teacher(context, x, levels, actions)[0].to(x.dtype)
        implied = (x - (1 - high) * clean) / high
        x = torch.lerp(clean, implied, low)
    return x
