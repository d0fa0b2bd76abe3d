"""How a world is stepped: which plan, and whether frames are drawn before they are asked for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .memory_policies import checked_policy
from .plan_config import PlanConfig

GUESSES = ("off", "repeat", "policy", "branch")


@dataclass(kw_only=True)
class EngineConfig:
    """Settings of an `Engine`; they change how long a step takes, and `plan` what is drawn as well."""

    plan: str = "autoregressive"
    """autoregressive or ad; rolling and keyframes for scripts (`PlanConfig.kind`)"""
    stagger: int | None = None
    """of the plan ad (`PlanConfig.stagger`)"""
    segment: int = 12
    """of the plan keyframes (`PlanConfig.segment`)"""
    lookahead: str = "off"
    """what is drawn while nobody waits. repeat: the last action again (Next-Frame Diffusion, arXiv:2506.01380); policy:
    what a policy would do; branch: every action, as one batch. A wrong guess costs time, never a frame"""
    ahead: int = 1
    """frames drawn ahead at most, from 1 to 16; branch has one"""

    memory: str = ""
    """what is remembered of frames long shown, one of `memory_policies.POLICIES`; empty: what the world's card says"""

    graphs: bool = True
    """on a GPU: whether steps of one frame after the other are captured as CUDA graphs, once per number of rollouts"""

    def __post_init__(self) -> None:
        self.plan_config()
        if self.memory:
            checked_policy(self.memory)
        if self.lookahead not in GUESSES:
            raise ValueError(f"lookahead must be one of {GUESSES}, got {self.lookahead!r}")
        if isinstance(self.ahead, bool) or not isinstance(self.ahead, int) or not 1 <= self.ahead <= 16:
            raise ValueError(f"ahead must be an integer from 1 to 16, got {self.ahead!r}")
        if not isinstance(self.graphs, bool):
            raise ValueError(f"graphs must be true or false, got {self.graphs!r}")
        if self.lookahead == "branch" and self.ahead != 1:
            raise ValueError(f"lookahead=branch draws every action of one frame ahead, got ahead={self.ahead}")
        if self.lookahead != "off" and self.plan != "autoregressive":
            raise ValueError(f"lookahead={self.lookahead} guesses whole frames, the plan {self.plan} has begun "
                             f"frames of its own: use the plan autoregressive, or lookahead=off")

    def plan_config(self) -> PlanConfig:
        """The plan with its settings.

        Raises:
            ValueError: if they make no plan.
        """
        return PlanConfig(kind=self.plan, stagger=self.stagger, segment=self.segment)

    def drawing(self) -> dict[str, Any]:
        """The settings that decide what is drawn, where they are not the usual ones; the others change nothing."""
        plan = {"plan": self.plan, "stagger": self.stagger, "memory": self.memory}
        if self.lookahead == "branch":
            plan["lookahead"] = "branch"  # rows of a batch round otherwise than a rollout alone
        usual = asdict(EngineConfig())
        return {name: value for name, value in plan.items() if value != usual[name]}

    @staticmethod
    def of(settings: "EngineConfig | dict[str, Any] | None") -> "EngineConfig":
        """From plain settings, as they stand in JSON and on command lines; None for the defaults.

        Raises:
            ValueError: if a setting is unknown or impossible.
        """
        if isinstance(settings, EngineConfig):
            return settings
        if settings is not None and not isinstance(settings, Mapping):
            raise ValueError(f"engine must be settings by name, such as {{'lookahead': 'repeat'}}, got {settings!r}")
        known = set(asdict(EngineConfig()))
        unknown = sorted(set(settings or {}) - known)
        if unknown:
            raise ValueError(f"unknown engine settings {unknown}: expected some of {sorted(known)}")
        return EngineConfig(**(settings or {}))
