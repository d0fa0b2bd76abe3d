"""A picture of a world beside the real game: the same starts, the same actions."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recorders import Episode

from .checkpoint import load_world
from .clips import ClipSource


def save_strip(world_folder: Path, path: Path, source: ClipSource, episodes: list[Episode], starts: int = 6,
               horizon: int = 32, shown: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32)) -> None:
    """Write a PNG with two rows per start, the real game above the world, at the given horizons.

    Args:
        episodes: where starts are taken from, evenly spread.
    """
    world = load_world(world_folder)
    window = world.model.config.window
    rng = np.random.default_rng(1)
    usable = [e for e in episodes if e.stop - e.start > window + horizon + 1]
    rows = []
    for i in range(starts if usable else 0):
        episode = usable[i % len(usable)]
        first = int(rng.integers(episode.start, episode.stop - window - horizon))
        last = first + window - 1
        told = torch.from_numpy(source.actions[first : last + horizon + 1])
        actions, under = source.kind.taken(told).numpy(), int(source.kind.condition(told)[0])
        state = world.start(np.array(source.frames[first : last + 1]), actions[1:window], seed=i, condition=under)
        drawn = [world.step(state, actions[window - 1 + h])[0] for h in range(1, horizon + 1)]
        rows += [np.concatenate([source.frames[last + h] for h in shown], 1),
                 np.concatenate([drawn[h - 1] for h in shown], 1)]
    if rows:
        picture = np.concatenate(rows, 0)
        image = Image.fromarray(picture)
        image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(path)
