"""Sizes of networks under a name: `python -m world_model.train preset=base ...`; single sizes still win over it."""

from typing import Any

from hydra.core.config_store import ConfigStore

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {},
    "base": {"dim": 640, "heads": 10, "layers": 9, "channels": 64},
    "large": {"dim": 1280, "heads": 20, "layers": 12, "channels": 96},
}
"""settings of `WorldModelConfig`; all others are its defaults"""


def with_presets(defaults: list[Any]) -> list[Any]:
    """A command's defaults list with a choice of preset, "tiny", over its own settings; Hydra is told of all."""
    for name, sizes in PRESETS.items():
        ConfigStore.instance().store(group="preset", name=name, node={"model": sizes} if sizes else {},
                                     package="_global_")
    return [*defaults[:1], {"preset": "tiny"}, *defaults[1:]]
