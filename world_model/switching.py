"""Rollouts that go on under another condition, and what becomes of their past then.

`keep` leaves it: what is remembered was seen under the old condition. `flush` forgets the keys and values of all but
the sinks and the last frame (Infinity-RoPE): the new condition shows at once. `recache` makes the keys and values of
the window anew under the new condition (LongLive): one pass, and nothing is forgotten. `cut` forgets everything: the
next frame is the first of a scene.
"""

from typing import TYPE_CHECKING

import torch

from .checks import condition_of
from .precision import own_settings
from .state import WorldState

if TYPE_CHECKING:
    from .rollout import World

SWITCHES = ("keep", "flush", "recache", "cut")


def checked_switch(switch: str) -> str:
    """`switch`, if it is one of `SWITCHES`.

    Raises:
        ValueError: if not.
    """
    if switch not in SWITCHES:
        raise ValueError(f"switch must be one of {list(SWITCHES)}, got {switch!r}")
    return switch


def set_condition(world: "World", state: WorldState, rows: list[int], condition: str | int,
                  switch: str = "keep") -> list[int]:
    """Draw the next frames of some rollouts under another condition. Their frames in flight are begun anew.

    Args:
        state: changes in place.
        rows: rollouts; those that are under that condition already stay as they are.
        condition: name or number.
        switch: one of `SWITCHES`, what becomes of the past.

    Returns:
        the rollouts that were changed.

    Raises:
        ValueError: if there is no such condition or switch.
        IndexError: if there is no such rollout.
        StateError: if the state is of another world.
    """
    number = condition_of(world.conditions, condition)
    checked_switch(switch)
    world.check_state(state)
    changed = [row for row in rows if state.conditions[row] != number]
    for row in changed:
        _change(world, state, row, number, switch)
    return changed


def cut(world: "World", state: WorldState, rows: list[int]) -> None:
    """Let the next frames of some rollouts be the first ones of a scene: all that was drawn is forgotten.

    The last pictures stay, as they were shown.

    Raises:
        IndexError: if there is no such rollout.
        StateError: if the state is of another world.
    """
    world.check_state(state)
    for row in rows:
        _change(world, state, row, state.conditions[row], "cut")


def _change(world: "World", state: WorldState, row: int, condition: int, switch: str) -> None:
    """One rollout."""
    one, stagger = state.take([row]), state.flight.stagger if state.flight else None
    one.conditions, one.flight = [condition], None
    if switch == "flush":
        one.cache.keep_last(1)
    elif switch == "recache":
        _recache(world, one)
    elif switch == "cut":
        one.cache.forget(world.codec, world.actions)
    world.take_off(one, stagger)
    state.put([row], one)


@own_settings
@torch.inference_mode()
def _recache(world: "World", state: WorldState) -> None:
    """Make keys and values of the window of one rollout anew, in one pass over its frames. Sinks stay as they are."""
    cache, config = state.cache, world.model.config
    frames = min(state.frames[0], config.window - 1)
    held = max((int(ring.count.clamp(max=ring.capacity).max()) - ring.sinks for ring in cache.rings), default=0)
    frames = min(frames, held)
    if frames <= 0:
        return
    under = torch.tensor(state.conditions, device=world.device).expand(cache.actions.shape[:2])
    under = torch.where(world.actions.condition(cache.actions) < 0, -1, under)  # there was no frame, and is none
    told = world.actions.told(world.actions.taken(cache.actions), under)
    cache.keep_last(0)
    end = cache.past.shape[1] - frames
    before, x = cache.past[:, end - config.history : end], cache.past[:, end:]
    led = told[:, told.shape[1] - config.action_memory - frames :]
    fresh: list[tuple[torch.Tensor, ...]] = []
    levels = torch.zeros(1, frames, dtype=torch.float32, device=world.device)
    world.model.think_cached(x.to(world.dtype), before.to(world.dtype), levels, led, cache.rings, fresh)
    for ring, kept in zip(cache.rings, fresh, strict=True):
        ring.append(*kept)
