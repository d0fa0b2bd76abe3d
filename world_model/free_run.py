"""A long run by the recorder's behaviours, in the world and in the real game; pictures are read as they come."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from recorders import Behaviour

from .drift import Look, drift_figures
from .game_reader import GameReader, Readings
from .intervals import figure, mean
from .rollout import World
from .scenarios import Scenario

BLOCK = 100
"""steps that the bootstrap draws together: neighbours are alike"""

Moment = tuple[np.ndarray, float, bool]
"""frame uint8 [H, W, 3], the reward that came with it, whether it is a game's first"""


@dataclass
class Run:
    """What a run of T steps was like."""

    look: Look
    kept: dict[str, np.ndarray]
    """what the game's reader follows, float [T] by name"""
    rewards: np.ndarray
    """float [T]"""
    begins: np.ndarray
    """bool [T], whether a picture is the first of its game"""
    shown: np.ndarray
    """uint8 [n, H, W, 3], a few pictures, evenly spread"""


def in_world(world: World, starts: list[Scenario], player: Behaviour, seed: int) -> Iterator[Moment]:
    """Play the world without end; where a game ends, the next start follows."""
    rng, games = np.random.default_rng(seed), 0
    while True:
        start, games = starts[games % len(starts)], games + 1
        state, frame = world.start(start.frames, start.past_actions, seed=seed + games), start.frames[-1]
        player.reset(rng)
        ended, begins = False, True
        while not ended:
            frame, reward, ended = world.step(state, player.act(frame, rng))
            yield frame, reward, begins
            begins = False


def in_game(game: gymnasium.Env[Any, Any], player: Behaviour, seed: int, episode: int) -> Iterator[Moment]:
    """Play the real game without end, its episodes seeded from `episode` on, the player as in `in_world`."""
    rng = np.random.default_rng(seed)
    while True:
        frame, _ = game.reset(seed=episode)
        episode += 1
        player.reset(rng)
        ended, begins = False, True
        while not ended:
            frame, reward, terminated, truncated, _ = game.step(player.act(frame, rng))
            yield frame, float(reward), begins
            ended, begins = terminated or truncated, False


def log(moments: Iterator[Moment], steps: int, reader: GameReader | None, desc: str = "free run", shown: int = 10,
        progress: bool = True) -> Run:
    """Read `steps` moments, a few hundred pictures at a time."""
    looks, readings, pictures = [], [], []
    rewards: list[float] = []
    begins: list[bool] = []
    marks = set(np.linspace(0, steps - 1, min(shown, steps)).astype(int).tolist())
    before, bar = None, tqdm(total=steps, desc=desc, unit="step", disable=not progress)
    while len(rewards) < steps:
        block = []
        for moment in islice(moments, min(250, steps - len(rewards))):
            block.append(moment)
            bar.update()
        frames = np.stack([frame for frame, _, _ in block])
        pictures += [frames[t - len(rewards)] for t in range(len(rewards), len(rewards) + len(block)) if t in marks]
        looks.append(Look.of(frames, before))
        if reader is not None:
            readings.append(reader.read(frames))
        before = frames[-1]
        rewards += [reward for _, reward, _ in block]
        begins += [first for _, _, first in block]
    bar.close()
    return _run(Look.joined(looks), readings, np.array(rewards), np.array(begins), np.stack(pictures), reader)


def _run(look: Look, readings: list[Readings], rewards: np.ndarray, begins: np.ndarray, shown: np.ndarray,
         reader: GameReader | None) -> Run:
    look.motion[begins] = np.nan
    kept: dict[str, np.ndarray] = {}
    if reader is not None:
        whole = {name: np.concatenate([part[name] for part in readings]) for name in readings[0]}
        kept = reader.follow(whole, rewards, begins)
    return Run(look, kept, rewards, begins, shown)


def frozen(run: Run) -> Look:
    """The look of a run that stays at its first picture: the baseline that has no drift."""
    exposure, clarity, palette = (np.repeat(values[:1], len(run.rewards), 0)
                                  for values in (run.look.exposure, run.look.clarity, run.look.palette))
    return Look(exposure, clarity, np.zeros(len(run.rewards)), palette)


def run_figures(run: Run, real: Run) -> dict[str, Any]:
    """Figures of a run, with intervals over blocks of 100 steps, of 50 in `last`.

    Returns:
        steps, games; drift, see `drift_figures`; motion_ratio: motion over the real game's; rewarded: steps with a
        reward per thousand; for what the reader follows, mean over all steps, `by_tenth`, and `last`: over the last
        thousand steps.
    """
    rewarded = (run.rewards != 0).astype(np.float64)
    return {
        "steps": len(run.rewards), "games": int(run.begins.sum()),
        "drift": drift_figures(run.look, real.look),
        "motion_ratio": figure(lambda x: mean(x) / mean(real.look.motion), blocks(run.look.motion)),
        "rewarded": figure(lambda x: 1000 * mean(x), blocks(rewarded)) | {"by_tenth": tenths(rewarded, 1000)},
        **{name: _followed(values) for name, values in run.kept.items()},
    }


def _followed(values: np.ndarray) -> dict[str, Any]:
    last = figure(mean, blocks(values[-1000:], BLOCK // 2))
    return figure(mean, blocks(values)) | {"by_tenth": tenths(values), "last": last}


def blocks(values: np.ndarray, size: int = BLOCK) -> np.ndarray:
    """Means over blocks of [T], nan left out; a shorter rest belongs to the last one."""
    return np.array([float(mean(part)) for part in np.array_split(values, max(len(values) // size, 1))])


def tenths(values: np.ndarray, scale: float = 1.0) -> list[float]:
    """Means over ten equal parts of [T]."""
    return [scale * float(mean(part)) for part in np.array_split(values, min(10, len(values)))]
