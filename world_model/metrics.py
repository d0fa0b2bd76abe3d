"""Figures that compare a world's frames and events with the real game's."""

from typing import Any

import numpy as np

from .objects import PongObjects, valid_picture

HORIZONS = (1, 4, 8, 16, 32, 64)


def psnr(frames: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB over each frame, uint8 [..., H, W, 3] -> [...]; 60 where equal."""
    error = (frames.astype(np.float32) - real.astype(np.float32)) ** 2
    mean = error.mean((-1, -2, -3))
    return np.minimum(10 * np.log10(255**2 / np.maximum(mean, 1e-9)), 60)


def event_scores(drawn: np.ndarray, real: np.ndarray, slack: int) -> dict[str, float]:
    """Precision, recall and F1 of rewards, an event matching one of the same sign at most `slack` steps away.

    Args:
        drawn, real: float [B, T] rewards.
        slack: steps.

    Returns:
        precision, recall, f1 (nan where there is no event) and both counts.
    """
    hits = sum(_near_event(real[b], t, drawn[b, t], slack) for b, t in np.argwhere(drawn != 0))
    found = sum(_near_event(drawn[b], t, real[b, t], slack) for b, t in np.argwhere(real != 0))
    count, total = int((drawn != 0).sum()), int((real != 0).sum())
    precision = hits / count if count else float("nan")
    recall = found / total if total else float("nan")
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "drawn": count, "real": total}


def object_errors(frames: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Pong's objects in frames uint8 [B, H, W, 3] against the real ones at the same step.

    Returns:
        paddle_px: mean error of the own paddle (20 where it is missing), paddle_within_1: share within 1 px,
        ball_px: median distance where both show a ball, ball_within_2: share of real balls met within 2 px,
        ball_recall and ball_false: share of frames with a ball among real frames with and without one.
    """
    ours, theirs = PongObjects.read(frames), PongObjects.read(real)
    paddle = np.abs(ours.own_y - theirs.own_y)[~np.isnan(theirs.own_y)]
    paddle = np.where(np.isnan(paddle), 20.0, paddle)
    distance = np.hypot(ours.ball_x - theirs.ball_x, ours.ball_y - theirs.ball_y)
    both = ours.ball & theirs.ball
    return {
        "paddle_px": float(paddle.mean()),
        "paddle_within_1": float((paddle <= 1).mean()),
        "ball_px": float(np.median(distance[both])) if both.any() else float("nan"),
        "ball_within_2": _share(distance <= 2, theirs.ball),
        "ball_recall": _share(ours.ball, theirs.ball),
        "ball_false": _share(ours.ball, ~theirs.ball),
    }


Rollouts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""B rollouts of T steps: frames uint8 [B, T, H, W, 3], rewards float32 [B, T], bool [B, T] true from the end on"""


def compare(drawn: Rollouts, real: Rollouts, pong: bool) -> dict[str, Any]:
    """All figures of drawn rollouts against the real ones: curves over the horizons and event scores."""
    (frames, rewards, ends), (real_frames, real_rewards, real_ends) = drawn, real
    horizons = [h for h in HORIZONS if h <= frames.shape[1]]
    curves: dict[str, Any] = {"horizon": horizons, "psnr": []}
    for h in horizons:
        going = ~real_ends[:, h - 1]
        curves["psnr"].append(float(psnr(frames[going, h - 1], real_frames[going, h - 1]).mean()))
        if pong:
            for name, value in object_errors(frames[going, h - 1], real_frames[going, h - 1]).items():
                curves.setdefault(name, []).append(value)
    near = min(16, frames.shape[1])
    ours, theirs = ends.any(1), real_ends.any(1)
    return {
        "curves": curves,
        f"reward_exact_{near}": event_scores(rewards[:, :near], real_rewards[:, :near], 0),
        f"reward_slack1_{near}": event_scores(rewards[:, :near], real_rewards[:, :near], 1),
        "reward_slack1_all": event_scores(rewards, real_rewards, 1),
        "termination": {"real": int(theirs.sum()), "drawn": int(ours.sum()), "both": int((ours & theirs).sum())},
    }


def in_play(rewards: np.ndarray, wait: int = 18) -> np.ndarray:
    """Steps [T] more than `wait` steps after a point: the real game serves 15 or 16 steps after one."""
    playing = np.ones(len(rewards), bool)
    for t in np.flatnonzero(rewards):
        playing[t : t + wait] = False
    return playing


def free_run_figures(frames: np.ndarray, rewards: np.ndarray, block: int = 1000) -> dict[str, Any]:
    """A long run of Pong: valid pictures and balls in play per block of steps. frames [T, H, W, 3], rewards [T]."""
    valid, ball, playing = valid_picture(frames), PongObjects.read(frames).ball, in_play(rewards)
    starts = range(0, len(frames), block)
    return {
        "steps": len(frames),
        "valid": [float(valid[s : s + block].mean()) for s in starts],
        "ball_in_play": [_share(ball[s : s + block], playing[s : s + block]) for s in starts],
        "points": [int((rewards[s : s + block] != 0).sum()) for s in starts],
    }


def _near_event(row: np.ndarray, t: int, value: float, slack: int) -> bool:
    return bool((row[max(t - slack, 0) : t + slack + 1] == value).any())


def _share(chosen: np.ndarray, among: np.ndarray) -> float:
    return float(chosen[among].mean()) if among.any() else float("nan")
