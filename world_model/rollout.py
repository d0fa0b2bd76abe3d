"""Stepping a trained world: one frame per action, with everything that must be remembered in a WorldState."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import FrameCache
from .contexts import Contexts
from .model import WorldModel
from .noise import batch_noise
from .plans import ad_levels, live_levels
from .sampler import Denoise, SamplerConfig, flow_path, run_levels
from .state import Flight, StateError, WorldState


@dataclass
class Drawn:
    """One step of B rollouts, on the world's device."""

    frames: Tensor
    """uint8 [B, H, W, 3]"""
    rewards: Tensor
    """float32 [B]"""
    terminated: Tensor
    """bool [B]"""


class Cancelled(Exception):
    """A step was given up between two passes; its state has not moved."""


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

    def start(self, frames: np.ndarray, actions: np.ndarray, seed: int, pictures: int = 1) -> WorldState:
        """Commit real frames as the past of one rollout.

        Args:
            frames: uint8 [k, H, W, 3], k >= 1, oldest first.
            actions: int [k - 1]; `actions[i]` was taken after seeing `frames[i]`.
            seed: any non-negative integer; with the actions it decides everything drawn afterwards.
            pictures: last pictures that the state keeps as they were shown; the oldest stands for those before it.

        Raises:
            ValueError: if shapes, dtype or action ids do not fit this world.
        """
        return self.start_batch(np.asarray(frames)[None], np.asarray(actions)[None], [seed], pictures)

    def step(self, state: WorldState, action: int) -> tuple[np.ndarray, float, bool]:
        """Draw the frame that `action` leads to and commit it. `state` advances in place.

        Returns:
            frame uint8 [H, W, 3], reward, whether the episode ended; all fresh.

        Raises:
            ValueError: if the action is out of range.
            StateError: if the state is of another world or number format.
        """
        frames, rewards, terminated = self.step_batch(state, np.array([action]))
        return frames[0], float(rewards[0]), bool(terminated[0])

    @torch.inference_mode()
    def start_batch(self, frames: np.ndarray, actions: np.ndarray, seeds: list[int], pictures: int = 1) -> WorldState:
        """`start` for B rollouts: frames [B, k, H, W, 3], actions [B, k - 1], B seeds."""
        frames, actions = self._check_start(frames, actions)
        if len(seeds) != len(frames) or min(seeds) < 0:
            raise ValueError(f"need {len(frames)} non-negative seeds, got {seeds}")
        if pictures < 1:
            raise ValueError(f"pictures must be at least 1, got {pictures}")
        cache = FrameCache(self.model.config, self.model.tokenizer.place, len(frames), pictures)
        state = WorldState(cache, [int(s) for s in seeds], [0] * len(frames), self.hash)
        shown = torch.from_numpy(frames).to(self.device)
        cache.pictures.copy_(shown[:, :1].expand_as(cache.pictures))
        leading = np.concatenate([np.full((len(frames), 1), self.model.null_action), actions], 1)
        led, x = torch.from_numpy(leading).to(self.device), self.model.scaler.encode(shown)
        together = self.model.config.window  # what one pass can commit: the last of them sees the first
        self._commit(state, x[:, :together], led[:, :together], shown[:, :together])
        for i in range(together, x.shape[1]):
            self._commit(state, x[:, i : i + 1], led[:, i : i + 1], shown[:, i : i + 1])
        return state

    def step_batch(self, state: WorldState, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`step` for B rollouts with actions int [B].

        Returns:
            frames uint8 [B, H, W, 3], rewards float32 [B], terminated bool [B].
        """
        chosen = torch.from_numpy(self._check_actions(actions, len(state)))
        drawn = self.step_tensors(state, chosen.to(self.device))
        return drawn.frames.cpu().numpy(), drawn.rewards.cpu().numpy(), drawn.terminated.cpu().numpy()

    @torch.inference_mode()
    def step_tensors(self, state: WorldState, actions: Tensor, stagger: int | None = None,
                     keep_on: Callable[[], bool] | None = None) -> Drawn:
        """`step_batch` without the host: tensors in, tensors out, and ids of actions are not looked at.

        Args:
            state: advances in place.
            actions: int64 [B] on the device of this world, each in [0, num_actions).
            stagger: passes by which a frame is behind the one before it; None, or the sampler's steps, draws one frame
                after the other. Fewer keep later frames in flight, begun without their actions (the AD plan of
                AR-Diffusion): less time per step, weaker control. See docs/engine.md.
            keep_on: asked before every pass; False gives the step up.

        Raises:
            ValueError: if `actions` is not int64 [B].
            StateError: if the state is of another world or number format.
            Cancelled: if `keep_on` said so; the state has not moved.
        """
        self.check_state(state)
        if actions.shape != (len(state),) or actions.dtype != torch.int64:
            raise ValueError(f"actions must be int64 [{len(state)}], got {actions.dtype} {list(actions.shape)}")
        levels = live_levels(self.sampler.steps, stagger or self.sampler.steps)
        state.flight = flight = self._flight(state, levels, keep_on)
        shown: list[Tensor] = []
        tokens: list[Tensor] = []

        def finish(clean: Tensor, index: int) -> Tensor:
            shown.append(self.model.scaler.decode(clean))
            quantised = self.model.scaler.encode(shown[0])
            tokens.append(self._commit(state, quantised[:, None], actions[:, None], shown[0][:, None]))
            return quantised

        x = self._with_noise(state, flight, levels.shape[1])
        x = run_levels(levels, flow_path(self.sampler), x, self._denoiser(state, actions, keep_on), finish)
        if flight is not None:
            state.flight = flight.like(x[:, 1:])
        rewards, terminated = self.model.outcome.decide(tokens[0])
        return Drawn(shown[0], rewards[:, 0], terminated[:, 0])

    def check_state(self, state: WorldState) -> None:
        """Whether this world can step a state.

        Raises:
            StateError: if it is of another world, number format or device.
        """
        mine = (self.hash, self.dtype, self.device.type)
        memory = state.cache.rings[0].k if state.cache.rings else None
        its = (state.world, memory.dtype, memory.device.type) if memory is not None else (state.world, *mine[1:])
        if its != mine:
            raise StateError(f"this world is {_named(*mine)}, the state is of {_named(*its)}; "
                             f"load the world that it was made with")

    def _flight(self, state: WorldState, levels: np.ndarray, keep_on: Callable[[], bool] | None) -> Flight | None:
        """The frames in flight that a plan needs: those of the state, or begun now, without actions."""
        steps, (passes, frames) = self.sampler.steps, levels.shape
        stagger = passes - 1
        if stagger == steps:
            return None
        if state.flight and (state.flight.steps, state.flight.stagger) == (steps, stagger):
            return state.flight
        begun = ad_levels(frames, steps, stagger)[: steps - stagger + 1, : frames - 1]
        x = self._with_noise(state, None, frames - 1)
        unknown = torch.full((len(state),), self.model.null_action, device=self.device)
        return Flight(run_levels(begun, flow_path(self.sampler), x, self._denoiser(state, unknown, keep_on)),
                      steps, stagger)

    def _with_noise(self, state: WorldState, flight: Flight | None, frames: int) -> Tensor:
        """Frames in flight, then noise up to so many: [B, frames, H, W, 3]."""
        begun = flight.x.shape[1] if flight is not None else 0
        fresh = [batch_noise(state.seeds, [n + i for n in state.frames], self.observation_shape)
                 for i in range(begun, frames)]
        noise = torch.stack(fresh, 1).to(self.device)
        return noise if flight is None else torch.cat([flight.x, noise], 1)

    def _denoiser(self, state: WorldState, actions: Tensor, keep_on: Callable[[], bool] | None) -> Denoise:
        """The network after the past of `state`: the next frame is led to by `actions`, those after it by unknown ones.

        Tokens of the first pass are kept only where nothing else is in flight.
        """
        cache, thoughts = state.cache, list[Tensor]()
        recent, known = cache.recent.to(self.dtype), torch.cat([cache.actions, actions[:, None]], 1)

        def denoise(live: Tensor, times: Tensor, first: int) -> Tensor:
            if keep_on is not None and not keep_on():
                raise Cancelled
            live, times = live.to(self.dtype), times.to(self.device).expand(len(live), -1)
            led = F.pad(known, (0, live.shape[1] - 1), value=self.model.null_action)
            if not (thoughts and self.sampler.reuse and live.shape[1] == 1):
                thoughts[:] = [self.model.think_cached(live, recent, times, led, cache.rings)]
            return self.model.draw_cached(thoughts[0], live, recent, times, led).float()

        return denoise

    def _commit(self, state: WorldState, x: Tensor, actions: Tensor, shown: Tensor) -> Tensor:
        """Run clean frames [B, n, H, W, 3] at level 0 and store their keys. Returns their tokens [B, n, N, D]."""
        fresh: list[tuple[Tensor, Tensor]] = []
        cache, times = state.cache, torch.zeros(actions.shape, device=self.device)
        tokens = self.model.think_cached(x.to(self.dtype), cache.recent.to(self.dtype), times,
                                         torch.cat([cache.actions, actions], 1), cache.rings, fresh)
        cache.append(fresh, x, actions, shown)
        state.frames = [n + x.shape[1] for n in state.frames]
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


def _named(world: str, dtype: torch.dtype, device: str) -> str:
    return f"{world[:12] or 'unnamed'} in {str(dtype).removeprefix('torch.')} on {device}"
