"""Which cache policies hold long: `python -m benchmarks.longrun world=Pong-v0`, `... there=LEFT back=RIGHT`.

Each policy plays the world with the recorder's behaviours for some multiples of the frames it was trained on, and is
set beside a run of the real game: drift (VDE over ten chunks), likeness to the real game in its worst chunk, how much
moves (a frozen picture does not drift), bytes that a rollout remembers, milliseconds per step. With `there` and `back`
it also leaves and returns: an action some times, then its opposite as often; whether what is seen then is nearest to
what was seen before, among all starting clips.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from numpy.typing import NDArray
from omegaconf import DictConfig

from envs.catalogue import find_world
from recorders import Command, MissingGame, behaviour_for, command, game_from_card, make_game, processor, settings
from world_model import World, WorldError, WorldState, allocator, load_world
from world_model.drift import drift_figures
from world_model.free_run import in_game, in_world, log
from world_model.memory_policies import POLICIES, checked_policy
from world_model.metrics import psnr
from world_model.scenarios import Scenario


@dataclass(kw_only=True)
class LongrunConfig(Command):
    """Which world, which policies, how long."""

    world: str = "Pong-v0"
    """a shipped world, or the folder of a trained one"""
    condition: str = ""
    """in a world of several games, the one that is played"""
    policies: list[str] = field(default_factory=lambda: list(POLICIES))
    times: list[int] = field(default_factory=lambda: [10, 100])
    """lengths of runs, in windows that the world was trained with"""
    there: str = ""
    """name of the action by which a place is left; empty: nobody leaves"""
    back: str = ""
    """name of its opposite"""
    away: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0])
    """how long, in windows, a place is left for before the way back"""
    starts: int = 16
    """starting clips that are left and returned to"""
    passes: int | None = None
    """network calls per frame; the world's own number when not given"""
    seed: int = 0
    out: str = ""
    """folder for a picture of each run, ten frames evenly spread; empty: none"""

    def __post_init__(self) -> None:
        for policy in self.policies:
            checked_policy(policy)
        if bool(self.there) != bool(self.back):
            raise ValueError(f"there and back go together, got there={self.there!r} and back={self.back!r}")
        if min([*self.times, self.starts]) < 1 or not self.policies or not self.times:
            raise ValueError("times, starts and the number of policies must be at least 1")


class Timed:
    """A world that notes how long its steps take."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ms: list[float] = []
        self.nbytes = 0

    def start(self, *given: Any, **how: Any) -> WorldState:
        """`World.start`."""
        state = self.world.start(*given, **how)
        self.nbytes = sum(ring.nbytes for ring in state.cache.rings)
        return state

    def step(self, state: WorldState, action: Any) -> tuple[NDArray[np.uint8], float, bool]:
        """`World.step`."""
        before = time.perf_counter()
        drawn = self.world.step(state, action)
        self.ms.append(1000 * (time.perf_counter() - before))
        return drawn


def starts_of(world: World) -> list[Scenario]:
    """The world's own clips, under the condition that it is, as starts of free runs."""
    nothing: dict[str, Any] = {"actions": np.zeros(0), "real_frames": np.zeros(0), "rewards": np.zeros(0),
                               "terminated": np.zeros(0), "over": np.zeros(0), "snapshot": None}
    return [Scenario(frames=frames, past_actions=actions, **nothing)
            for i in clips_of(world) for frames, actions in [(world.contexts.frames[i], world.contexts.actions[i])]]


def clips_of(world: World) -> NDArray[np.int64]:
    """Numbers of the clips that are under the condition that the world is under."""
    return np.flatnonzero(world.contexts.conditions == world.condition)


def returned(world: World, config: LongrunConfig, steps: int) -> tuple[float, float, float]:
    """Leave for so many steps and return.

    Returns:
        share of the starts that are recognised again (nearest in PSNR among all of them), mean PSNR to the start after
        the way back, and where it is furthest away.
    """
    contexts, meanings, clips = world.contexts, world.action_meanings, clips_of(world)[: config.starts]
    count = len(clips)
    state = world.start_batch(contexts.frames[clips], contexts.actions[clips],
                              [config.seed + i for i in range(count)], conditions=contexts.conditions[clips])
    first, far = contexts.frames[clips, -1], None
    for name in (config.there, config.back):
        for _ in range(steps):
            seen = world.step_batch(state, np.full(count, meanings.index(name)))[0]
        far = seen if far is None else far
    assert far is not None
    alike = np.stack([psnr(np.broadcast_to(picture, first.shape), first) for picture in seen])
    known = float((alike.argmax(1) == np.arange(count)).mean())
    return known, float(psnr(seen, first).mean()), float(psnr(far, first).mean())


def long_runs(world: World, config: LongrunConfig) -> None:
    """Print a line for each policy and length."""
    card = world.game
    game = make_game(game_from_card(card))
    shape, window = game.observation_space.shape or (), world.model.config.window
    meanings = list(card.get("action_meanings") or world.action_meanings)
    player = behaviour_for(str(card["id"]), meanings, shape, game.action_space)
    moments = in_game(game, player, config.seed, 1_200_000 + config.seed)
    real = log(moments, max(config.times) * window, None, "real game")
    print(f"{'policy':14} {'steps':>6} {'alike':>6} {'VDE clarity':>12} {'VDE motion':>11} {'moves':>6} "
          f"{'KiB':>7} {'p50 ms':>7} {'p99 ms':>7}")
    for policy in config.policies:
        for steps in sorted(times * window for times in config.times):
            timed = Timed(world.with_memory(policy))
            moments = in_world(cast(World, timed), starts_of(world), player, config.seed)
            run = log(moments, steps, None, f"{policy}, {steps} steps")
            drift, p = drift_figures(run.look, real.look), np.percentile(timed.ms, [50, 99])
            moves = float(np.nanmean(run.look.motion) / np.nanmean(real.look.motion))
            print(f"{policy:14} {steps:6d} {drift['score']:6.2f} {drift['clarity']['vde']['late']:12.3f} "
                  f"{drift['motion']['vde']['late']:11.3f} {moves:6.2f} {timed.nbytes / 1024:7.0f} {p[0]:7.1f} "
                  f"{p[1]:7.1f}", flush=True)
            if config.out:
                save_row(config.out, f"{policy}-{steps}", run.shown)


def save_row(folder: str, name: str, frames: NDArray[np.uint8]) -> None:
    """Write pictures [n, H, W, 3] side by side as a PNG."""
    from PIL import Image

    os.makedirs(folder, exist_ok=True)
    Image.fromarray(np.concatenate(frames, 1)).save(os.path.join(folder, f"{name}.png"))


def revisits(world: World, config: LongrunConfig) -> None:
    """Print a line for each policy and time away."""
    window = world.model.config.window
    chance = 1 / min(config.starts, len(clips_of(world)))
    print(f"\nthere by {config.there}, back by {config.back}; known again by chance {chance:.2f}")
    print(f"{'policy':14} {'steps away':>10} {'known':>6} {'PSNR':>6} {'PSNR far':>9}")
    for policy in config.policies:
        for share in config.away:
            steps = max(round(share * window), 1)
            known, after, far = returned(world.with_memory(policy), config, steps)
            print(f"{policy:14} {steps:10d} {known:6.2f} {after:6.1f} {far:9.1f}", flush=True)


ConfigStore.instance().store(name="longrun", node=LongrunConfig)


@command("longrun")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    config = cast(LongrunConfig, settings(cfg))
    allocator.keep_memory()
    try:
        world = load_world(find_world(config.world)).with_sampler(config.passes)
        if config.condition or world.conditions:
            world = world.under(config.condition or world.conditions[0])
        if not len(clips_of(world)):
            raise ValueError(f"{config.world} has no starting clip under {config.condition}")
        missing = [name for name in (config.there, config.back) if name and name not in world.action_meanings]
        if missing:
            raise ValueError(f"{config.world} has no action {missing[0]!r}: it has {world.action_meanings}")
        sizes = world.model.config
        print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
              f"{str(world.dtype).removeprefix('torch.')}; {world.card['name']}: {sizes.height}x{sizes.width}, "
              f"{sizes.tokens} tokens, window {sizes.window}, {world.sampler.steps} passes, one rollout, "
              "decoding included")
        long_runs(world, config)
        if config.there:
            revisits(world, config)
    except (WorldError, MissingGame, ValueError) as error:
        print(f"longrun: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
