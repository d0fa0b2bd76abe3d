"""Steps rollouts and, if told so, draws their next frames before somebody asks. What is drawn never depends on that."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import finalize

import numpy as np
from torch import Tensor

from .between_steps import BetweenSteps
from .engine_config import EngineConfig
from .graphs import StaticStep, StepGraph
from .guesses import Ahead, Drawer, Guess, Guesser, Policy
from .lookahead import LookAhead
from .memory_policies import RINGS
from .rollout import Drawn, World
from .state import WorldState


@dataclass
class EngineStats:
    """What guessing was good for."""

    steps: int = 0
    """steps of the whole batch"""
    hits: int = 0
    """steps that had been guessed"""
    misses: int = 0
    """steps where something else had been guessed"""
    discarded: int = 0
    """frames drawn that nobody asked for"""
    drawing_ms: float = 0.0
    """what drawing the frames that were asked for took, whenever it was done"""
    waiting_ms: float = 0.0
    """of that, what callers waited for"""

    @property
    def hit_rate(self) -> float:
        """Share of the steps that had been guessed, in [0, 1]; nan without steps."""
        return self.hits / self.steps if self.steps else float("nan")

    @property
    def saved_ms(self) -> float:
        """Milliseconds of drawing that nobody waited for."""
        return self.drawing_ms - self.waiting_ms


class Engine:
    """Owns a state and steps it.

    Raises:
        ValueError: if the world's sampler cannot do what `config` asks for.
    """

    def __init__(self, world: World, config: EngineConfig | None = None, policy: Policy | None = None):
        """Step states of `world` as `config` says; `policy` is what lookahead=policy guesses with (`set_policy`)."""
        self.config = config or EngineConfig()
        self.world = world = world.with_memory(self.config.memory) if self.config.memory else world
        self._plan = self.config.plan_config()
        self._state: WorldState | None = None
        self._stagger = self._plan.passes_behind(world.sampler.steps)
        self._look: LookAhead | None = None
        self._guesser = Guesser(world, self.config.lookahead, policy)
        self._stats = EngineStats()
        plain = self.config.plan == "autoregressive" and self.config.lookahead == "off"
        pixels = not world.model.config.latents  # what an AR-VAE remembers is made anew in every step
        rings = world.memory in RINGS
        graphs = self.config.graphs and plain and pixels and rings and world.device.type == "cuda"
        self._capture: type[StaticStep] | None = StepGraph if graphs else None
        self._static: StaticStep | None = None
        self._between: BetweenSteps | None = None
        if self.config.lookahead != "off":
            self._look = LookAhead(self._guesser, Drawer(world), self.config.ahead)
            finalize(self, self._look.abandon)

    @property
    def begun(self) -> bool:
        """Whether there is a state."""
        return self._state is not None

    @property
    def state(self) -> WorldState:
        """The present state, to be forked and read; `replace` puts another in its place."""
        if self._state is None:
            raise RuntimeError("the engine has no state yet: call replace first")
        return self._state

    def replace(self, state: WorldState) -> None:
        """Go on from `state`, which then belongs to the engine. Guesses about the one before are dropped.

        Raises:
            StateError: if the state is of another world or number format. Nothing is changed.
            ValueError: if lookahead=branch and it has several rollouts. Nothing is changed.
        """
        self.world.check_state(state)
        if self.config.lookahead == "branch" and len(state) != 1:
            raise ValueError(f"lookahead=branch draws all actions of one rollout, got {len(state)}: use repeat or off")
        self.forget()
        self._between = None
        self._take_off(state)
        self._place(state)

    def put(self, rows: list[int], state: WorldState) -> None:
        """Rollouts `rows` go on from `state`, which holds as many, or one for all. Guesses are dropped.

        Raises:
            StateError: if the state does not fit. Nothing is changed.
            IndexError: if there is no such rollout. Nothing is changed.
        """
        self.world.check_state(state)
        self.forget()
        if self._between is not None:
            self._between.put(rows, state, self._stagger_of(self._between.world))
        state = state.clone()
        self._take_off(state)
        if self._static is not None:
            self._static.cache.keep_place()
        self.state.put(rows, state)

    def redraw(self, world: World) -> None:
        """Go on with the same network drawn otherwise, from the next frame on: `world.with_sampler(...)`.

        Raises:
            ValueError: if the plan cannot be stepped with that sampler. Nothing is changed.
        """
        stagger = self._plan.passes_behind(world.sampler.steps)
        self.forget()
        between = self._asked() if self._state is not None else None
        self.world, self._stagger, self._static = world, stagger, None
        self._guesser.world = world
        if self._look is not None:
            self._look.redraw(Drawer(world))
        if between is not None:
            self._do(between)

    def switch(self, rows: list[int], condition: int, how: str) -> None:
        """Go on under another condition, see `switching.set_condition`. The last call before a step is what counts."""
        self.forget()
        between = self._asked()
        between.conditions |= dict.fromkeys(rows, (condition, how))
        self._do(between)

    def cut(self, rows: list[int]) -> None:
        """End the scene of some rollouts, see `switching.cut`."""
        self.forget()
        between = self._asked()
        between.cuts |= {*rows}
        self._do(between)

    def _asked(self) -> BetweenSteps:
        """What has been asked for since the last step."""
        if self._between is None:
            self._between = BetweenSteps(self.state.clone(), self.world)
        return self._between

    def _do(self, between: BetweenSteps) -> None:
        state = between.done(self.world, self._stagger_of(self.world))
        state.episodes = self.state.episodes
        self._place(state)

    def _place(self, state: WorldState) -> None:
        """Go on from a state of the engine's plan."""
        if self._static is not None and _sizes(self._static.state) == _sizes(state):
            self._static.cache.keep_place()
            self._static.state.put([*range(len(state))], state)  # where the captured step reads it
        else:
            self._state, self._static = state, None

    def forget(self) -> None:
        """Drop all guesses, before the state is changed by somebody else."""
        if self._look is not None:
            self._look.stop()

    def step(self, actions: Tensor) -> Drawn:
        """Advance all rollouts by a frame: actions int64 [B] on the world's device, not looked at.

        Raises:
            Exception: what the policy that guesses has raised.
        """
        self._between = None
        before, episodes = time.perf_counter(), self.state.episodes
        had, ahead = False, None
        if self._look is not None:
            had, ahead = self._look.guessing, self._look.take(actions)
        if ahead is not None:
            self._state, drawn = ahead.chosen(actions)
            seconds = ahead.seconds
        else:
            start = time.perf_counter()
            drawn = self._draw(actions)
            seconds = time.perf_counter() - start
        self.state.episodes = episodes  # those of a guess are older
        self._count(had, ahead, seconds, time.perf_counter() - before)
        return drawn

    def look_ahead(self) -> None:
        """Begin to guess what comes after the present state; does nothing with lookahead=off."""
        if self._look is not None and self._guesser.ready:
            self._look.begin(self.state)

    @property
    def policy(self) -> Policy | None:
        """What lookahead=policy guesses with."""
        return self._guesser.policy

    def set_policy(self, policy: Policy | None) -> None:
        """What lookahead=policy guesses with: pictures uint8 [B, K, H, W, 3] -> actions int64 [B]; None: no guesses.

        It is called by another thread.
        """
        self.forget()
        self._guesser.policy = policy

    def rollout(self, actions: np.ndarray) -> Iterator[Drawn]:
        """`World.rollout` of the present state, by the engine's plan."""
        self.forget()
        self._between = None
        if self.config.lookahead == "branch":  # rows of a batch, as steps are
            return map(self._draw, self.world.checked_script(self.state, actions).unbind(1))
        return self.world.rollout(self.state, actions, self._plan)

    def stats(self) -> EngineStats:
        """What guessing was good for since the engine was made."""
        wrong = self._look.discarded if self._look is not None else 0
        return replace(self._stats, discarded=self._stats.discarded + wrong)

    def close(self) -> None:
        """End the thread that looks ahead. Stepping may go on and starts another."""
        if self._look is not None:
            self._look.close()

    def _draw(self, actions: Tensor) -> Drawn:
        """What `step` returns, without guesses."""
        if self.config.lookahead == "branch":
            self._state, drawn = Drawer(self.world)(self.state, Guess(None)).chosen(actions)
            return drawn
        if not self._plan.live:
            self._plan.check_live(self.world.sampler.steps)  # raises
        if self._capture is not None:
            return self._replay(actions)
        return self.world.step_tensors(self.state, actions, stagger=self._stagger)

    def _replay(self, actions: Tensor) -> Drawn:
        """The step as it was captured, or is now: its buffers stay where they are, snapshots get copies."""
        if self._static is None or self._static.moved:
            assert self._capture is not None
            self._static = self._capture(self.world, self.state)
        self._static.cache.keep_place()
        drawn = self._static.step(actions)
        return Drawn(drawn.frames.clone(), drawn.rewards.clone(), drawn.terminated.clone())

    def _take_off(self, state: WorldState) -> None:
        """Each rollout has the frames in flight of the engine's plan, if it is one to step with."""
        stagger = self._stagger_of(self.world)
        if stagger is not None:
            self.world.take_off(state, stagger)

    def _stagger_of(self, world: World) -> int | None:
        """How far apart frames in flight are with its number of passes; None with a plan that has no live steps."""
        if not self._plan.live:
            return None
        self._plan.check_live(world.sampler.steps)  # warns
        return self._plan.passes_behind(world.sampler.steps)

    def _count(self, had: bool, ahead: Ahead | None, seconds: float, waited: float) -> None:
        stats = self._stats
        stats.steps += 1
        stats.hits += ahead is not None
        stats.misses += had and ahead is None
        stats.discarded += ahead.frames - len(self.state) if ahead is not None else 0
        stats.drawing_ms += 1000 * seconds
        stats.waiting_ms += 1000 * waited


def _sizes(state: WorldState) -> tuple[int, int]:
    """What a captured step is made for: rollouts, and pictures kept."""
    return len(state), state.pictures.shape[1]
