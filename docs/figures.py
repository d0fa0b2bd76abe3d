"""The figures of docs/how-it-works.md, drawn from the code they show: `python docs/figures.py [folder]`."""

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator
from PIL import Image

from envs import find_world
from kernels.frame_mask import frame_mask, teacher_mask
from world_model import load_world
from world_model.film_strip import strip
from world_model.levels import sample_fopp
from world_model.passes import Passes, with_noise
from world_model.plans import ad_plan
from world_model.sampler import flow_path, run_levels


def levels(path: Path) -> None:
    """Noise levels in training and in three plans of inference."""
    torch.manual_seed(0)
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.6), layout="constrained")
    shown: list[tuple[str, Any, str]] = [("training (FoPP): 8 clips", sample_fopp(8, 6, 5).numpy(), "clip")]
    for stagger, name in ((4, "one after the other, s = T"), (2, "staggered, s = T/2"), (0, "all at once, s = 0")):
        shown.append((name, ad_plan(6, 4, stagger).levels, "pass"))
    for axis, (title, values, down) in zip(axes, shown, strict=True):
        axis.imshow(values, cmap="Greys", vmin=0, vmax=4, aspect="auto")
        axis.set(title=title, xlabel="frame", ylabel=down)
        _plain(axis)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def masks(path: Path) -> None:
    """Which frame sees which, served and in training."""
    figure, axes = plt.subplots(1, 2, figsize=(6, 2.8), layout="constrained")
    for axis, title, mask in ((axes[0], "served: window 4, 1 sink", frame_mask(10, 4, sinks=1)[0]),
                              (axes[1], "training: a clean copy, a noisy one", teacher_mask(6, 4))):
        axis.imshow(mask.numpy(), cmap="Blues", vmin=0, vmax=1.5)
        axis.set(title=title, xlabel="seen", ylabel="sees")
        _plain(axis)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def passes(path: Path, steps: int = 4) -> None:
    """Frames of Pong-v0 as the sampler draws them: what was there, then noise pass by pass, then what is shown."""
    world = load_world(find_world("Pong-v0")).with_sampler(steps)
    rows = []
    for context in (0, 7):
        state = world.start(world.contexts.frames[context], world.contexts.actions[context], seed=context)
        for _ in range(3):
            world.step(state, 2)
        row = [state.pictures[0, -1].cpu().numpy()]
        network = Passes(world, state, torch.tensor([[2]]))
        x, path_of = with_noise(world, state, None, 1), flow_path(world.sampler)
        for level in range(steps, 0, -1):
            row.append(world.model.scaler.decode(x)[0, 0].numpy())
            x = run_levels(np.array([[level], [level - 1]]), path_of, x, network)
        row.append(world.step(state, 2)[0])
        rows.append(np.stack(row))
    picture = Image.fromarray(strip(rows))
    picture = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST)
    picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def _plain(axis: plt.Axes) -> None:
    axis.title.set_fontsize(9)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(integer=True))


def main(folder: str = "docs/media") -> None:
    """Write all of them."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    levels(out / "levels.png")
    masks(out / "masks.png")
    passes(out / "passes.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
