"""What each plan costs and spoils: `python -m benchmarks.plans`.

From held-out situations of real Pong the same actions go to the game and to the world, drawn by every plan: one action
at a time (live), or with the whole script known. Errors are those of `world_model.evaluate`; time is per frame of the
batch, decoding included.
"""

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from recorders import Command, MissingGame, command, game_from_card, make_game, processor, settings
from world_model import PlanConfig, PlanWarning, World, WorldError, WorldState, allocator, load_world
from world_model.intervals import mean
from world_model.objects import valid_picture
from world_model.pong_reader import PongReader
from world_model.scenarios import Scenario, collect_scenarios

HORIZONS = (1, 4, 8, 16)


@dataclass(kw_only=True)
class PlansConfig(Command):
    """Which world, from how many situations."""

    world: str = "envs/worlds/Pong-v0"
    """folder of a world of Pong"""
    starts: int = 50
    """held-out situations, drawn as one batch"""
    steps: int = 16
    """frames drawn from each"""
    seed: int = 2_000_000
    """first episode seed of the real game"""


ConfigStore.instance().store(name="plans", node=PlansConfig)

Draw = Callable[[WorldState, np.ndarray], list[np.ndarray]]
"""(state, actions [B, T]) -> T frames uint8 [B, H, W, 3]"""


def ways(world: World) -> dict[str, Draw]:
    """Every way to draw, by name."""
    steps = world.sampler.steps

    def live(stagger: int) -> Draw:
        def draw(state: WorldState, actions: np.ndarray) -> list[np.ndarray]:
            columns = torch.from_numpy(actions).unbind(1)
            return [world.step_tensors(state, column, stagger=stagger).frames.numpy() for column in columns]

        return draw

    def script(plan: PlanConfig) -> Draw:
        return lambda state, actions: [drawn.frames.numpy() for drawn in world.rollout(state, actions, plan)]

    staggers = range(steps - 1, 0, -1)
    return {
        "live autoregressive": live(steps),
        **{f"live ad, stagger {s} of {steps}": live(s) for s in staggers},
        **{f"script ad, stagger {s} of {steps}": script(PlanConfig(kind="ad", stagger=s)) for s in staggers},
        "script rolling": script(PlanConfig(kind="rolling")),
        "script keyframes": script(PlanConfig(kind="keyframes", segment=8)),
    }


def measure(world: World, draw: Draw, scenarios: list[Scenario]) -> tuple[np.ndarray, float]:
    """Frames uint8 [B, T, H, W, 3] and seconds per frame of the batch."""
    frames, past = np.stack([s.frames for s in scenarios]), np.stack([s.past_actions for s in scenarios])
    state = world.start_batch(frames, past, list(range(len(scenarios))))
    actions = np.stack([s.actions for s in scenarios])
    before = time.perf_counter()
    drawn = draw(state, actions)
    return np.stack(drawn, 1), (time.perf_counter() - before) / len(drawn)


def report(config: PlansConfig) -> None:
    """Print a line per plan."""
    allocator.keep_memory()
    warnings.simplefilter("ignore", PlanWarning)
    world = load_world(config.world)
    game = make_game(game_from_card(world.card["game"]))
    scenarios = collect_scenarios(game, world.card["game"]["id"], world.action_meanings, count=config.starts,
                                  context=world.model.config.window, horizon=config.steps, seed=config.seed)
    real, reader = np.stack([s.real_frames for s in scenarios]), PongReader()
    horizons = [h for h in HORIZONS if h <= config.steps]
    print(f"{processor()}, {torch.get_num_threads()} threads, {world.dtype}, {len(scenarios)} starts as one batch, "
          f"{world.sampler.steps} passes{' with the tokens of the first' if world.sampler.reuse else ''}")
    print(f"{'':28s} ms/frame  valid %  " + "".join(f"{'paddle px, ball %':>20s}" for _ in horizons))
    print(f"{'':46s} " + "".join(f"{f'after {h}':>20s}" for h in horizons))
    for name, draw in ways(world).items():
        frames, seconds = measure(world, draw, scenarios)
        errors = [reader.errors(reader.read(frames[:, h - 1]), reader.read(real[:, h - 1])) for h in horizons]
        shown = "".join(f"{mean(e['paddle_px']):>13.2f}, {100 * mean(e['ball_within_2']):>4.0f}%" for e in errors)
        valid = 100 * valid_picture(frames.reshape(-1, *frames.shape[2:])).mean()
        print(f"{name:28s} {1000 * seconds:8.0f} {valid:8.0f}  {shown}", flush=True)


@command("plans")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    try:
        report(cast(PlansConfig, settings(cfg)))
    except (MissingGame, WorldError, ValueError) as error:
        print(f"plans: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
