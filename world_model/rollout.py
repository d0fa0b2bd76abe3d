"""Stepping a trained world: one frame per action, with everything that must be remembered in a WorldState."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cache import FrameCache
from .contexts import Contexts
from .model import WorldModel
from .plans import autoregressive_plan
from .sampler import SamplerConfig, flow_path, run_plan


@dataclass
class WorldState:
    """Everything the next frames of B rollouts that advance together depend on."""

    cache: FrameCache
    recent: Tensor
    """[B, history, H, W, 3] the last committed frames in model units, oldest first; zeros before the start"""
    actions: Tensor
    """int64 [B, action_memory] actions that led to the last committed frames; the null action before the start"""
    seeds: list[int]
    """one per rollout"""
    frame: int
    """index of the next frame to be drawn; 0 is the first context frame"""

    def clone(self) -> "WorldState":
        """An independent copy: stepping one does not touch the other."""
        return WorldState(self.cache.clone(), self.recent.clone(), self.actions.clone(), list(self.seeds), self.frame)


class World:
    """A trained network as a game: `start` from real frames, then `step` with actions."""

    def __init__(self, model: WorldModel, sampler: SamplerConfig, card: dict[str, Any], contexts: Contexts,
                 hash: str = ""):
        self.model = model
        self.sampler = sampler
        self.card = card
        self.contexts = contexts
        self.hash = hash
        self.device = model.tokenizer.place.device
        self.dtype = model.tokenizer.place.dtype

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self.model.config.height, self.model.config.width, 3

    @property
    def num_actions(self) -> int:
        """Actions are 0..num_actions-1."""
        return self.model.config.num_actions

    @property
    def fps(self) -> float:
        """Steps per second of the real game."""
        return float(self.card["fps"])

    @property
    def action_meanings(self) -> list[str]:
        """Name of every action."""
        return list(self.card["actions"]["meanings"])

    def with_sampler(self, steps: int | None = None, shift: float | None = None, reuse: bool | None = None) -> "World":
        """The same network drawn otherwise (shared weights): settings of its `SamplerConfig`, None as they are."""
        own = self.sampler
        sampler = SamplerConfig(steps=own.steps if steps is None else steps,
                                shift=own.shift if shift is None else shift,
                                reuse=own.reuse if reuse is None else reuse)
        return self if sampler == own else World(self.model, sampler, self.card, self.contexts, self.hash)

    def start(self, frames: np.ndarray, actions: np.ndarray, seed: int) -> WorldState:
        """Commit real frames as the past of one rollout.

        Args:
            frames: uint8 [k, H, W, 3], k >= 1, oldest first.
            actions: int [k - 1]; `actions[i]` was taken after seeing `frames[i]`.
            seed: any non-negative integer; with the actions it decides everything drawn afterwards.

        Raises:
            ValueError: if shapes, dtype or action ids do not fit this world.
        """
        return self.start_batch(np.asarray(frames)[None], np.asarray(actions)[None], [seed])

    def step(self, state: WorldState, action: int) -> tuple[np.ndarray, float, bool]:
        """Draw the frame that `action` leads to and commit it. `state` advances in place.

        Returns:
            frame uint8 [H, W, 3], reward, whether the episode ended; all fresh.

        Raises:
            ValueError: if the action is out of range.
        """
        frames, rewards, terminated = self.step_batch(state, np.array([action]))
        return frames[0], float(rewards[0]), bool(terminated[0])

    @torch.inference_mode()
    def start_batch(self, frames: np.ndarray, actions: np.ndarray, seeds: list[int]) -> WorldState:
        """`start` for B rollouts: frames [B, k, H, W, 3], actions [B, k - 1], B seeds."""
        frames, actions = self._check_start(frames, actions)
        if len(seeds) != len(frames) or min(seeds) < 0:
            raise ValueError(f"need {len(frames)} non-negative seeds, got {seeds}")
        history, shape = self.model.config.history, self.observation_shape
        recent = torch.zeros(len(frames), history, *shape, device=self.device)
        past = torch.full((len(frames), self.model.config.action_memory), self.model.null_action, device=self.device)
        cache = FrameCache(self.model.config, self.model.tokenizer.place, len(frames))
        state = WorldState(cache, recent, past, [int(s) for s in seeds], 0)
        leading = np.concatenate([np.full((len(frames), 1), self.model.null_action), actions], 1)
        x = self.model.scaler.encode(torch.from_numpy(frames).to(self.device))
        for i in range(x.shape[1]):
            self._commit(state, x[:, i : i + 1], torch.from_numpy(leading[:, i : i + 1]).to(self.device))
        return state

    @torch.inference_mode()
    def step_batch(self, state: WorldState, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`step` for B rollouts with actions int [B].

        Returns:
            frames uint8 [B, H, W, 3], rewards float32 [B], terminated bool [B].
        """
        chosen = torch.from_numpy(self._check_actions(actions, len(state.seeds)))[:, None].to(self.device)
        noise = torch.stack([frame_noise(seed, state.frame, self.observation_shape) for seed in state.seeds])
        recent, led = state.recent.to(self.dtype), torch.cat([state.actions, chosen], 1)
        thoughts: list[Tensor] = []
        tokens: list[Tensor] = []

        def denoise(live: Tensor, times: Tensor, first: int) -> Tensor:
            live, times = live.to(self.dtype), times.to(self.device).expand(len(live), -1)
            if not (thoughts and self.sampler.reuse):
                thoughts[:] = [self._think(live, state, times, chosen)]
            return self.model.draw_cached(thoughts[0], live, recent, times, led).float()

        def finish(clean: Tensor, index: int) -> Tensor:
            quantised = self.model.scaler.quantise(clean)
            tokens.append(self._commit(state, quantised[:, None], chosen))
            return quantised

        plan = autoregressive_plan(1, self.sampler.steps)
        clean = run_plan(plan, flow_path(self.sampler), noise[:, None].to(self.device), denoise, finish)
        rewards, terminated = self.model.outcome.decide(tokens[0])
        frames = self.model.scaler.decode(clean[:, 0]).cpu().numpy()
        return frames, rewards[:, 0].cpu().numpy(), terminated[:, 0].cpu().numpy()

    def _think(self, x: Tensor, state: WorldState, times: Tensor, actions: Tensor,
               fresh: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Tokens [B, F, N, D] of frames in flight x [B, F, H, W, 3] at `times` [B, F], led to by `actions` [B, F]."""
        led = torch.cat([state.actions, actions], 1)
        return self.model.think_cached(
            x.to(self.dtype), state.recent.to(self.dtype), times, led, state.cache.rings, fresh)

    def _commit(self, state: WorldState, x: Tensor, actions: Tensor) -> Tensor:
        """Run clean frames [B, 1, H, W, 3] at level 0 and store their keys. Returns their tokens [B, 1, N, D]."""
        fresh: list[tuple[Tensor, Tensor]] = []
        times = torch.zeros(actions.shape, device=self.device)
        tokens = self._think(x, state, times, actions, fresh)
        state.cache.append(fresh)
        if state.recent.shape[1]:
            state.recent = torch.cat([state.recent[:, 1:], x], 1)
        if state.actions.shape[1]:
            state.actions = torch.cat([state.actions[:, 1:], actions], 1)
        state.frame += 1
        return tokens

    def _check_start(self, frames: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames, actions = np.asarray(frames), np.asarray(actions)
        shape = self.observation_shape
        if frames.ndim != 5 or frames.shape[2:] != shape or frames.dtype != np.uint8 or not frames.size:
            raise ValueError(f"frames must be uint8 [k, {shape[0]}, {shape[1]}, 3] with k >= 1, "
                             f"got {frames.dtype} {list(frames.shape[1:])}")
        if actions.shape != (len(frames), frames.shape[1] - 1):
            raise ValueError(f"actions must hold one action between frames, [{frames.shape[1] - 1}], "
                             f"got {list(actions.shape[1:])}")
        if actions.size:
            self._check_actions(actions.reshape(-1), actions.size)
        return np.ascontiguousarray(frames), actions.astype(np.int64)

    def _check_actions(self, actions: np.ndarray, count: int) -> np.ndarray:
        actions = np.asarray(actions)
        if actions.shape != (count,) or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(f"need {count} integer actions, got {actions.dtype} {list(actions.shape)}")
        if actions.min() < 0 or actions.max() >= self.num_actions:
            raise ValueError(f"actions must be from 0 to {self.num_actions - 1}, got {actions.tolist()[:8]}")
        return actions.astype(np.int64)


def frame_noise(seed: int, frame: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise that depends on (seed, frame) alone, whatever was drawn before. float32 [*shape]."""
    mixed = int(np.random.SeedSequence([seed, frame]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.randn(shape, generator=torch.Generator().manual_seed(mixed))
