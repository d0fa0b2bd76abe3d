"""Whether a world obeys: one action held from many situations, in the world and in the real game."""

from typing import Any

import gymnasium
import numpy as np

from .game_reader import GameReader
from .intervals import figure, mean
from .rollout import World
from .scenarios import Scenario, replay


def held_actions(world: World, game: gymnasium.Env[Any, Any], reader: GameReader, scenarios: list[Scenario],
                 steps: int = 8) -> dict[str, Any]:
    """Hold the reader's actions and compare where the player goes with the real game from the same saved states.

    A start counts as obeyed when what is steered goes the asked way by at least half of what the real one does; where
    the real one can hardly move (under 2 px, at a wall), when the world's moves under 3 px.

    Returns:
        per action: obeyed (share, with interval), of (starts), still (the share for a world in which nothing moves),
        world_px and real_px (mean movement in pixels, down and right positive).
    """
    result: dict[str, Any] = {}
    frames, past = np.stack([s.frames for s in scenarios]), np.stack([s.past_actions for s in scenarios])
    before = reader.place(reader.read(frames[:, -1]))
    for held in reader.held:
        real = np.stack([replay(game, s.snapshot, np.full(steps, held.action))[-1] for s in scenarios])
        state = world.start_batch(frames, past, list(range(len(scenarios))))
        for _ in range(steps):
            drawn, _, _ = world.step_batch(state, np.full(len(scenarios), held.action))
        ours, theirs = (reader.place(reader.read(x)) - before for x in (drawn, real))
        result[held.name] = {
            "obeyed": figure(mean, obeys(ours, theirs).astype(np.float64)), "of": len(scenarios),
            "still": float(obeys(np.zeros_like(theirs), theirs).mean()),
            "world_px": figure(mean, ours), "real_px": figure(mean, theirs),
        }  # fmt: skip
    return result


def obeys(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Whether movements [N] in pixels are those asked for; nan (nothing seen) in the world's is disobedience."""
    hardly = np.isnan(theirs) | (np.abs(theirs) < 2)
    asked = ours * np.sign(theirs) >= 0.5 * np.abs(theirs)
    return np.asarray(np.where(hardly, np.abs(ours) < 3, asked) & ~np.isnan(ours))
