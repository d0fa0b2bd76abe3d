"""What the project's commands have in common."""

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
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


def command(name: str) -> Callable[[Callable[[DictConfig], None]], Callable[..., None]]:
    """Make a function of the settings stored as `name` the entry point of a command line, read by Hydra.

    A word that is no setting ends it with one line and exit code 2, Ctrl-C with one line and exit code 130.
    """

    def decorate(main: Callable[[DictConfig], None]) -> Callable[..., None]:
        run = hydra.main(version_base="1.3", config_path=None, config_name=name)(main)

        @functools.wraps(main)
        def start(cfg: DictConfig | None = None) -> None:
            problem = None if cfg is not None else _problem(name, sys.argv[1:])
            if problem:
                print(f"{name}: {problem}; --help lists the settings", file=sys.stderr)
                sys.exit(2)
            try:
                run(cfg)
            except KeyboardInterrupt:
                print(f"{name}: interrupted; what had been saved is there", file=sys.stderr)
                sys.exit(130)

        return start

    return decorate


def _problem(name: str, words: Sequence[str]) -> str | None:
    """What is wrong with the first word that is no setting, unless Hydra's own flags are among them."""
    if any(word.startswith("-") for word in words):
        return None
    known = [str(key) for key in ConfigStore.instance().load(f"{name}.yaml").node]
    for word in words:
        setting, equals, _ = word.partition("=")
        if not equals and not word.startswith("~"):
            return f"expected name=value, e.g. {_example(known)}=..., got {word!r}"
        root = setting.partition(".")[0]
        if root not in known and not word.startswith(("+", "~", "hydra")):
            shown = [key for key in known if key not in ("defaults", "hydra")]
            return f"there is no setting {setting!r}, only {', '.join(shown)}"
    return None


def _example(known: Sequence[str]) -> str:
    return next((name for name in ("path", "world") if name in known), known[0])
