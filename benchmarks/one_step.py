"""How often one frame is drawn wrong from a real past: `python -m benchmarks.one_step data=data/pong-heldout`.

Frames of a recording of Pong that the world was not trained on, sorted by what happens in them. Each is drawn once from
the window of real frames before it, as the world is served. Free runs go wrong where single frames do, but only this
tells which.
"""

import sys
import time
from dataclasses import dataclass
from typing import cast

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from tqdm import tqdm

from recorders import Command, Recording, RecordingError, command, open_recording, settings
from world_model import World, WorldError, allocator, load_world
from world_model.objects import PongObjects, valid_picture

TURN = 0.6
"""change of speed, in pixels per step, that counts as a bounce"""

COLUMNS = ("invalid", "ball >1px", "opp. >1px", "own >1px")


@dataclass(kw_only=True)
class OneStepConfig(Command):
    """Which world, drawn how, on which recording."""

    data: str = MISSING
    """a recording of Pong that the world was not trained on"""
    world: str = "envs/worlds/Pong-v0"
    """folder of a world of Pong"""
    frames: int = 200
    """of every kind, as far as the recording has them"""
    passes: int | None = None
    """denoising passes; the world's own number when not given"""
    shift: float | None = None
    """timestep shift of the sampler; the world's own when not given"""
    reuse: bool | None = None
    """whether later passes keep the tokens of the first; as the world has it when not given"""
    batch: int = 50

    def __post_init__(self) -> None:
        for name in ("frames", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


ConfigStore.instance().store(name="one_step", node=OneStepConfig)


def kinds_of(recording: Recording, objects: PongObjects, window: int) -> np.ndarray:
    """What happens in every frame, str [N]; "" for the first `window` frames of an episode."""
    ball, x, y = objects.ball, objects.ball_x, objects.ball_y
    kinds = np.full(len(ball), "no ball", dtype="U16")
    kinds[2:][(ball[2:] & ball[1:-1])] = "second frame"
    turn_x, turn_y = (np.abs(np.diff(place, 2)) for place in (x, y))  # nan where a ball was missing
    kinds[2:][turn_x <= TURN] = "flight"
    kinds[2:][turn_y > TURN] = "off a wall"
    kinds[2:][turn_x > TURN] = "off a paddle"
    kinds[1:][ball[1:] & ~ball[:-1]] = "appears"
    kinds[1:][~ball[1:] & ball[:-1]] = "leaves"
    inside = np.zeros(len(ball), bool)
    for episode in recording.episodes:
        inside[episode.start + window : episode.stop] = True
    return np.where(inside, kinds, "")


def draw(world: World, frames: np.ndarray, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The frames at `rows` [B] of a recording, each drawn from the window before it: uint8 [B, H, W, 3]."""
    past = rows[:, None] + np.arange(-world.model.config.window, 0)
    state = world.start_batch(frames[past], actions[past[:, :-1]], rows.tolist())
    return world.step_batch(state, actions[past[:, -1]])[0]


def mistakes(drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Shares of frames [N, H, W, 3]: invalid, with a wrong ball, a wrong opponent, a wrong own paddle. float [4]."""
    got, wanted = PongObjects.read(drawn), PongObjects.read(real)
    ball = np.hypot(got.ball_x - wanted.ball_x, got.ball_y - wanted.ball_y)
    wrong = (got.ball != wanted.ball) | (ball > 1)
    opponent, own = (np.abs(a - b) > 1 for a, b in ((got.opponent_y, wanted.opponent_y), (got.own_y, wanted.own_y)))
    return np.array([wrongs.mean() for wrongs in (~valid_picture(drawn), wrong, opponent, own)])


def line(name: str, share: float, wrong: np.ndarray) -> str:
    """One row of the table, in percent."""
    return f"{name:24s} {100 * share:6.1f}" + "".join(f" {100 * part:9.1f}" for part in wrong)


@command("one_step")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    allocator.keep_memory()
    try:
        config = cast(OneStepConfig, settings(cfg))
        world, recording = load_world(config.world), open_recording(config.data)
    except (WorldError, RecordingError, ValueError) as error:
        sys.exit(f"one_step: {error}")
    world = world.with_sampler(config.passes, config.shift, config.reuse)
    begun, frames = time.perf_counter(), recording.load_frames()
    kinds = kinds_of(recording, PongObjects.read(frames), world.model.config.window)
    rng, drawn, rows = np.random.default_rng(0), {}, {}
    for kind in sorted(set(kinds) - {""}):
        found = np.flatnonzero(kinds == kind)
        rows[kind] = rng.permutation(found)[: config.frames]
        parts = np.array_split(rows[kind], -(-len(rows[kind]) // config.batch))
        drawn[kind] = np.concatenate([draw(world, frames, recording.actions, part)
                                      for part in tqdm(parts, desc=kind, unit="batch")])
    count = sum(map(len, rows.values()))
    print(f"{config.world}, {world.sampler}, {count} frames, {time.perf_counter() - begun:.0f} s")
    print(f"{'percent of frames':24s} {'share':>6s}" + "".join(f" {name:>9s}" for name in COLUMNS))
    total = np.zeros(len(COLUMNS))
    for kind, pictures in drawn.items():
        share, wrong = (kinds == kind).sum() / (kinds != "").sum(), mistakes(pictures, frames[rows[kind]])
        total += share * wrong
        print(line(kind, share, wrong))
    print(line("all, weighted by share", 1.0, total))


if __name__ == "__main__":
    main()
