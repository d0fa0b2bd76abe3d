"""Whether a world obeys: one action held from many situations, in the world and in the real game."""

from typing import Any

import gymnasium
import numpy as np

from .objects import PongObjects
from .rollout import World
from .scenarios import Scenario, replay


def held_actions(world: World, game: gymnasium.Env[Any, Any], scenarios: list[Scenario], steps: int = 8,
                 actions: tuple[tuple[str, int], ...] = (("up", 2), ("down", 3))) -> dict[str, Any]:
    """Hold Pong's up and down and compare where the own paddle goes with the real game from the same saved states.

    A start counts as obeyed when the world's paddle goes the asked way by at least half of what the real one does;
    where the real one can hardly move (under 2 px, at a wall), when the world's moves under 3 px.

    Returns:
        per action: obeyed, of, mean movement in the world and in the real game (pixels, down is positive).
    """
    result: dict[str, Any] = {}
    for name, action in actions:
        plan = np.full(steps, action)
        real = np.stack([replay(game, s.snapshot, plan)[-1] for s in scenarios])
        state = world.start_batch(np.stack([s.frames for s in scenarios]),
                                  np.stack([s.past_actions for s in scenarios]), list(range(len(scenarios))))
        for _ in range(steps):
            drawn, _, _ = world.step_batch(state, np.full(len(scenarios), action))
        before = PongObjects.read(np.stack([s.frames[-1] for s in scenarios])).own_y
        ours = PongObjects.read(drawn).own_y - before
        theirs = PongObjects.read(real).own_y - before
        result[name] = {
            "obeyed": int(sum(_obeys(a, b) for a, b in zip(ours, theirs, strict=True))), "of": len(scenarios),
            "world_px": float(np.nanmean(ours)), "real_px": float(np.nanmean(theirs)),
        }
    return result


def _obeys(ours: float, theirs: float) -> bool:
    if np.isnan(ours):
        return False
    if np.isnan(theirs) or abs(theirs) < 2:
        return abs(ours) < 3
    return ours * np.sign(theirs) >= 0.5 * abs(theirs)
