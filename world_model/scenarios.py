"""Held-out situations of the real game: what led there, and what the game then did under given actions."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from recorders import Behaviour, behaviour_for


@dataclass
class Scenario:
    """One situation and its real continuation."""

    frames: np.ndarray
    """uint8 [k, H, W, 3] up to the start"""
    past_actions: np.ndarray
    """int64 [k - 1], or float32 [k - 1, A]"""
    actions: np.ndarray
    """int64 [T], or float32 [T, A], taken from the start on"""
    real_frames: np.ndarray
    """uint8 [T, H, W, 3], frame t follows `actions[t]`"""
    rewards: np.ndarray
    """float32 [T]"""
    terminated: np.ndarray
    """bool [T], true from the game's end on"""
    over: np.ndarray
    """bool [T], true from an end on, a time limit's too; pictures after it are padding"""
    snapshot: Any
    """the game's saved state at the start; None where the game cannot save"""


def collect_scenarios(game: gymnasium.Env[Any, Any], env_id: str, meanings: list[str], *, count: int, context: int,
                      horizon: int, seed: int, progress: bool = True) -> list[Scenario]:
    """Play the game with the recorder's mixture of behaviours and keep situations spread over the episodes.

    Args:
        game: the real game with the world's frames.
        env_id: its id, which decides the behaviours.
        count: situations wanted.
        context: frames before the start, the start included.
        horizon: steps of real continuation.
        seed: first episode seed; take seeds that no training recording used.

    Raises:
        ValueError: if the game's episodes end before there are enough frames for a start.
    """
    rng = np.random.default_rng([seed, 77])
    player = behaviour_for(env_id, meanings, game.observation_space.shape or (), game.action_space)
    scenarios: list[Scenario] = []
    reach, failures = 120, 0
    bar = tqdm(total=count, desc="real game", disable=not progress, unit="start")
    while len(scenarios) < count:
        frames = [game.reset(seed=seed)[0]]
        seed += 1
        player.reset(rng)
        actions: list[Any] = []
        ended = False
        while not ended and len(scenarios) < count:
            gap = context + int(rng.integers(min(10, reach - 1), reach))
            if not _play_on(game, player, rng, frames, actions, gap):
                break
            failures = 0
            snapshot = save_game(game)
            scenario = _continue(game, player, rng, frames, actions, context, horizon, snapshot)
            ended = bool(scenario.over.any())
            scenarios.append(scenario)
            frames, actions = [scenario.real_frames[-1]], []
            bar.update()
        failures += 1
        if failures > 1:  # an episode without a start: perhaps all are short, so start sooner
            reach = max(reach // 2, 1)
        if failures > 40:
            raise ValueError(f"no episode of {env_id} reached {context} frames, which a start needs, in 40 episodes")
    bar.close()
    return scenarios


def _play_on(game: gymnasium.Env[Any, Any], player: Behaviour, rng: np.random.Generator, frames: list[np.ndarray],
             actions: list[Any], steps: int) -> bool:
    """Play some steps, appending to `frames` and `actions`. Returns False if the episode ended."""
    for _ in range(steps):
        actions.append(player.act(frames[-1], rng))
        frame, _, terminated, truncated, _ = game.step(actions[-1])
        frames.append(frame)
        if terminated or truncated:
            return False
    return True


def save_game(game: gymnasium.Env[Any, Any]) -> Any:
    """The game's complete state, random numbers included; None where it offers none (only ALE games do)."""
    clone = getattr(game.unwrapped, "clone_state", None)
    return clone(include_rng=True) if clone is not None else None


def replay(game: gymnasium.Env[Any, Any], snapshot: Any, actions: np.ndarray) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] of the real game from a saved state under `actions` [T]."""
    game.unwrapped.restore_state(snapshot)  # type: ignore[attr-defined]
    frames = []
    for action in actions:
        frame, _, terminated, truncated, _ = game.step(action if np.ndim(action) else int(action))
        frames.append(frame)
        if terminated or truncated:
            break
    frames += [frames[-1]] * (len(actions) - len(frames))
    return np.stack(frames)


def _continue(game: gymnasium.Env[Any, Any], player: Behaviour, rng: np.random.Generator, frames: list[np.ndarray],
              actions: list[Any], context: int, horizon: int, snapshot: Any) -> Scenario:
    real, taken, rewards, terminations, overs = [], [], [], [], []
    frame, ended, over = frames[-1], False, False
    for _ in range(horizon):
        action = player.act(frame, rng)
        reward = 0.0
        if not over:
            frame, gain, ended, truncated, _ = game.step(action)
            reward, over = float(gain), ended or truncated
        real.append(frame)
        taken.append(action)
        rewards.append(reward)
        terminations.append(ended)
        overs.append(over)
    past, shape = actions[len(actions) - context + 1:], np.shape(taken[0])
    dtype = np.float32 if shape else np.int64
    return Scenario(
        frames=np.stack(frames[-context:]), past_actions=np.array(past, dtype).reshape(-1, *shape),
        actions=np.array(taken, dtype), real_frames=np.stack(real),
        rewards=np.array(rewards, dtype=np.float32), terminated=np.array(terminations), over=np.array(overs),
        snapshot=snapshot)
