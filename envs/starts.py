"""Where an episode begins: a shipped clip, any clip the caller hands over, or a state of an earlier episode."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model import Actions, StateError, World, WorldState, condition_of

Clip = tuple[NDArray[np.uint8], NDArray[Any]]
"""frames [k, H, W, 3] and the actions [k-1] between them"""

OPTIONS = ("context", "frames", "actions", "state", "condition")


@dataclass(frozen=True)
class Start:
    """What `reset` was asked to begin at: a clip, the shipped clip of a number, a state; chance decides if nothing."""

    clip: Clip | None = None
    context: int | None = None
    state: WorldState | None = None
    condition: int | None = None
    """under which the rollout begins; None: that of the shipped clip, or the world's first"""

    def begin(self, world: World, rng: np.random.Generator, pictures: int) -> tuple[WorldState, dict[str, Any]]:
        """A rollout from the clip, and reset's info; which clip and what noise are drawn from `rng`."""
        clip, under = self.clip, self.condition
        info: dict[str, Any] = {}
        if clip is None:
            contexts = world.contexts
            free = range(len(contexts)) if under is None else np.flatnonzero(contexts.conditions == under)
            if not len(free):
                raise ValueError(f"no shipped clip is under {_named(world, under)}: begin at frames of your own")
            drawn = int(free[int(rng.integers(len(free)))])
            index = drawn if self.context is None else self.context
            clip, info = (contexts.frames[index], contexts.actions[index]), {"context": index}
            under = int(contexts.conditions[index])
        if world.conditions:
            info["condition"] = world.conditions[under or 0]
        return world.start(*clip, noise_seed(rng), pictures=pictures, condition=under), info


def check_going(state: WorldState) -> None:
    """Whether there are next frames.

    Raises:
        StateError: if an episode of the state is over.
    """
    if any(episode.over for episode in state.episodes):
        raise StateError("the state's episode is over: there is nothing to go on with; take a snapshot before its end")


def noise_seed(rng: np.random.Generator) -> int:
    """A seed for all noise of a rollout."""
    return int(rng.integers(2**63 - 1))


def checked_start(options: Mapping[str, Any] | None, world: World, condition: int | None = None) -> Start:
    """What `options` of `reset` ask for.

    Args:
        options: `context`, the number of a shipped clip; or `frames`, uint8 [k, H, W, 3] with k >= 1, oldest first, and
            `actions`, k-1 ids; or `state`, a `WorldState` or the path of a saved one; or nothing.
        world: what they are for.
        condition: number of the one to begin under if `options` name none.

    Raises:
        ValueError: for options that are unknown or contradict each other, or a clip that does not fit the world.
        StateError: if `state` is no state, or a file that holds none of this world.
    """
    options = options or {}
    check_options(options)
    if "condition" in options:
        condition = condition_of(world.conditions, options["condition"])
    if "state" in options:
        return Start(state=as_state(options["state"], world))
    if "frames" in options:
        return Start(clip=clip_of(options, world.observation_shape, world.actions), condition=condition)
    if "context" in options:
        index = context_index(options["context"], len(world.contexts))
        its = int(world.contexts.conditions[index])
        if "condition" in options and condition != its:
            raise ValueError(f"clip {index} is under {world.conditions[its]}, not {options['condition']!r}: name one "
                             "of the two, or call set_condition() after the reset")
        return Start(context=index, condition=its)
    if condition is not None and condition not in world.contexts.conditions:
        raise ValueError(f"no shipped clip is under {_named(world, condition)}: begin at frames of your own")
    return Start(condition=condition)


def _named(world: World, condition: int | None) -> str:
    return world.conditions[condition] if world.conditions and condition is not None else str(condition)


def as_state(value: Any, world: World) -> WorldState:
    """A state, read from its file if `value` is a path.

    Raises:
        StateError: if it is neither, or the file holds no state of this world.
    """
    if isinstance(value, str | Path):
        return WorldState.load(value, world)
    if not isinstance(value, WorldState):
        raise StateError(f"expected a WorldState or the path of a saved one, got {type(value).__name__}")
    return value


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that `reset` does not know, or that contradict each other.

    Raises:
        ValueError: for an unknown key, for two of context, frames and state, and for actions without frames.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"unknown reset options {unknown}: expected some of {list(OPTIONS)}")
    starts = [name for name in ("context", "frames", "state") if name in options]
    if len(starts) > 1:
        raise ValueError(f"reset options name both a {starts[0]} and {starts[1]}: give one of them")
    if "actions" in options and "frames" not in options:
        raise ValueError("reset options have actions but no frames: give the frames between which they were taken")
    if "condition" in options and "state" in options:
        raise ValueError("reset options name both a condition and a state, which has its own: call set_condition() "
                         "after the reset")


def clip_of(options: Mapping[str, Any], shape: tuple[int, int, int], kind: Actions) -> Clip:
    """The clip in `options`.

    Args:
        options: `frames`, uint8 [k, H, W, 3] with k >= 1, oldest first, and `actions`, k - 1 of them (none needed for
            k = 1).
        shape: (H, W, 3) of the world's frames.
        kind: what an action is.

    Raises:
        ValueError: saying what was expected and what came.
    """
    frames, actions = np.asarray(options["frames"]), np.asarray(options.get("actions", []))
    if frames.ndim != 4 or frames.shape[1:] != shape or len(frames) < 1 or frames.dtype != np.uint8:
        expected = f"uint8 [k, {shape[0]}, {shape[1]}, {shape[2]}] with k >= 1"
        raise ValueError(f"frames must be {expected}, got {frames.dtype} {list(frames.shape)}")
    if kind.continuous and not actions.size:
        actions = np.zeros((0, len(kind.low)), np.float32)
    if actions.shape != (len(frames) - 1, *kind.shape):
        raise ValueError(
            f"actions must be {[len(frames) - 1, *kind.shape]}, one between each two of the {len(frames)} frames, "
            f"got {list(actions.shape)}"
        )
    if kind.continuous:
        return frames, kind.checked(actions, len(actions))
    if actions.size and not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(f"actions must be integers, got {actions.dtype}")
    if actions.size and (actions.min() < 0 or actions.max() >= kind.count):
        raise ValueError(f"actions must lie in [0, {kind.count - 1}], got {actions.min()} to {actions.max()}")
    return frames, actions.astype(np.int64)


def context_index(value: Any, count: int) -> int:
    """`value` as the index of one of `count` shipped clips.

    Raises:
        ValueError: if it is not an integer in [0, count).
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < count:
        raise ValueError(f"context must be an integer in [0, {count - 1}], got {value!r} ({type(value).__name__})")
    return int(value)
