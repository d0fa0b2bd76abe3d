"""What the single and the vector environment of a learned world share: the world, its cards, and how it is drawn."""

import copy
import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray
from torch import Tensor

from world_model import Drawn, Engine, EngineConfig, EngineStats, Episode, StateError, World, WorldState, load_world

from .catalogue import WORLDS, find_world
from .conditioned import Conditioned
from .keymap import Action, gymnasium_keys, noop_action
from .observations import Observations
from .starts import as_state
from .step_queue import StepQueue

# A forked child inherits torch's thread pool without its threads and hangs in the first parallel operation
# (AsyncVectorEnv forks by default); one thread needs no pool.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class LearnedWorld(Conditioned):
    """A world as an environment holds it; to be inherited beside a Gymnasium class."""

    world: World
    observations: Observations
    max_episode_steps: int | None
    render_mode: str | None
    metadata: dict[str, Any]
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]

    def _open(self, world: str, render_mode: str | None, device: str, dtype: str, passes: int | None,
              max_episode_steps: int | None, engine: EngineConfig | dict[str, Any] | None, queue: str,
              condition: str | int | None, switch: str | None, **observations: Any) -> None:  # fmt: skip
        """Load the world and check all arguments that the two environments share.

        Raises:
            WorldError: if the world does not exist or its files are damaged; the message says what to do.
            ValueError: if an argument is out of its range.
        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be None or one of {self.metadata['render_modes']}, got {render_mode!r}")
        if passes is not None:
            self._check_passes(passes)
        max_episode_steps = None if max_episode_steps == -1 else max_episode_steps  # as `gymnasium.make` says it
        if max_episode_steps is not None and (not _is_integer(max_episode_steps) or max_episode_steps < 1):
            raise ValueError(f"max_episode_steps must be None, or -1, for no limit, or an integer of at least 1, got "
                             f"{max_episode_steps!r}")
        if not isinstance(world, str | Path):
            raise ValueError(f"world must be a shipped world's name or the folder of one, got {world!r}")
        checked_device(device)
        folder = find_world(world)
        opened = load_world(folder, device, dtype).with_sampler(passes)
        self.observations = Observations(opened.observation_shape, **observations)
        config = EngineConfig.of(engine)
        if config.memory:
            opened = opened.with_memory(config.memory)
        self.world, self.max_episode_steps, self.render_mode = opened, max_episode_steps, render_mode
        self._choose_condition(condition, switch)
        if config.lookahead == "branch" and opened.actions.continuous:
            raise ValueError("lookahead=branch draws every action, and this world's are vectors: use repeat or policy")
        self._equip(config, queue)
        self.metadata = {**self.metadata, "render_fps": round(opened.fps)}
        self.place = folder.name if folder.parent == WORLDS else str(folder.resolve())
        """what finds this world again: a shipped one's name, or its folder"""

    @staticmethod
    def _check_passes(passes: Any) -> None:
        if not _is_integer(passes) or passes < 1:
            raise ValueError(f"passes must be None or an integer of at least 1, got {passes!r}")

    def _equip(self, config: EngineConfig, queue: str, policy: "Callable[[Tensor], Tensor] | None" = None) -> None:
        """Make the engine and the queue, which no two environments share."""
        self._engine = Engine(self.world, config, policy)
        self._queue_kind = queue
        advance = weakref.WeakMethod(self._advance)  # no cycle: an environment nobody holds ends its threads at once
        self._steps = StepQueue(lambda action: advance()(action), queue)  # type: ignore[misc]

    def step_async(self, action: Any) -> None:
        """Begin a step and return at once; `step_wait` returns what `step` would have.

        Several may be begun. With queue="fifo" each is made, in order; with queue="latest" one that has not begun gives
        way to the next. Errors of a step come with its `step_wait`.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._begun("step_async")
        self._steps.submit(action)

    def step_wait(self, timeout: float | None = None) -> Any:
        """What the oldest step returned that was begun with `step_async`; waits for it, `timeout` seconds at most.

        Raises:
            NoAsyncCallError: if none was begun.
            TimeoutError: if it takes longer; it goes on, and can be waited for again.
            ResetNeeded, ValueError, TypeError: as `step`.
        """
        return self._steps.wait(timeout)

    @property
    def step_ready(self) -> bool:
        """Whether `step_wait` would return at once."""
        return self._steps.ready

    def stats(self) -> EngineStats:
        """What guessing was good for: hits, misses, frames drawn for nothing, milliseconds nobody waited for."""
        return self._engine.stats()

    def set_policy(self, policy: Callable[[Any], Any] | None) -> None:
        """What lookahead=policy guesses with: an observation to an action, or None. It is called by another thread.

        It is given what `step` returns as observation, of all environments of a vector, and its guess is dropped if the
        step that comes is another: so it should be what decides the steps, without its randomness.

        Raises:
            ValueError: if this environment has another lookahead; later, at a step, if the policy returns no actions.
        """
        self._steps.require_empty("set_policy")
        if policy is not None and self._engine.config.lookahead != "policy":
            raise ValueError(f"set_policy() needs engine={{'lookahead': 'policy'}}, this environment was made with "
                             f"lookahead={self._engine.config.lookahead}")
        self._engine.set_policy(None if policy is None else self._guess_of(policy))

    def _guess_of(self, policy: Callable[[Any], Any]) -> "Callable[[Tensor], Tensor]":
        """A policy on observations as one on pictures."""
        raise NotImplementedError

    def _advance(self, action: Any) -> Any:
        """A whole step."""
        raise NotImplementedError

    def _close_engine(self) -> None:
        """End all threads; they start again when they are needed."""
        if hasattr(self, "_steps"):
            self._steps.close()
            self._engine.close()

    @property
    def name(self) -> str:
        """The world's name, as its card says it."""
        return str(self.world.card["name"])

    @property
    def label(self) -> str:
        """Name and the beginning of the hash, which no other world has: for folders of what belongs to this one."""
        return f"{self.name}-{self.world.hash[:8]}"

    @property
    def passes(self) -> int:
        """Network calls per frame, the one that commits it not counted."""
        return self.world.sampler.steps

    def set_passes(self, passes: int) -> None:
        """Draw what comes with so many network calls per frame, in the middle of an episode too.

        Fewer are faster and worse. Recordings that note them as `controls` are replayed with them.

        Raises:
            ValueError: if `passes` is no integer of at least 1, or the engine's plan cannot be stepped with so many.
        """
        self._steps.require_empty("set_passes")
        self._check_passes(passes)
        if passes == self.passes:
            return
        world = self.world.with_sampler(int(passes))
        self._engine.redraw(world)
        self.world = world
        if self._engine.begun:
            self._look_ahead()

    def run_card(self) -> dict[str, Any]:
        """What equal bytes depend on besides seed and actions: device, number format, passes, threads, torch."""
        return {
            "device": str(self.world.device),
            "dtype": str(self.world.dtype),
            "passes": self.passes,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def recording_card(self) -> dict[str, Any]:
        """What a recording notes of this world, enough to make it again and to see whether it is the same."""
        dtype = "bf16" if self.world.dtype == torch.bfloat16 else "fp32"
        kwargs = {"world": self.place, "device": str(self.world.device), "dtype": dtype, "passes": self.passes}
        noted = {} if self.world.memory == "window" else {"memory": self.world.memory}  # which a card may change
        drawing = self._engine.config.drawing() | noted
        if drawing:
            kwargs["engine"] = drawing
        if self.world.conditions:
            kwargs |= {"condition": self.start_condition, "switch": self.switch}
        names = {"conditions": self.conditions} if self.conditions else {}
        env: dict[str, Any] = {"id": "foreframe/World-v0", "kwargs": {**kwargs, **self.observations.kwargs()}}
        if self.max_episode_steps is not None:  # a wrapper's limit is its own to note
            env["max_episode_steps"] = self.max_episode_steps
        return {
            "env": env,
            "world": self.world.card,
            "world_hash": self.world.hash,
            "run": self.run_card(),
            "fps": self.world.fps,
            **names,
        }

    def get_action_meanings(self) -> list[str]:
        """Names of the actions in the order of their ids, as the real game calls them."""
        return list(self.world.action_meanings)

    def get_keys_to_action(self) -> dict[tuple[int, ...], Action]:
        """Keys for `gymnasium.utils.play.play`: sorted key codes held together, to the action they mean."""
        kind = self.world.actions
        noop = kind.rest if kind.continuous else noop_action(self.world.action_meanings)
        return gymnasium_keys(self.world.card["actions"]["keys"], noop)

    def load_state(self, path: str | Path) -> WorldState:
        """A saved state of this world, e.g. `env.unwrapped.restore(env.unwrapped.load_state("here.state"))`.

        Raises:
            StateError: if the file holds none, is damaged, or is of another world or version.
        """
        return WorldState.load(path, self.world)

    def _begun(self, call: str) -> WorldState:
        """The present state.

        Raises:
            ResetNeeded: if there is none yet.
        """
        if self._steps.lost:
            raise ResetNeeded(f"{call}() came after steps under way were given up, as the process was forked or the "
                              f"environment closed: call reset()")
        if not self._engine.begun:
            raise ResetNeeded(f"{call}() came before reset(): call reset() first")
        return self._engine.state

    def _fitting(self, state: Any, counts: Sequence[int]) -> WorldState:
        """An independent copy of a state, with as many pictures as are shown at once.

        Args:
            state: a state, or the path of one.
            counts: how many rollouts it may have.

        Raises:
            StateError: if it is no state, of another world, number format or device, has another number of rollouts,
                or remembers too few pictures.
        """
        state, shown = as_state(state, self.world), self.observations.frame_stack
        self.world.check_state(state)
        if len(state) not in counts:
            expected = " or ".join(str(count) for count in sorted(set(counts)))
            raise StateError(f"expected a state of {expected} rollouts, got one of {len(state)}: "
                             "take the rows you mean, state.take([...])")  # fmt: skip
        kept = state.pictures.shape[1]
        if kept < shown:
            raise StateError(f"the state remembers {kept} pictures, this environment shows {shown} at once: make it "
                             f"with frame_stack={shown}, or repeat its oldest with state.keeping({shown})")  # fmt: skip
        return state.keeping(shown)

    def _draw(self, actions: Tensor) -> Drawn:
        """The next frame of every rollout. All frames of all environments are drawn here."""
        return self._engine.step(actions)

    def _look_ahead(self) -> None:
        """Begin to guess the next frames, where there will be any before a reset."""
        if not any(episode.over for episode in self._engine.state.episodes):
            self._engine.look_ahead()

    def _count(self, episode: Episode, terminated: bool) -> bool:
        """Count a step of an episode; returns whether the time limit truncates it."""
        episode.steps += 1
        truncated = self.max_episode_steps is not None and episode.steps >= self.max_episode_steps
        episode.over = terminated or truncated
        return truncated

    def _picture(self, row: int) -> NDArray[np.uint8]:
        """The last frame of a rollout as the world drew it, uint8 [H, W, 3], a copy."""
        return self._begun("render").pictures[row, -1].cpu().numpy().copy()

    def _twin(self, state: WorldState) -> Self:
        """Another environment like this one, at a state of its own and without a window."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _window=None, closed=False, metadata=dict(self.metadata))
        twin._equip(self._engine.config, self._queue_kind, self._engine.policy)
        if hasattr(self, "single_action_space"):
            twin.single_action_space = copy.deepcopy(self.single_action_space)  # type: ignore[attr-defined]
        twin.action_space, twin.observation_space = copy.deepcopy((self.action_space, self.observation_space))
        twin.render_mode = None if self.render_mode == "human" else self.render_mode
        twin._settle(state)
        return twin

    def _settle(self, state: WorldState) -> None:
        """Take a fork's state: nothing is drawn, and no memory is taken, before the first step."""
        raise NotImplementedError

    def restore(self, state: WorldState) -> None:
        """Go on from a state."""
        raise NotImplementedError


def checked_device(device: Any) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: if there is none, here.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f'device must be "cpu" or "cuda", got {device!r}') from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f'device={device!r} needs a GPU and a torch built for CUDA, and there is none here: use "cpu"')
    return found


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
