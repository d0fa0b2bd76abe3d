"""Teach a world to need fewer passes.

    python -m world_model.distill world=envs/worlds/Pong-v0 data=data/pong passes=2 out=runs/pong-2

Run it again with the same `out` to go on from the last checkpoint, after a kill too.
"""

import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from recorders import Command, RecordingError, command, open_recording, settings

from . import allocator
from .checkpoint import load_world, save_world
from .clips import ClipSource
from .distillation import Distillation, DistillationConfig
from .heldout import Split, conditions_of, note_split, split_for
from .measured import measured
from .model import WorldModel
from .optimizer import OptimizerConfig
from .rollout import World
from .team import Team
from .train import actions_of, open_cache
from .train_state import Origin, TrainStateError, run_folder
from .trainer import Trainer
from .trainer_config import TrainerConfig
from .world_error import WorldError


def _gently() -> TrainerConfig:
    """A trained world is moved a little, with targets that its teacher gives instead of the recording."""
    return TrainerConfig(steps=600, batch=2, moments=0, noise_draws=1, undecided_share=0.5, ghost_share=0.2,
                         own_after=0.0, optimizer=OptimizerConfig(matrix_lr=4e-4, lr=2e-4, warmup=50))


@dataclass(kw_only=True)
class DistillConfig(Command):
    """Which world is taught to need how many passes, on which recording."""

    world: str = MISSING
    """folder of the teacher"""
    data: str = MISSING
    """folder of a recording of the same game"""
    out: str = MISSING
    """folder of the run: checkpoint, log and the world itself under `world/`"""
    passes: int = 1
    """denoising passes per frame that the student needs"""
    name: str = ""
    """of the new world; empty: the teacher's"""
    heldout: float = 0.05
    """share of the episodes, the last ones, that is not learned from, unless the teacher held some of them out: then
    those"""
    cache: str = ""
    """folder of the recording's training cache, made if it is missing; empty: `cache/` in `out`"""
    device: str = "auto"
    threads: int = 0
    """CPU threads; 0 takes all"""
    how: DistillationConfig = field(default_factory=DistillationConfig)
    trainer: TrainerConfig = field(default_factory=_gently)


def distill(config: DistillConfig) -> Path:
    """Teach as `config` says, from the last checkpoint in `out` if there is one.

    Returns:
        The new world's folder.

    Raises:
        ValueError: if the recording does not fit the world, the path cannot be cut into so many passes, or several
            processes are to do it.
    """
    allocator.keep_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    team, device = Team.join(config.device)
    if team.size > 1:
        team.leave()
        raise ValueError("distillation takes one process: start it without torchrun")
    teacher = load_world(config.world, str(device), dtype="fp32")
    if teacher.sampler.guidance != 1:
        raise ValueError(f"{config.world} is drawn with guidance {teacher.sampler.guidance}, which no student learns: "
                         "set `sampler.guidance` in its world.json to 1")
    if teacher.model.config.latents:
        raise ValueError(f"{config.world} draws tokens of an AR-VAE, which no student learns yet: pass a world of "
                         "pixels, or lower sampler.steps in its world.json")
    out = run_folder(config.out)
    source, origin, episodes = fitting_clips(teacher, config)
    student = WorldModel(teacher.model.config)
    student.load_state_dict(teacher.model.state_dict())
    served = replace(teacher.sampler, steps=config.passes)
    objective = Distillation(student.to(device), source, served, config.trainer, teacher.model, config.how)
    trainer = Trainer(student, source, served, config.trainer, out, origin=origin, objective=objective)
    note_split(out, *episodes)  # only now: a folder of something else has been refused

    def export(step: int) -> None:
        averaged = WorldModel(teacher.model.config)
        averaged.load_state_dict(trainer.averaged() | measured(student))
        save_world(out / "world", averaged, served, student_card(teacher, config, step), teacher.contexts)

    trainer.run(export)
    export(trainer.step)
    return out / "world"


def fitting_clips(teacher: World, config: DistillConfig) -> tuple[ClipSource, Origin, Split]:
    """Clips of the recording, which must be of pictures and actions as the world has them.

    Returns:
        the clips, whose they are, and the episodes trained on and held out.

    Raises:
        ValueError: if it is not.
    """
    recording, sizes = open_recording(config.data), teacher.model.config
    given, wanted = actions_of(recording), replace(sizes.actions, conditions=0)
    under = list(recording.meta.get("conditions", []))
    if under != sizes.conditions:
        raise ValueError(f"{config.data} is under the conditions {under}, the world {config.world} under "
                         f"{sizes.conditions}; pass a recording with the same ones")
    found, size = list(recording.frame_shape[:2]), [sizes.height, sizes.width]
    if (found, given) != (size, wanted):
        raise ValueError(f"{config.data} has pictures {found} and actions {given.describe()}, the world {config.world} "
                         f"has {size} and {wanted.describe()}; pass a recording of the same game")
    before = teacher.card.get("data", {}).get("heldout", [])
    training, heldout = split_for(Path(config.out), recording.episodes, config.heldout, before,
                                  conditions_of(recording))
    cache = open_cache(config.cache or Path(config.out) / "cache", recording, Team())
    origin = Origin(recording.meta["game"]["id"], [e.id for e in recording.episodes],
                    asdict(sizes) | {"teacher": teacher.hash, "passes": config.passes})
    return ClipSource(cache, training, sizes.reward_values, sizes.actions, config.trainer.event_share,
                      config.trainer.hard_share, config.trainer.seed), origin, (training, heldout)


def student_card(teacher: World, config: DistillConfig, step: int) -> dict[str, Any]:
    """What `world.json` says of the student besides its sizes."""
    card = {key: value for key, value in teacher.card.items() if key != "metrics"}
    return card | {"name": config.name or card["name"], "distilled": {
        "from": teacher.hash, "passes": [teacher.sampler.steps, config.passes], "steps": step,
        "how": asdict(config.how), "torch": torch.__version__}}


ConfigStore.instance().store(name="distill", node=DistillConfig)


@command("distill")
def main(cfg: DictConfig) -> None:
    """Entry point of the command line."""
    try:
        config: DistillConfig = settings(cfg)
        print(f"world: {distill(config)}")
    except (RecordingError, TrainStateError, WorldError, ValueError) as error:
        print(f"distill: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
