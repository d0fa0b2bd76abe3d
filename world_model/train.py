"""Train a world from a recording: `python -m world_model.train data=data/pong out=runs/pong`.

Run it again with the same `out` to go on from the last checkpoint, after a kill too. Several processes share every
step: `torchrun --nproc_per_node=2 -m world_model.train ...`; a run may go on with another number of them.
"""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from recorders import (
    Episode,
    Recording,
    RecordingError,
    TrainingCache,
    command,
    latents,
    open_recording,
    settings,
    space_from_card,
)

from . import allocator
from .actions import Actions
from .checkpoint import read_card, save_world
from .clips import ClipSource
from .codec import VaeCodec
from .contexts import Contexts
from .events import event_card, event_table, event_weights
from .flops import peak_flops, training_flops
from .heldout import conditions_of, note_split, shown_episodes, split_for
from .measured import measured
from .model import WorldModel
from .model_config import WorldModelConfig, reward_choices
from .strip import save_strip
from .team import Team
from .train_config import TrainConfig
from .train_state import STATE_FILE, Origin, TrainStateError, run_folder
from .trainer import Trainer
from .transfer import games_of, start_from
from .vae_file import load_vae
from .world_error import WorldError


def train(config: TrainConfig) -> Path:
    """Train as `config` says, from the last checkpoint in `out` if there is one; alone, or with others by torchrun.

    Returns:
        The world's folder.

    Raises:
        RecordingError, TrainStateError, WorldError, ValueError: if something given cannot be used.
    """
    allocator.keep_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.trainer.seed)
    team, device = Team.join(config.device)
    try:
        return _train(config, team, device)
    finally:
        team.leave()


def _train(config: TrainConfig, team: Team, device: torch.device) -> Path:
    out = run_folder(config.out)
    recording = open_recording(config.data)
    fit_to_recording(config.model, recording)
    lenders = config.lenders()
    cards = [read_card(folder) for folder in lenders]
    before = [episode for card in cards for episode in card.get("data", {}).get("heldout", [])]
    training, heldout = split_for(out, recording.episodes, config.heldout, before, conditions_of(recording))
    cache = open_cache(config.cache or out / "cache", recording, team)
    codes = codes_of(config, cache, team, device) if config.vae else None
    source = ClipSource(cache, training, config.model.reward_values, config.model.actions,
                        config.trainer.event_share, config.trainer.hard_share, config.trainer.seed, codes=codes,
                        switch_share=config.trainer.switch_share if config.model.conditions else 0.0)
    model = WorldModel(config.model)
    model.scaler.mean.copy_(source.mean)
    if model.backdrops is not None:
        model.backdrops.set_means(source.condition_means, source.mean, config.model.pixel_scale)
    if lenders and not (out / STATE_FILE).exists():
        game = recording.meta["game"]
        new = start_from(model, lenders, games_of(recording.meta), game["action_meanings"])
        if team.leads:
            print(f"weights of {' and '.join(lenders)}; new: {', '.join(new) or 'nothing'}", flush=True)
    origin = Origin(recording.meta["game"]["id"], [e.id for e in recording.episodes], asdict(config.model))
    trainer = Trainer(model.to(device), source, config.sampler, config.trainer, out, team, origin)
    shown = shown_episodes(recording, training, heldout, 2 * config.model.window)
    clips = draw_contexts(source, shown, config.contexts, config.model.window)
    card = world_card(config, recording, heldout)
    if cards:
        begun = [{name: card[name] for name in ("name", "weights_sha256", "trained")} for card in cards]
        card["trained"]["init"], *blended = begun
        if blended:
            card["trained"]["blend"] = blended[0] | {"share": config.blend_share}

    def export(step: int) -> None:
        weights = trainer.averaged()
        if not team.leads:
            return
        averaged = WorldModel(config.model)
        averaged.load_state_dict(weights | measured(model))
        card["trained"]["steps"] = step
        save_world(out / "world", averaged, config.sampler, card, clips, config.vae)
        save_strip(out / "world", out / f"strip-{step:07d}.png", source, shown)
        if config.keep:
            shutil.copytree(out / "world", out / "worlds" / f"{step:07d}", dirs_exist_ok=True)

    if team.leads:
        note_split(out, training, heldout)
        report_data(config, source, training, heldout)
    trainer.run(export, lambda seconds: report_effort(config, trainer, seconds))
    export(trainer.step)
    team.wait()
    if team.leads:
        print(f"world: {out / 'world'}")
    return out / "world"


def open_cache(folder: str | Path, recording: Recording, team: Team) -> TrainingCache:
    """The recording unpacked in a folder; the first process of a team does it, the others wait."""
    if not team.leads:
        team.wait()
    cache = TrainingCache.build(recording, folder)
    if team.leads:
        team.wait()
    return cache


def codes_of(config: TrainConfig, cache: TrainingCache, team: Team, device: torch.device) -> np.ndarray:
    """The recording's frames as tokens of the AR-VAE, kept in the recording. Sets what follows from it in `config`.

    Raises:
        WorldError: if there is no AR-VAE.
        ValueError: if it is one for pictures of another size.
    """
    vae, card = load_vae(config.vae, str(device), "fp32")
    sizes, codec = vae.config, VaeCodec(vae)
    if (sizes.height, sizes.width) != (config.model.height, config.model.width):
        raise ValueError(f"vae={config.vae} is for pictures of {sizes.height}x{sizes.width}, the recording has "
                         f"{config.model.height}x{config.model.width}: train one on it, see world_model.train_vae")
    config.model.latents = [*sizes.layout, sizes.channels]
    config.model.pixel_scale = 0.5 / sizes.channels**0.5  # numbers of mean square 1 in model units
    config.sampler.still, config.trainer.moments, config.trainer.ghost_share = 0, 0, 0.0
    config.model.__post_init__()

    @torch.inference_mode()
    def encode(frames: np.ndarray) -> np.ndarray:
        parts = [codec.read(torch.from_numpy(part[None]).to(device))[0].cpu()
                 for part in np.array_split(frames, max(1, len(frames) // 64))]
        return torch.cat(parts).numpy()

    if not team.leads:
        team.wait()
    codes = latents(cache, card["weights_sha256"][:16], (*sizes.layout, sizes.channels), encode)
    if team.leads:
        team.wait()
    return codes


def fit_to_recording(config: WorldModelConfig, recording: Recording) -> None:
    """Take picture size, number of actions, reward values and names of conditions from the recording."""
    height, width = recording.frame_shape[:2]
    config.conditions = [str(name) for name in recording.meta.get("conditions", [])]
    config.fit(height, width, actions_of(recording), reward_choices(recording.rewards))


def actions_of(recording: Recording) -> Actions:
    """What an action of a recording is.

    Raises:
        ValueError: if it is neither one of n, counted from 0, nor a vector between finite bounds.
    """
    card = recording.meta["game"]["action_space"]
    space = space_from_card(card) if "type" in card else Discrete(int(card["n"]))
    if isinstance(space, Discrete) and space.start == 0:
        return Actions(int(space.n))
    if isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded():
        return Actions(0, tuple(map(float, space.low)), tuple(map(float, space.high)))
    raise ValueError(f"a world has actions 0 to n-1, or vectors between finite bounds; this recording has {space}")


def draw_contexts(source: ClipSource, episodes: list[Episode], count: int, frames: int) -> Contexts:
    """Starting clips evenly spread over the given episodes, the same ones every time.

    The first second or so of an episode is left out: games open with pictures that play never shows again.

    Raises:
        ValueError: if none is longer than two clips, of those under each condition.
    """
    under = source.kind.condition(torch.from_numpy(source.actions[[e.start for e in episodes]])).tolist()
    groups = [_in_play([e for e, its in zip(episodes, under, strict=True) if its == condition], frames)
              for condition in sorted({*under})]
    mine = [groups[i % len(groups)] for i in range(count)]  # conditions in turn
    rng = np.random.default_rng(0)
    starts = [int(rng.integers(*group[i // len(groups) % len(group)])) for i, group in enumerate(mine)]
    rows = np.array(starts)[:, None] + np.arange(frames)
    told = torch.from_numpy(source.actions[rows])
    kind = source.kind
    return Contexts(source.frames[rows], kind.taken(told)[:, 1:].numpy(), kind.condition(told)[:, -1].numpy())


def _in_play(episodes: list[Episode], frames: int) -> list[tuple[int, int]]:
    """Of each that is long enough, the first row a clip may begin at and the first one that is too late."""
    opening = 20 if max(e.stop - e.start for e in episodes) > 40 + 2 * frames else 0
    usable = [e for e in episodes if e.stop - e.start > opening + 2 * frames]
    if not usable:
        raise ValueError(f"no episode has more than {2 * frames} frames, twice model.window={frames}: record longer "
                         "episodes, or choose a shorter window")
    return [(e.start + opening, e.stop - 2 * frames) for e in usable]


def world_card(config: TrainConfig, recording: Recording, heldout: list[Episode]) -> dict[str, Any]:
    """What `world.json` says of a world besides its sizes."""
    game = recording.meta["game"]
    return {
        "name": config.name,
        "fps": game["fps"],
        "actions": {"meanings": game["action_meanings"], "keys": game["keys"]},
        "game": game,
        "data": {"steps": int(sum(e.steps for e in recording.episodes)), "episodes": len(recording.episodes),
                 "heldout": [e.id for e in heldout]},
        "trained": {"steps": 0, "batch": config.trainer.batch, "frames": config.trainer.frames,
                    "torch": torch.__version__},
        "licence": "Apache-2.0",
    }


def report_data(config: TrainConfig, source: ClipSource, training: list[Episode], heldout: list[Episode]) -> None:
    """Print how episodes are split and how often events are drawn; the latter goes to `events.json` too."""
    weights = event_weights(source.events, training, config.trainer.frames + 1, config.trainer.event_share)
    print(f"{len(training)} episodes to train on, {len(heldout)} held out", flush=True)
    print(event_table(weights), flush=True)
    (Path(config.out) / "events.json").write_text(json.dumps(event_card(weights), indent=1))


def report_effort(config: TrainConfig, trainer: Trainer, seconds: float) -> None:
    """Print FLOP per step, the time of one and the share of the processor's peak it reaches."""
    flops = training_flops(config.model, config.trainer.batch // trainer.team.size, config.trainer.frames)
    if not trainer.team.leads:
        return
    peak = peak_flops(trainer.device, trainer.dtype)
    print(f"{sum(p.numel() for p in trainer.model.parameters()) / 1e6:.1f} M parameters, "
          f"{flops / 1e9:.0f} GFLOP per teacher step and process, {seconds:.2f} s per step (first ones), "
          f"{flops / seconds / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s ({trainer.dtype}, {trainer.device})", flush=True)


ConfigStore.instance().store(name="train", node=TrainConfig)


@command("train")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        config: TrainConfig = settings(cfg)
        train(config)
    except (RecordingError, TrainStateError, WorldError, ValueError) as error:
        print(f"train: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
