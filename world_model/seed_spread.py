"""How far rollouts of different noise part, against the real game's own (diversity) and the error (calibration).

In a calibrated world the seeds spread where it errs, and as far as it errs (Fortin et al. 2014, "Why should ensemble
spread match the RMSE of the ensemble mean?").
"""

from typing import Any

import gymnasium
import numpy as np
from tqdm import trange

from .intervals import figure, mean
from .metrics import HORIZONS
from .rollout import World
from .scenarios import Scenario, replay


def seed_spread(world: World, game: gymnasium.Env[Any, Any], scenarios: list[Scenario], seeds: int, horizon: int,
                progress: bool = True) -> dict[str, Any]:
    """Draw every scenario's actions with `seeds` noises for `horizon` steps.

    Returns:
        by horizon, diversity: spread in pixel values between seeds, in the world and in the real game begun anew with
        other random numbers (nan where it cannot be); calibration: see `calibration_figures`.
    """
    shown = [h for h in HORIZONS if h <= horizon]
    spread, error, real = (np.zeros((len(scenarios), len(shown))) for _ in range(3))
    moving = np.array([np.abs(s.frames[-1].astype(float) - s.frames[-2]).mean() for s in scenarios])
    for b in trange(len(scenarios), desc="seeds", unit="start", disable=not progress):
        scenario = scenarios[b]
        drawn = _draw(world, scenario, seeds, shown)
        spread[b], error[b] = spread_of(drawn), error_of(drawn, scenario.real_frames[[h - 1 for h in shown]])
        real[b] = spread_of(_again(game, scenario, seeds, shown)) if scenario.snapshot is not None else np.nan
    going = np.stack([~s.over[[h - 1 for h in shown]] for s in scenarios])
    spread, error, real = (np.where(going, x, np.nan) for x in (spread, error, real))
    return {
        "seeds": seeds, "starts": len(scenarios),
        "diversity": {str(h): {"world": figure(mean, ours), "real": figure(mean, theirs), "repeat_last": 0.0}
                      for h, ours, theirs in zip(shown, spread.T, real.T, strict=True)},
        "calibration": calibration_figures(spread, error, moving, shown, seeds),
    }  # fmt: skip


def calibration_figures(spread: np.ndarray, error: np.ndarray, moving: np.ndarray, horizons: list[int],
                        seeds: int) -> dict[str, Any]:
    """Spread [B, K] against the error [B, K] of the mean over seeds, at K horizons; nan where the game was over.

    Returns:
        by horizon, rank_correlation of both over starts; by_motion: the same for the naive guess that error follows
        the motion [B] just seen; ratio: spread, corrected for the number of seeds, over error: 1 where calibrated,
        below where the world is too sure. quintiles: error relative to its mean at the same horizon, by fifths of the
        spread at that horizon, the least first.
    """
    widen = np.sqrt((seeds + 1) / seeds)
    result: dict[str, Any] = {
        str(h): {
            "rank_correlation": figure(rank_correlation, spread[:, i], error[:, i]),
            "by_motion": figure(rank_correlation, moving, error[:, i]),
            "ratio": figure(lambda s, e: widen * _root(s) / _root(e), spread[:, i], error[:, i]),
        }
        for i, h in enumerate(horizons)
    }
    return result | {"quintiles": quintiles(spread, error)}


def quintiles(spread: np.ndarray, error: np.ndarray) -> list[float]:
    """Mean relative error by fifths of spread, both [B, K]; see `calibration_figures`."""
    parts: list[list[float]] = [[] for _ in range(5)]
    for ours, wrong in zip(spread.T, error.T, strict=True):
        there = np.flatnonzero(~np.isnan(ours) & ~np.isnan(wrong))
        if len(there) >= 5 and wrong[there].mean() > 0:
            fifths = np.array_split(there[np.argsort(ours[there], kind="stable")], 5)
            for part, chosen in zip(parts, fifths, strict=True):
                part.extend(wrong[chosen] / wrong[there].mean())
    return [float(np.mean(part)) if part else float("nan") for part in parts]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's, over the last axis; nan where one of them does not vary. Pairs with a nan are left out."""
    there = ~np.isnan(a) & ~np.isnan(b)
    a, b = (_centred(_ranks(np.where(there, x, np.inf)), there) for x in (a, b))
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.asarray(np.where(scale > 1e-9, (a * b).sum(-1) / np.where(scale > 1e-9, scale, 1), np.nan))


def spread_of(drawn: np.ndarray) -> np.ndarray:
    """Root mean square deviation of seeds from their mean, over pixels, in pixel values: [k, K, H, W, 3] -> [K]."""
    return np.asarray(np.sqrt(drawn.astype(np.float64).var(0, ddof=1).mean((1, 2, 3))))


def error_of(drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Root mean square error of the mean over seeds [k, K, H, W, 3] against [K, H, W, 3]: [K]."""
    return np.asarray(np.sqrt(((drawn.mean(0, dtype=np.float64) - real) ** 2).mean((1, 2, 3))))


def _draw(world: World, scenario: Scenario, seeds: int, shown: list[int]) -> np.ndarray:
    """Frames uint8 [seeds, K, H, W, 3] after the steps in `shown`."""
    many = [np.repeat(x[None], seeds, 0) for x in (scenario.frames, scenario.past_actions)]
    state = world.start_batch(many[0], many[1], [1000 + seed for seed in range(seeds)])
    frames = [world.step_batch(state, np.repeat(scenario.actions[t][None], seeds, 0))[0] for t in range(max(shown))]
    return np.stack([frames[h - 1] for h in shown], 1)


def _again(game: gymnasium.Env[Any, Any], scenario: Scenario, seeds: int, shown: list[int]) -> np.ndarray:
    """As `_draw`, of the real game: its saved state without the random numbers, which go on from replay to replay."""
    ale: Any = game.unwrapped
    ale.restore_state(scenario.snapshot)
    state = ale.clone_state(include_rng=False)
    films = [replay(game, state, scenario.actions[: max(shown)]) for _ in range(seeds)]
    return np.stack([film[[h - 1 for h in shown]] for film in films])


def _root(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(mean(values**2)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, ties sharing their mean."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return np.asarray(below + (equal - 1) / 2)


def _centred(ranks: np.ndarray, there: np.ndarray) -> np.ndarray:
    average = (ranks * there).sum(-1, keepdims=True) / np.maximum(there.sum(-1, keepdims=True), 1)
    return np.asarray(np.where(there, ranks - average, 0))
