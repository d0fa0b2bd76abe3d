"""What `world_model.train` is asked for."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from recorders import Command

from .model_config import WorldModelConfig
from .presets import with_presets
from .sampler import SamplerConfig
from .trainer_config import TrainerConfig


@dataclass(kw_only=True)
class TrainConfig(Command):
    """Which recording is learned, by what network, for how long."""

    defaults: list[Any] = field(default_factory=lambda: with_presets(Command().defaults))
    data: str = MISSING
    """folder of a recording"""
    out: str = MISSING
    """folder of the run: checkpoint, log, sample strips and the world itself under `world/`"""
    name: str = "World-v0"
    """name of the world, as in gymnasium.make("foreframe/<name>")"""
    heldout: float = 0.05
    """share of the episodes, the last ones, kept from training and used for samples and contexts, unless the world that
    `init` names held some of them out: then those; see `split.json`"""
    cache: str = ""
    """folder for the recording's unpacked frames; empty: `cache` under `out`"""
    contexts: int = 64
    """starting clips shipped with the world"""
    keep: bool = False
    """whether every world exported on the way is kept, under `worlds/`: for `benchmarks.compute_curve`"""
    vae: str = ""
    """folder of an AR-VAE, see `world_model.train_vae`, whose tokens the world draws; empty: it draws pixels"""
    init: str = ""
    """folder of a world whose weights are the starting point, of another game too; empty: start from nothing"""
    blend: str = ""
    """folder of a second world, whose weights are mixed with those of `init`"""
    blend_share: float = 0.3
    """how much of the mixture it is"""
    device: str = "auto"
    threads: int = 0
    """CPU threads; 0 takes all"""
    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def lenders(self) -> dict[str, float]:
        """Folders of the worlds to begin with and how much each counts; none: from nothing.

        Raises:
            ValueError: if a second world is named without a first one, or its share is not between 0 and 1.
        """
        if not self.blend:
            return {self.init: 1.0} if self.init else {}
        if not self.init or not 0 < self.blend_share < 1:
            raise ValueError(f"blend={self.blend} needs a world to be mixed with (init=) and blend_share above 0 and "
                             f"below 1, got {self.blend_share}")
        return {self.init: 1 - self.blend_share, self.blend: self.blend_share}
