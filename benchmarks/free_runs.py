"""How a world holds when left alone: `python -m benchmarks.free_runs world=envs/worlds/Pong-v0 passes=4 shift=2`.

Rollouts side by side from the world's own starting clips, played by the scripted player on the frames it is shown.
Prints valid pictures and balls in play by quarters, and how many rewards of each sign were given.
"""

import sys
import time
from dataclasses import dataclass
from typing import cast

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from tqdm import trange

from recorders import Command, PongPlayer, command, settings
from world_model import World, WorldError, allocator, load_world
from world_model.objects import PongObjects, valid_picture
from world_model.pong_reader import in_play


@dataclass(kw_only=True)
class FreeRunsConfig(Command):
    """Which world, drawn how, for how long."""

    world: str = "envs/worlds/Pong-v0"
    """folder of a world of Pong"""
    runs: int = 10
    """rollouts, at most as many as the world has starting clips"""
    steps: int = 200
    """per rollout"""
    passes: int | None = None
    """network calls per frame; the world's own number when not given"""
    shift: float | None = None
    """timestep shift of the sampler; the world's own when not given"""
    reuse: bool | None = None
    """whether later passes keep the tokens of the first; as the world has it when not given"""
    seed: int = 0
    """of the player"""


ConfigStore.instance().store(name="free_runs", node=FreeRunsConfig)


def roll(world: World, runs: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames [B, T, H, W, 3] and rewards [B, T] of rollouts side by side."""
    starts, rng = world.contexts, np.random.default_rng(seed)
    state = world.start_batch(starts.frames[:runs], starts.actions[:runs], list(range(runs)))
    seen, players = starts.frames[:runs, -1], [PongPlayer() for _ in range(runs)]
    for player in players:
        player.reset(rng)
    frames, rewards = [], []
    for _ in trange(steps, desc="free runs", unit="step"):
        actions = np.array([player.act(frame, rng) for player, frame in zip(players, seen, strict=True)])
        seen, reward, _ = world.step_batch(state, actions)
        frames.append(seen)
        rewards.append(reward)
    return np.stack(frames, 1), np.stack(rewards, 1)


@command("free_runs")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    config = cast(FreeRunsConfig, settings(cfg))
    allocator.keep_memory()
    try:
        world = load_world(config.world)
    except WorldError as error:
        sys.exit(f"free_runs: {error}")
    runs = min(config.runs, len(world.contexts.frames))
    world = world.with_sampler(config.passes, config.shift, config.reuse)
    begun = time.perf_counter()
    frames, rewards = roll(world, runs, config.steps, config.seed)
    flat = frames.reshape(-1, *frames.shape[2:])
    valid, ball = (x.reshape(rewards.shape) for x in (valid_picture(flat), PongObjects.read(flat).ball))
    playing = np.stack([in_play(row) for row in rewards])
    playing[:, :18] = False  # the point before the start is not known
    quarters = np.array_split(np.arange(config.steps), 4)
    print(f"{config.world}, {world.sampler}, {runs} x {config.steps} steps, {time.perf_counter() - begun:.0f} s")
    print("valid pictures", [round(float(valid[:, q].mean()), 3) for q in quarters])
    print("ball in play", [round(float(ball[:, q][playing[:, q]].mean()), 3) for q in quarters])
    print(f"rewards -{(rewards < 0).sum()} +{(rewards > 0).sum()}")


if __name__ == "__main__":
    main()
