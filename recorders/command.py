"""What the project's commands have in common."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue


@dataclass(kw_only=True)
class Command:
    """Configuration of a command line that leaves logging and the working folder alone, unlike Hydra by default."""

    defaults: list[Any] = field(
        default_factory=lambda: [
            "_self_",
            {"override hydra/job_logging": "none"},
            {"override hydra/hydra_logging": "none"},
        ]
    )
    hydra: Any = field(default_factory=lambda: {"run": {"dir": "."}, "output_subdir": None})


def settings(cfg: DictConfig) -> Any:
    """The structured configuration that Hydra has filled in, as an object.

    Raises:
        ValueError: if a setting that has no default is missing, or one makes no sense.
    """
    try:
        return OmegaConf.to_object(cfg)
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key}= is missing; --help lists the settings") from None
