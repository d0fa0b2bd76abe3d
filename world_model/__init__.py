"""The learned world: a causal diffusion transformer over frames, trained, loaded and stepped."""

from . import allocator, switching
from .actions import Actions
from .checkpoint import load_world, read_card, save_world, write_card
from .checks import condition_of
from .contexts import Contexts
from .engine import Engine, EngineStats
from .engine_config import EngineConfig
from .model import WorldModel
from .model_config import WorldModelConfig
from .passes import Cancelled
from .plan_config import PlanConfig, PlanWarning
from .rollout import Drawn, World
from .sampler import SamplerConfig
from .state import Episode, StateError, WorldState
from .world_error import WorldError

__all__ = [
    "Actions",
    "Cancelled",
    "Contexts",
    "Drawn",
    "Engine",
    "EngineConfig",
    "EngineStats",
    "Episode",
    "PlanConfig",
    "PlanWarning",
    "SamplerConfig",
    "StateError",
    "World",
    "WorldError",
    "WorldModel",
    "WorldModelConfig",
    "WorldState",
    "allocator",
    "condition_of",
    "load_world",
    "read_card",
    "save_world",
    "switching",
    "write_card",
]
