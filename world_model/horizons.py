"""Rollouts of a world against what the real game did under the same actions, by the number of steps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from .event_scores import ends, event_figures, return_error
from .game_reader import GameReader, Measure
from .intervals import figure, mean, median, share
from .metrics import HORIZONS, luminance, motion, psnr, ssim
from .rollout import World
from .scenarios import Scenario

PICTURE_MEASURES = {"psnr": Measure("PSNR, dB"), "ssim": Measure("SSIM")}


@dataclass
class Rollouts:
    """B rollouts of T steps."""

    frames: np.ndarray
    """uint8 [B, T, H, W, 3]"""
    rewards: np.ndarray
    """float [B, T]"""
    ended: np.ndarray
    """bool [B, T], true from the game's end on"""


def roll_out(world: World, scenarios: list[Scenario], actions: np.ndarray, batch: int, desc: str = "world",
             progress: bool = True) -> Rollouts:
    """Draw from each situation the frames that actions [B, T] lead to, `batch` situations at a time."""
    parts = []
    bar = tqdm(total=len(scenarios) * actions.shape[1], desc=desc, disable=not progress, unit="step")
    for begin in range(0, len(scenarios), batch):
        chosen = scenarios[begin : begin + batch]
        state = world.start_batch(np.stack([s.frames for s in chosen]), np.stack([s.past_actions for s in chosen]),
                                  list(range(begin, begin + len(chosen))))
        steps = []
        for t in range(actions.shape[1]):
            steps.append(world.step_batch(state, actions[begin : begin + len(chosen), t]))
            bar.update(len(chosen))
        parts.append([np.stack(x, 1) for x in zip(*steps, strict=True)])
    bar.close()
    frames, rewards, ended = (np.concatenate(x) for x in zip(*parts, strict=True))
    return Rollouts(frames, rewards, np.maximum.accumulate(ended, axis=1))


def real_rollouts(scenarios: list[Scenario]) -> Rollouts:
    """What the real game did."""
    return Rollouts(np.stack([s.real_frames for s in scenarios]), np.stack([s.rewards for s in scenarios]),
                    np.stack([s.terminated for s in scenarios]))


def still_rollouts(scenarios: list[Scenario]) -> Rollouts:
    """The last frame of each start repeated; nothing happens."""
    real, last = real_rollouts(scenarios), np.stack([s.frames[-1] for s in scenarios])
    return Rollouts(np.repeat(last[:, None], real.rewards.shape[1], 1), np.zeros_like(real.rewards),
                    np.zeros_like(real.ended))


@dataclass
class Errors:
    """Errors of single starts: float [B, K] by name, at K horizons; nan where the game was over or none can be made."""

    horizons: list[int]
    values: dict[str, np.ndarray]


def errors_of(drawn: Rollouts, real: Rollouts, over: np.ndarray, reader: GameReader | None) -> Errors:
    """Compare pictures at every horizon.

    Args:
        drawn, real: of the same starts.
        over: bool [B, T], whether the real game was.
        reader: of the game, if it has one.
    """
    horizons = [h for h in HORIZONS if h <= drawn.frames.shape[1]]
    columns: list[dict[str, np.ndarray]] = []
    for h in horizons:
        ours, theirs = drawn.frames[:, h - 1], real.frames[:, h - 1]
        found = {"psnr": psnr(ours, theirs).astype(np.float64), "ssim": ssim(ours, theirs)}
        if reader is not None:
            found |= reader.errors(reader.read(ours), reader.read(theirs))
        columns.append({name: np.where(over[:, h - 1], np.nan, values) for name, values in found.items()})
    return Errors(horizons, {name: np.stack([column[name] for column in columns], 1) for name in columns[0]})


def measures_of(reader: GameReader | None) -> dict[str, Measure]:
    """How each error becomes a figure."""
    return {**PICTURE_MEASURES, **(reader.measures if reader is not None else {})}


def curves(errors: Errors, reader: GameReader | None) -> dict[str, Any]:
    """Figures by name and horizon, with intervals over starts."""
    measures = measures_of(reader)
    return {name: {str(h): figure(median if measures[name].median else mean, values[:, i])
                   for i, h in enumerate(errors.horizons)} for name, values in errors.values.items()}


def action_gap(errors: Errors, otherwise: Errors) -> dict[str, Any]:
    """How much better pictures are under the true actions than under another start's, mean over starts."""
    return {name: {str(h): figure(mean, errors.values[name][:, i] - otherwise.values[name][:, i])
                   for i, h in enumerate(errors.horizons)} for name in PICTURE_MEASURES}


def look_figures(drawn: Rollouts, real: Rollouts, over: np.ndarray) -> dict[str, Any]:
    """Motion of a row relative to the real game's from the same starts, and how far off its luminance is.

    Returns:
        motion_ratio: sums of the differences between pictures in a row, over the real ones'; 0 for a picture at rest,
        above 1 where something flickers. exposure_error: mean difference in luminance, of 255, without sign.
    """
    light = [luminance(x.frames).mean((2, 3)) for x in (drawn, real)]
    off = np.where(over, np.nan, np.abs(light[0] - light[1]))
    moved = [np.where(over[:, 1:], 0, motion(x.frames)).sum(1) for x in (drawn, real)]
    return {"motion_ratio": figure(share, *moved), "exposure_error": figure(mean, mean(off))}


def outcome_figures(drawn: Rollouts, real: Rollouts, over: np.ndarray) -> dict[str, Any]:
    """Rewards and ends: precision, recall and F1 over the first 16 steps and over all, exactly and to one step.

    Rewards that a row gives after its own end, which nobody would see, and later than a step after the real game was
    over, bool [B, T], do not count; nor do ends that come after a time limit.
    """
    near = min(16, drawn.rewards.shape[1])
    ours = np.where(_before(drawn.ended, 1) & _before(over, 2), drawn.rewards, 0)
    ended = drawn.ended & (_before(over, 2) | real.ended)
    return {
        f"reward_exact_{near}": event_figures(ours[:, :near], real.rewards[:, :near], 0),
        f"reward_slack1_{near}": event_figures(ours[:, :near], real.rewards[:, :near], 1),
        "reward_slack1_all": event_figures(ours, real.rewards, 1),
        "termination_slack1_all": event_figures(ends(ended), ends(real.ended), 1),
        f"return_error_{near}": return_error(ours[:, :near], real.rewards[:, :near]),
        "return_error_all": return_error(ours, real.rewards),
    }


def _before(over: np.ndarray, steps: int) -> np.ndarray:
    """Whether nothing was over so many steps before, bool [B, T]."""
    return ~np.pad(over, ((0, 0), (steps, 0)))[:, : over.shape[1]]
