"""A world of the catching game against the game: figures that cannot be had by standing still or washing out."""

import numpy as np

from world_model import World
from world_model.event_scores import event_figures

from .catch_game import CatchGame, CatchObjects
from .catch_recording import CatchPlayer

FIGURES = {
    "paddle_16": "paddle off after 16 steps, px",
    "ball_8": "ball off after 8, px",
    "reward_f1": "reward F1, 32 steps, ±1",
    "valid": "valid pictures, %",
    "valid_late": "in the last third, %",
    "lives": "lives that went up, per 1,000",
    "moving": "motion, game = 1",
}
"""key to heading; all over held-out starts, the last four over 16 free runs"""
LOST = 10.0
"""pixels that count where a thing is missing"""


def judge(world: World, starts: int, free_steps: int, horizon: int = 32, seed: int = 10**6) -> dict[str, float]:
    """Figures named in `FIGURES`."""
    context = world.model.config.window
    pasts, past_actions, actions, frames, rewards = _situations(starts, context, horizon, seed)
    drawn, given = _roll(world, pasts, past_actions, actions)
    scores = event_figures(given, rewards, 1)["f1"]
    ours = CatchObjects.read(drawn.reshape(-1, *drawn.shape[2:]))
    theirs = CatchObjects.read(frames.reshape(-1, *frames.shape[2:]))
    paddle = _off(ours.paddle - theirs.paddle).reshape(starts, horizon)
    ball = _off(np.hypot(ours.ball_x - theirs.ball_x, ours.ball_y - theirs.ball_y)).reshape(starts, horizon)
    unserved = ~(rewards[:, :8] < 0).any(1)  # where a ball is served, nobody can know
    return {"paddle_16": float(paddle[:, 15].mean()), "ball_8": float(ball[unserved, 7].mean()),
            "reward_f1": float(scores["value"])} | _free(world, pasts[:16], past_actions[:16], free_steps, frames)


def _situations(starts: int, context: int, horizon: int, seed: int) -> tuple[np.ndarray, ...]:
    """Pasts, their actions, and what the game then did under further actions."""
    rng, game, player = np.random.default_rng(seed), CatchGame(), CatchPlayer()
    parts: list[tuple[np.ndarray, ...]] = []
    while len(parts) < starts:
        frames, actions, rewards = [game.reset(seed=seed + len(parts))[0]], [], []
        for _ in range(context + int(rng.integers(0, 60)) + horizon):
            actions.append(player.act(frames[-1], rng))
            frame, reward, ended, _, _ = game.step(actions[-1])
            frames.append(frame)
            rewards.append(reward)
            if ended:
                break
        if len(actions) >= context + horizon:
            now = len(actions) - horizon
            parts.append((np.stack(frames[now + 1 - context : now + 1]), np.array(actions[now + 1 - context : now]),
                          np.array(actions[now:]), np.stack(frames[now + 1 :]), np.array(rewards[now:])))
    return tuple(np.stack(part) for part in zip(*parts, strict=True))


def _roll(world: World, pasts: np.ndarray, past_actions: np.ndarray,
          actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    state = world.start_batch(pasts, past_actions, list(range(len(pasts))))
    steps = [world.step_batch(state, actions[:, t]) for t in range(actions.shape[1])]
    frames, rewards, ends = (np.stack(part, 1) for part in zip(*steps, strict=True))
    return frames, np.where(np.cumsum(ends, 1) - ends > 0, 0, rewards)  # after an end nothing is given


def _free(world: World, pasts: np.ndarray, past_actions: np.ndarray, steps: int, real: np.ndarray) -> dict[str, float]:
    """Free runs side by side, played on what is drawn; where a game ends it begins anew from its past."""
    rng, runs = np.random.default_rng(1), len(pasts)
    players, state = [CatchPlayer() for _ in range(runs)], world.start_batch(pasts, past_actions, list(range(runs)))
    seen, frames, going = pasts[:, -1], [], []
    for step in range(steps):
        actions = np.array([p.act(f, rng) for p, f in zip(players, seen, strict=True)])
        seen, _, ended = world.step_batch(state, actions)
        frames.append(seen.copy())
        going.append(~ended)
        again = np.flatnonzero(ended).tolist()
        if again:
            seeds = [runs * (1 + step) + row for row in again]
            state.put(again, world.start_batch(pasts[again], past_actions[again], seeds))
            seen = np.where(ended[:, None, None, None], pasts[:, -1], seen)
    found, on = CatchObjects.read(np.concatenate(frames)), np.stack(going)[:-1]  # step after step, side by side
    valid, lives = found.valid.reshape(steps, runs), found.lives.reshape(steps, runs)
    motion = np.abs(np.diff(np.stack(frames).astype(np.int16), axis=0)).mean((2, 3, 4))
    return {"valid": 100 * float(valid.mean()), "valid_late": 100 * float(valid[-steps // 3 :].mean()),
            "lives": 1000 * float((np.diff(lives, axis=0) > 0)[on].mean()),
            "moving": float(motion[on].mean() / np.abs(np.diff(real.astype(np.int16), axis=1)).mean())}


def _off(difference: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(difference), LOST, np.minimum(np.abs(difference), LOST))
