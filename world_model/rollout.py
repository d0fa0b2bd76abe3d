"""Stepping a trained world: one frame per action, with everything that must be remembered in a WorldState."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kernels import RingCache

from .cache import FrameCache
from .checks import check_start, checked_conditions, condition_of
from .passes import Passes, with_noise
from .plan_config import PlanConfig
from .plans import live_levels
from .precision import own_settings
from .replenishment import replenish, shown_before
from .sampler import flow_path, level_times, run_levels
from .scripted import begun, roll_out
from .served import ServedModel, ServedStep, can_serve
from .state import Flight, StateError, WorldState
from .trained_world import TrainedWorld


@dataclass
class Drawn:
    """One step of B rollouts, on the world's device."""

    frames: Tensor
    """uint8 [B, H, W, 3]"""
    rewards: Tensor
    """float32 [B]"""
    terminated: Tensor
    """bool [B]"""


class World(TrainedWorld):
    """A trained network as a game: `start` from real frames, then `step` with actions."""

    def start(self, frames: np.ndarray, actions: np.ndarray, seed: int, pictures: int = 1,
              condition: str | int | None = None) -> WorldState:
        """Commit real frames as the past of one rollout.

        Args:
            frames: uint8 [k, H, W, 3], k >= 1, oldest first.
            actions: int [k - 1]; `actions[i]` was taken after seeing `frames[i]`.
            seed: any non-negative integer; with the actions it decides everything drawn afterwards.
            pictures: last pictures that the state keeps as they were shown; the oldest stands for those before it.
            condition: name or number of the one that the frames are under; None for the world's own (`under`).

        Raises:
            ValueError: if shapes, dtype, action ids or the condition do not fit this world.
        """
        number = self.condition if condition is None else condition_of(self.conditions, condition)
        return self.start_batch(np.asarray(frames)[None], np.asarray(actions)[None], [seed], pictures, [number])

    def step(self, state: WorldState, action: int | np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Draw the frame that `action` leads to and commit it. `state` advances in place.

        Returns:
            frame uint8 [H, W, 3], reward, whether the episode ended; all fresh.

        Raises:
            ValueError: if the action is out of range.
            StateError: if the state is of another world or number format.
        """
        frames, rewards, terminated = self.step_batch(state, np.asarray(action)[None])
        return frames[0], float(rewards[0]), bool(terminated[0])

    @own_settings
    @torch.inference_mode()
    def start_batch(self, frames: np.ndarray, actions: np.ndarray, seeds: list[int], pictures: int = 1,
                    conditions: "list[int] | np.ndarray | None" = None) -> WorldState:
        """`start` for B rollouts: frames [B, k, H, W, 3], actions [B, k - 1], B seeds, conditions [B] or [B, k]."""
        frames, actions = check_start(frames, actions, self.observation_shape, self.actions)
        if len(seeds) != len(frames) or min(seeds) < 0:
            raise ValueError(f"need {len(frames)} non-negative seeds, got {seeds}")
        if pictures < 1:
            raise ValueError(f"pictures must be at least 1, got {pictures}")
        under = checked_conditions(conditions, self.condition, frames.shape[:2], len(self.conditions))
        cache = FrameCache(self.model.config, self.model.tokenizer.place, len(frames), pictures, self.codec,
                           self.memory)
        state = WorldState(cache, [int(s) for s in seeds], [0] * len(frames), self.hash,
                           conditions=under[:, -1].tolist())
        shown = torch.from_numpy(frames).to(self.device)
        cache.pictures.copy_(shown[:, :1].expand_as(cache.pictures))
        first = self.actions.taken(self.actions.unknown(len(frames), 1))
        led = self.actions.told(torch.cat([first, torch.from_numpy(actions)], 1), torch.from_numpy(under))
        led = led.to(self.device)
        known = self.codec.read(shown)
        cache.decoding = self.codec.show(known, cache.decoding)[1]
        x = self.model.scaler.encode(known)
        together = self.model.config.window  # what one pass can commit: the last of them sees the first
        self.commit(state, x[:, :together], led[:, :together], shown[:, :together])
        for i in range(together, x.shape[1]):
            self.commit(state, x[:, i : i + 1], led[:, i : i + 1], shown[:, i : i + 1])
        return state

    def step_batch(self, state: WorldState, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`step` for B rollouts with actions int [B].

        Returns:
            frames uint8 [B, H, W, 3], rewards float32 [B], terminated bool [B].
        """
        chosen = torch.from_numpy(self.actions.checked(actions, len(state)))
        drawn = self.step_tensors(state, chosen.to(self.device))
        return drawn.frames.cpu().numpy(), drawn.rewards.cpu().numpy(), drawn.terminated.cpu().numpy()

    @own_settings
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
        if actions.shape != (len(state), *self.actions.shape) or actions.dtype != self.actions.dtype:
            raise ValueError(f"actions must be {str(self.actions.dtype).removeprefix('torch.')} "
                             f"{[len(state), *self.actions.shape]}, got {actions.dtype} {list(actions.shape)}")
        levels = live_levels(self.sampler.steps, stagger or self.sampler.steps)
        self.take_off(state, stagger, keep_on)
        flight = state.flight
        x = with_noise(self, state, flight.x if flight else None, levels.shape[1])
        told = self.told(state, actions)[:, None]
        drawn, later = self.draw_next(state, x, levels, Passes(self, state, told, keep_on=keep_on))
        state.flight = flight.like(later) if flight else None
        return drawn

    def draw_next(self, state: WorldState, x: Tensor, levels: np.ndarray, passes: Passes) -> tuple[Drawn, Tensor]:
        """Bring frames in flight x [B, F, H, W, 3] from the first row of `levels` to the last and commit the first one.

        Returns:
            what was committed, and the frames in flight after it [B, F - 1, H, W, 3].
        """
        done: list[Drawn] = []
        actions = passes.known[:, passes.memory : passes.memory + 1]

        def finish(clean: Tensor, index: int) -> Tensor:
            done.append(self.commit_drawn(state, clean, actions, passes.served))
            return clean

        x = run_levels(levels, flow_path(self.sampler), x, passes, finish)
        return done[0], x[:, 1:]

    @own_settings
    def commit_drawn(self, state: WorldState, clean: Tensor, actions: Tensor,
                     served: ServedStep | None = None) -> Drawn:
        """Commit the next frame, [B, ...] in model units, as it is shown, in uint8. actions [B, 1, ...], as told.

        `served`: of the passes that drew it.
        """
        scaler, cache = self.model.scaler, state.cache
        known = scaler.decode(clean)
        if self.sampler.still:
            past, there = shown_before(cache, scaler)
            known = replenish(known, past, self.sampler.still, there)
        shown, cache.decoding = self.codec.show(known[:, None], cache.decoding)
        tokens = self.commit(state, scaler.encode(known)[:, None], actions, shown, served)
        rewards, terminated = self.model.outcome.decide(tokens)
        return Drawn(shown[:, 0], rewards[:, 0], terminated[:, 0])

    def rollout(self, state: WorldState, actions: np.ndarray, plan: PlanConfig | None = None) -> Iterator[Drawn]:
        """Draw the frames that a whole script of actions leads to, as a plan says that may know them all.

        Args:
            state: advances with every frame that is handed out; frames in flight are not kept at the end.
            actions: int [B, n].
            plan: how; one frame after the other when None. See `PlanConfig`.

        Yields:
            frame after frame.

        Raises:
            ValueError: if the actions do not fit, or the plan cannot be.
            StateError: if the state is of another world or number format.
        """
        return roll_out(self, state, self.told(state, self.checked_script(state, actions)), plan or PlanConfig())

    def told(self, state: WorldState, actions: Tensor) -> Tensor:
        """What the network is told of actions [B, ...] or [B, n, ...] that rollouts take under their conditions."""
        if not self.conditions:
            return actions
        under = torch.tensor(state.conditions, device=actions.device)
        return self.actions.told(actions, under.view(-1, *[1] * (actions.dim() - 1 - len(self.actions.shape))))

    def checked_script(self, state: WorldState, actions: np.ndarray) -> Tensor:
        """Actions of a script for `state`, int64 [B, n] on the device of this world.

        Raises:
            ValueError: if they are not integers [B, n] in [0, num_actions).
            StateError: if the state is of another world or number format.
        """
        self.check_state(state)
        actions = np.asarray(actions)
        if actions.ndim < 2 or len(actions) != len(state):
            kind = "numbers" if self.actions.continuous else "integers"
            raise ValueError(f"actions must be {kind} {[len(state), 'n', *self.actions.shape]}, "
                             f"got {list(actions.shape)}".replace("'n'", "n"))
        return torch.from_numpy(self.actions.checked(actions, *actions.shape[:2])).to(self.device)

    def check_state(self, state: WorldState) -> None:
        """Whether this world can step a state.

        Raises:
            StateError: if it is of another world, number format or device.
        """
        mine = (self.hash, self.dtype, self.device.type)
        memory = state.cache.rings[0].k if state.cache.rings else None
        its = (state.world, memory.dtype, memory.device.type) if memory is not None else (state.world, *mine[1:])
        if state.cache.policy != self.memory:
            raise StateError(f"this world remembers by the policy {self.memory}, the state by {state.cache.policy}; "
                             "step it with world.with_memory(...), or begin anew")
        if its != mine:
            raise StateError(f"this world is {_named(*mine)}, the state is of {_named(*its)}; "
                             f"load the world that it was made with")

    @own_settings
    @torch.inference_mode()
    def take_off(self, state: WorldState, stagger: int | None = None,
                 keep_on: Callable[[], bool] | None = None) -> None:
        """Bring the frames in flight that `step_tensors` needs on the way, unless they are; drop others.

        Frames begun here are begun from the past alone, those of a running plan while the frame before them was in
        flight: so they belong to the state, and are not made anew where they can be kept.
        """
        steps, shift, known = self.sampler.steps, self.sampler.shift, state.flight
        stagger = stagger or steps
        if stagger == steps:
            state.flight = None
        elif known is None or known.plan != (steps, stagger, shift):
            unknown = self.actions.taken(self.actions.unknown(len(state), 1, device=self.device))
            unknown = self.told(state, unknown)
            passes = Passes(self, state, unknown, keep_on=keep_on)
            x = begun(self, state, -(-steps // stagger) - 1, stagger, passes)
            state.flight = Flight(x, steps, stagger, shift)

    def serve(self, cache: FrameCache, actions: Tensor) -> ServedStep | None:
        """Passes after the past in `cache`; None where the plain ones of the model have to do. See `ServedStep`."""
        rings = [ring for ring in cache.rings if isinstance(ring, RingCache)]
        if not can_serve(self.model) or len(rings) < len(cache.rings):
            return None
        if not self._served:
            self._served.append(ServedModel(self.model))
        return ServedStep(self._served[0], cache.recent, actions, rings, level_times(self.sampler).tolist(),
                          self.sampler.reuse)

    @own_settings
    def commit(self, state: WorldState, x: Tensor, actions: Tensor, shown: Tensor,
               served: ServedStep | None = None) -> Tensor:
        """Run clean frames [B, n, ...] at level 0 and store their keys. Returns their tokens [B, n, N, D]."""
        fresh: list[tuple[Tensor, ...]] = []
        cache, known = state.cache, torch.cat([state.cache.told, actions], 1)
        served = served or self.serve(cache, known)
        if served is not None:
            tokens = served.think(x, [0.0] * x.shape[1], fresh)
        else:
            tokens = self.model.think_cached(x.to(self.dtype), cache.recent.to(self.dtype), torch.zeros(
                actions.shape[:2], dtype=torch.float32, device=self.device), known, cache.rings, fresh)
        cache.append(fresh, x, actions, shown)
        state.frames = [n + x.shape[1] for n in state.frames]
        return tokens


def _named(world: str, dtype: torch.dtype, device: str) -> str:
    return f"{world[:12] or 'unnamed'} in {str(dtype).removeprefix('torch.')} on {device}"
