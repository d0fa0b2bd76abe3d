"""Passes of the network over frames in flight, after the committed past of a state."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .noise import batch_noise
from .precision import own_settings
from .sampler import side_by_side
from .state import WorldState

if TYPE_CHECKING:
    from .rollout import World


class Cancelled(Exception):
    """A step was given up between two passes; its state has not moved."""


class Passes:
    """What `run_levels` asks for clean estimates: frames in flight, the first of them the next one of `state`.

    With `sampler.reuse` the tokens of the first pass serve all later ones, where one frame is in flight alone. With
    `sampler.guidance` every pass is made twice, once without the actions of the frames in flight.
    """

    def __init__(self, world: "World", state: WorldState, actions: Tensor, causal: bool = True,
                 keep_on: Callable[[], bool] | None = None, guided: bool = True):
        """For the frames that `actions` [B, m, ...] lead to; those after them are told no action.

        Args:
            causal: whether frames in flight see only frames in flight up to themselves.
            keep_on: asked before every pass; False raises `Cancelled`.
            guided: whether `sampler.guidance` counts.
        """
        self.model, self.rings, self.causal, self.keep_on = world.model, state.cache.rings, causal, keep_on
        self.reuse = world.sampler.reuse
        self.device, self.dtype = world.device, world.dtype
        self.recent = state.cache.recent.to(world.dtype)
        self.known = torch.cat([state.cache.told, actions], 1)
        self.memory = state.cache.memory
        self.served = world.serve(state.cache, self.known)
        self.tokens: Tensor | None = None
        self.guidance, self.unguided = world.sampler.guidance if guided else 1.0, None
        if self.guidance != 1:
            unknown = world.model.actions.hidden(actions)
            self.unguided = Passes(world, state, unknown, causal, keep_on, guided=False)

    def __call__(self, live: Tensor, times: Tensor, first: int) -> Tensor:
        """Clean estimates like `live` [B, F, H, W, 3], at `times` [F]; frames before `first` have been committed."""
        clean = self._estimate(live, times)
        return clean if self.unguided is None else torch.lerp(self.unguided(live, times, first), clean, self.guidance)

    @own_settings
    def _estimate(self, live: Tensor, times: Tensor) -> Tensor:
        if self.keep_on is not None and not self.keep_on():
            raise Cancelled
        frames = live.shape[1]
        if self.served is not None:
            levels = times.tolist()
            if self.tokens is None or not self.reuse or frames > 1:
                self.tokens = self.served.think(live, levels, causal=self.causal)
            return self.served.draw(self.tokens, live, levels)
        live, times = live.to(self.dtype), times.to(self.device).expand(len(live), -1)
        led = self.model.actions.pad(self.known, after=max(0, self.memory + frames - self.known.shape[1]))
        led = led[:, : self.memory + frames]
        if self.tokens is None or not self.reuse or frames > 1:
            self.tokens = self.model.think_cached(live, self.recent, times, led, self.rings, causal=self.causal)
        return self.model.draw_cached(self.tokens, live, self.recent, times, led).float()


def with_noise(world: "World", state: WorldState, x: Tensor | None, frames: int) -> Tensor:
    """Frames in flight x [B, F, H, W, 3], then noise of the frames after them up to so many: [B, frames, H, W, 3]."""
    begun = 0 if x is None else x.shape[1]
    fresh = [batch_noise(state.seeds, [n + i for n in state.frames], world.model.config.frame_shape).to(world.device)
             for i in range(begun, frames)]
    parts = [part for part in (x, side_by_side(fresh) if fresh else None) if part is not None]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
