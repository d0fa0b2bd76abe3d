"""Clips whose past the world has drawn itself: what it will see when it is served.

That is the aim of Self Forcing (arXiv:2506.08009), here with the real next frame as the target. Served, a world sees
its own frames; trained on real ones alone, it never learns to mend its own mistakes. Under the teacher mask every
frame of a clip is drawn from the past before it in one pass; doing so again from the frames just drawn goes one step
deeper (`own_past`; scheduled sampling in parallel, Mihaylova & Martins 2019, arXiv:1906.07651). That makes all frames a
little wrong. Mistakes that grow, a ball that becomes two, show only after several steps: so other clips are drawn frame
by frame to their end, as they are when served (`free_past`), except that places compete less sharply in training.
"""

from dataclasses import replace

import torch
from torch import Tensor

from .clips import Clips
from .contexts import Contexts
from .model import WorldModel
from .replenishment import before_each, replenish
from .rollout import World
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
        served = replace(sampler, steps=passes)
        drawn = _draw(model, past[:, :-1], actions[:, :-1], noise, level_times(served).tolist())
        past = torch.cat([past[:, :1], as_shown(model, drawn, past[:, :-1], sampler)], 1)
    return past


def free_past(model: WorldModel, clips: Clips, sampler: SamplerConfig, first: int,
              generator: torch.Generator) -> Tensor:
    """Let the world run: the past of clips, from frame `first` on drawn frame by frame through the cache.

    Args:
        clips: B clips of T+1 frames.
        sampler: how the world is served; a run takes 1 to `sampler.steps` of its passes, at random.
        first: frames before it stay real, 1 <= first.

    Returns:
        [B, T, H, W, 3] frames 0..T-1 in model units.
    """
    passes = int(torch.randint(1, sampler.steps + 1, (), generator=generator))
    seeds = torch.randint(2**31, (len(clips.frames),), generator=generator).tolist()
    frames = clips.frames[:, :-1].numpy().copy()
    actions, under = model.actions.taken(clips.actions).numpy(), model.actions.condition(clips.actions).numpy()
    world = World(model, replace(sampler, steps=passes), {}, Contexts(frames, actions[:, 1:-1]))
    state = world.start_batch(frames[:, :first], actions[:, 1:first], seeds, conditions=under[:, :first])
    for i in range(first, frames.shape[1]):
        state.conditions = under[:, i].tolist()
        frames[:, i] = world.step_batch(state, actions[:, i])[0]
    return model.scaler.encode(torch.from_numpy(frames).to(world.device))


def as_shown(model: WorldModel, drawn: Tensor, before: Tensor, sampler: SamplerConfig) -> Tensor:
    """Drawn frames [B, T, H, W, 3] as they would be committed, frame i after `before[:, : i + 1]`, in model units."""
    decode = model.scaler.decode
    past = before_each(decode(before), model.config.history)
    return model.scaler.encode(replenish(decode(drawn), past, sampler.still))


def _draw(model: WorldModel, context: Tensor, actions: Tensor, noise: Tensor, times: list[float]) -> Tensor:
    """Frames 1..T of clips, each from the context before it: `noise` [B, T, H, W, 3] followed down to level 0."""
    x = noise
    for high, low in zip(times[:0:-1], times[-2::-1], strict=True):
        levels = torch.full(x.shape[:2], high, device=x.device)
        clean = model.forward_teacher(context, x, levels, actions)[0].to(x.dtype)
        implied = (x - (1 - high) * clean) / high
        x = torch.lerp(clean, implied, low)
    return x
