"""Give rewards as often as the real game does.

    python -m world_model.calibrate world=runs/pong/world data=data/pong out=runs/pong-c

In training what is rare is shown often (`trainer.event_share`, `.hard_share`), so a world expects too much of it.
Rollouts from recorded situations under the recorded actions tell how often it gives something; the bias of "nothing"
is then moved until that is as often as in the recording. Pictures and ends stay what they are, bit for bit.

Correcting a classifier for priors other than those it learned from: Saerens, Latinne and Decaestecker 2002, "Adjusting
the outputs of a classifier to new a priori probabilities".
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn

from recorders import Command, Episode, Recording, RecordingError, command, open_recording, settings

from . import allocator
from .checkpoint import load_world, save_world
from .horizons import roll_out
from .model import WorldModel
from .rollout import World
from .scenarios import Scenario
from .world_error import WorldError


@dataclass(kw_only=True)
class CalibrateConfig(Command):
    """Which world, on which recording."""

    world: str = MISSING
    """folder of the world"""
    data: str = MISSING
    """folder of a recording of the same game"""
    out: str = MISSING
    """folder of the new world"""
    starts: int = 200
    """recorded situations; episodes that the world held out are left alone"""
    horizon: int = 64
    """steps from each"""
    batch: int = 50
    """situations drawn together"""
    seed: int = 0
    device: str = "cpu"


def calibrate(config: CalibrateConfig) -> float:
    """Write the world anew with another bias.

    Returns:
        what was added to the logit of "no reward".

    Raises:
        WorldError: if the world cannot be read.
        RecordingError: if the recording cannot be read.
        ValueError: if the recording has too few steps or no rewards, or is not of the world's pictures and actions.
    """
    allocator.keep_memory()
    world = load_world(config.world, config.device)
    recording, nothing = open_recording(config.data), _nothing(world)
    held = set(world.card.get("data", {}).get("heldout", []))
    starts = situations(recording, [e for e in recording.episodes if e.id not in held], world, config)
    margins = margins_of(world, starts, nothing, config.batch)
    real = int(np.count_nonzero([s.rewards for s in starts]))
    if not real:
        raise ValueError(f"{config.data}: no rewards in {margins.size} recorded steps; pass more starts=")
    shift = shift_for(margins, real)
    model = WorldModel(world.model.config)  # the loaded one is shared
    model.load_state_dict(world.model.state_dict())
    with torch.no_grad():
        model.outcome.reward.bias[nothing] += shift
    card = {name: value for name, value in world.card.items() if name != "metrics"}
    note = {"from": world.hash, "shift": shift, "steps": margins.size, "rewards": real,
            "drawn": int((margins > 0).sum()), "seed": config.seed}
    save_world(config.out, model, world.sampler, card | {"calibrated": note}, world.contexts,
               config.world if model.config.latents else "")
    return shift


def shift_for(margins: np.ndarray, wanted: int) -> float:
    """What "nothing" has to gain so that `wanted` of the margins by which something wins are still above it."""
    ordered = np.sort(margins, axis=None)[::-1].astype(np.float64)
    wanted = min(wanted, len(ordered) - 1)
    return float((ordered[wanted - 1] + ordered[wanted]) / 2)


def situations(recording: Recording, episodes: list[Episode], world: World, config: CalibrateConfig) -> list[Scenario]:
    """Recorded clips, each somewhere in an episode that is long enough, spread over all of them.

    Raises:
        ValueError: if there is none, or the recording is of other pictures.
    """
    if tuple(recording.frame_shape) != world.observation_shape:
        raise ValueError(f"{config.data} has pictures {list(recording.frame_shape)}, the world "
                         f"{list(world.observation_shape)}; pass a recording of the same game")
    context = world.contexts.frames.shape[1]
    need = context - 1 + config.horizon
    long = [episode for episode in episodes if episode.steps >= need]
    if not long:
        raise ValueError(f"{config.data}: no episode that was trained on has {need} steps; pass a smaller horizon=")
    rng = np.random.default_rng(config.seed)
    weights = np.array([episode.steps - need + 1 for episode in long], np.float64)
    chosen = rng.choice(len(long), config.starts, p=weights / weights.sum())
    return [_situation(recording, long[i], int(rng.integers(long[i].steps - need + 1)), context, need) for i in chosen]


def _situation(recording: Recording, episode: Episode, first: int, context: int, need: int) -> Scenario:
    clip = recording.read(episode, first, first + need)
    past = context - 1
    ended = np.maximum.accumulate(clip.terminated[past:] | clip.truncated[past:])
    return Scenario(clip.observations[:context], clip.actions[:past], clip.actions[past:], clip.observations[context:],
                    clip.rewards[past:].astype(np.float32), clip.terminated[past:], ended, None)


@torch.no_grad()
def margins_of(world: World, starts: list[Scenario], nothing: int, batch: int) -> np.ndarray:
    """By how much the likeliest reward's logit exceeds that of "nothing", in every step drawn, float32."""
    seen: list[Tensor] = []

    def note(module: nn.Module, given: Any, logits: tuple[Tensor, Tensor]) -> None:
        something = logits[0].clone()
        something[..., nothing] = -torch.inf
        seen.append((something.amax(-1) - logits[0][..., nothing]).flatten().cpu())

    hook = world.model.outcome.register_forward_hook(note)
    try:
        roll_out(world, starts, np.stack([s.actions for s in starts]), batch, "calibrating")
    finally:
        hook.remove()
    return torch.cat(seen).numpy()


def _nothing(world: World) -> int:
    if world.conditions:
        raise ValueError(f"this world holds {world.conditions}: only worlds of one game are calibrated")
    values = world.model.config.reward_values
    if 0.0 not in values or len(values) < 2:
        raise ValueError(f"the world's rewards are {values}: there is nothing to calibrate")
    return values.index(0.0)


ConfigStore.instance().store(name="calibrate", node=CalibrateConfig)


@command("calibrate")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        config = cast(CalibrateConfig, settings(cfg))
        print(f"{calibrate(config):+.2f} to the logit of no reward; world: {Path(config.out)}")
    except (RecordingError, WorldError, ValueError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
