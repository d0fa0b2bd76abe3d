"""The learned world: a causal diffusion transformer over frames, trained, loaded and stepped."""

from .checkpoint import WorldError, load_world, read_card, save_world, write_card
from .contexts import Contexts
from .model import WorldModel
from .model_config import WorldModelConfig
from .rollout import World, WorldState
from .sampler import SamplerConfig

__all__ = [
    "Contexts",
    "SamplerConfig",
    "World",
    "WorldError",
    "WorldModel",
    "WorldModelConfig",
    "WorldState",
    "load_world",
    "read_card",
    "save_world",
    "write_card",
]
