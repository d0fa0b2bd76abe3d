"""A whole step as one CUDA graph: all passes, the commit, what happened and the picture, without waiting for the host.

A small network's step on a GPU is hundreds of short kernels, which take longer to launch than to run; captured once
and replayed they are one launch. Everything a step reads and writes lies where it lay when it was captured, so a graph
belongs to one state and its batch size. **Not run yet**: no GPU was available; the step itself, and what the engine
does with it, is tested on a CPU.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .noise import batch_noise
from .replenishment import replenish, shown_before
from .rollout import Drawn, World
from .sampler import flow_path
from .state import WorldState

if TYPE_CHECKING:
    from .cache import FrameCache


class StaticStep:
    """One step of one state, in place: buffers stay where they are from step to step."""

    def __init__(self, world: World, state: WorldState):
        """For a state that owns its memory and has no frames in flight; draws one frame after the other.

        Raises:
            StateError: if the state is of another world or number format.
        """
        world.check_state(state)
        state.cache.own()
        self.world, self.state, self.cache = world, state, state.cache
        pinned = world.device.type == "cuda"
        shape = (len(state), *world.model.config.frame_shape)
        # written by the host, then copied
        self.fresh_noise = torch.empty(shape, dtype=torch.float32, device="cpu", pin_memory=pinned)
        self.noise = torch.empty(shape, dtype=torch.float32, device=world.device)
        self.actions = torch.zeros_like(world.model.actions.unknown(len(state), 1, device=world.device))
        path = flow_path(world.sampler)
        self.levels = [float(t) for t in path.times.flip(0)]  # from pure noise to clean
        self.alphas = [float(a) for a in path.alphas.flip(0)]
        self.times = [torch.full((len(state), 1), t, dtype=torch.float32, device=world.device) for t in self.levels]
        self.values = torch.tensor(world.model.outcome.reward_values, dtype=torch.float32, device=world.device)
        self.drawn: Drawn | None = None
        self._places = [x.data_ptr() for x in _tensors(self.cache)]

    @property
    def moved(self) -> bool:
        """Whether the state's memory is no longer where it was captured."""
        return self._places != [x.data_ptr() for x in _tensors(self.cache)]

    def load(self, actions: Tensor) -> None:
        """Put the next frame's noise and what is told of actions [B, ...] where the step reads them."""
        self.fresh_noise.copy_(batch_noise(self.state.seeds, self.state.frames, self.world.model.config.frame_shape))
        self.noise.copy_(self.fresh_noise, non_blocking=True)
        self.actions.copy_(actions[:, None], non_blocking=True)

    @torch.inference_mode()
    def run(self) -> Drawn:
        """Draw and commit what was loaded. On the device alone."""
        model, dtype, cache = self.world.model, self.world.dtype, self.cache
        x, led, recent = self.noise[:, None], torch.cat([cache.told, self.actions], 1), cache.recent.to(dtype)
        guidance = self.world.sampler.guidance
        unknown = model.actions.hidden(self.actions)
        told = [led] if guidance == 1 else [led, torch.cat([cache.told, unknown], 1)]
        tokens: list[Tensor] = []
        for i, times in enumerate(self.times[:-1]):
            noisy = x.to(dtype)
            if not tokens or not self.world.sampler.reuse:
                tokens = [model.think_cached(noisy, recent, times, known, cache.rings) for known in told]
            drawn = [model.draw_cached(thought, noisy, recent, times, known).float()
                     for thought, known in zip(tokens, told, strict=True)]
            clean = drawn[0] if guidance == 1 else torch.lerp(drawn[1], drawn[0], guidance)
            keep = self.levels[i + 1] / self.levels[i]  # as in `run_levels`, to the bit
            x = torch.add(keep * x, clean, alpha=self.alphas[i + 1] - keep * self.alphas[i])
        shown = model.scaler.decode(x[:, 0])
        if self.world.sampler.still:
            past, there = shown_before(cache, model.scaler)
            shown = replenish(shown, past, self.world.sampler.still, there)
        seen = model.scaler.encode(shown)[:, None]
        fresh: list[tuple[Tensor, ...]] = []
        committed = model.think_cached(seen.to(dtype), recent, self.times[-1], led, cache.rings, fresh)
        cache.append(fresh, seen, self.actions, shown[:, None])
        reward_logits, end_logits = model.outcome(committed)
        return Drawn(shown, self.values[reward_logits[:, 0].argmax(-1)], end_logits[:, 0] > 0)

    def step(self, actions: Tensor) -> Drawn:
        """`World.step_tensors` for this state."""
        self.load(self.world.told(self.state, actions))
        drawn = self.run()
        self.state.frames = [n + 1 for n in self.state.frames]
        return drawn


class StepGraph(StaticStep):
    """The same, captured: what `step` returns is overwritten by the next step."""

    def __init__(self, world: World, state: WorldState, warmup: int = 3):
        """Capture; the state is as it was before.

        Raises:
            ValueError: if the world is not on a CUDA device.
        """
        if world.device.type != "cuda":
            raise ValueError(f"CUDA graphs need a world on a CUDA device, this one is on {world.device}")
        super().__init__(world, state)
        kept = _copies(self.cache)
        side = torch.cuda.Stream(world.device)
        side.wait_stream(torch.cuda.current_stream(world.device))
        with torch.cuda.stream(side):
            self.load(torch.zeros_like(self.actions[:, 0]))
            for _ in range(warmup):  # kernels are built and chosen before they are captured
                self.run()
        torch.cuda.current_stream(world.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.drawn = self.run()
        for mine, old in zip(_tensors(self.cache), kept, strict=True):
            mine.copy_(old)

    def step(self, actions: Tensor) -> Drawn:
        """`World.step_tensors` for this state, replayed."""
        torch.cuda.current_stream(self.world.device).synchronize()  # the host's noise buffer is free again
        self.load(self.world.told(self.state, actions))
        self.graph.replay()
        self.state.frames = [n + 1 for n in self.state.frames]
        assert self.drawn is not None
        return self.drawn


def _tensors(cache: "FrameCache") -> list[Tensor]:
    """All that a step writes."""
    rings = [x for ring in cache.rings for x in ring.tensors().values()]
    return [*rings, cache.past, cache.actions, cache.pictures]


def _copies(cache: "FrameCache") -> list[Tensor]:
    return [x.clone() for x in _tensors(cache)]
