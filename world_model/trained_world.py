"""What a trained network is as a game: its card, its sizes, how it is drawn and under which condition it starts."""

from dataclasses import replace
from typing import Any, Self

from .actions import Actions
from .checks import condition_of
from .codec import PictureCodec
from .contexts import Contexts
from .memory_policies import checked_policy
from .model import WorldModel
from .sampler import SamplerConfig
from .served import ServedModel


class TrainedWorld:
    """Everything about a world that stepping it does not change."""

    def __init__(self, model: WorldModel, sampler: SamplerConfig, card: dict[str, Any], contexts: Contexts,
                 hash: str = "", codec: PictureCodec | None = None):
        self.model = model
        self.codec = codec or PictureCodec(model.config.frame_shape)
        if model.config.latents and sampler.still:
            raise ValueError(f"sampler.still={sampler.still} compares pixels, and this world draws an AR-VAE's tokens: "
                             "pass still=0")
        self.sampler = sampler
        self.card = card
        self.contexts = contexts
        self.hash = hash
        self.condition = 0
        """number of the one that rollouts start under unless told otherwise; see `under`"""
        self.memory = checked_policy(str(card.get("memory", "window")))
        """what rollouts remember of frames long shown; see `with_memory`"""
        self.device = model.tokenizer.place.device
        self.dtype = model.tokenizer.place.dtype
        self._served: list[ServedModel] = []  # one at most; worlds that share weights share it

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self.codec.shape

    @property
    def actions(self) -> Actions:
        """What an action is."""
        return self.model.actions

    @property
    def num_actions(self) -> int:
        """Discrete actions are 0..num_actions-1; 0 where actions are continuous."""
        return self.model.actions.count

    @property
    def fps(self) -> float:
        """Steps per second of the real game."""
        return float(self.card["fps"])

    @property
    def action_meanings(self) -> list[str]:
        """Name of every action."""
        return list(self.card["actions"]["meanings"])

    def with_sampler(self, steps: int | None = None, shift: float | None = None, reuse: bool | None = None,
                     guidance: float | None = None, still: int | None = None) -> Self:
        """The same network drawn otherwise (shared weights): settings of its `SamplerConfig`, None as they are."""
        own = self.sampler
        asked = {"steps": steps, "shift": shift, "reuse": reuse, "guidance": guidance, "still": still}
        sampler = replace(own, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]
        if sampler == own:
            return self
        return self._like(sampler)

    @property
    def conditions(self) -> list[str]:
        """Names of what frames can be drawn under, e.g. the games of a world that holds several; empty for only one."""
        return self.model.config.conditions

    @property
    def game(self) -> dict[str, Any]:
        """Card of the real game, in a world of several that of the condition it is `under`."""
        whole = dict(self.card["game"])
        name = self.conditions[self.condition] if self.conditions else ""
        return dict(whole.get("conditions", {}).get(name, whole))

    def under(self, condition: str | int) -> Self:
        """The same network, whose rollouts start under a condition unless told otherwise (shared weights).

        Raises:
            ValueError: if it has no such condition.
        """
        other = self._like(self.sampler)
        other.condition = condition_of(self.conditions, condition)
        return other

    def with_memory(self, policy: str) -> Self:
        """The same network, whose rollouts remember by another cache policy (shared weights).

        Raises:
            ValueError: if there is no such policy; later, at a start, if the window is too short for it.
        """
        other = self._like(self.sampler)
        other.memory = checked_policy(policy)
        return other

    def _like(self, sampler: SamplerConfig) -> Self:
        other = type(self)(self.model, sampler, self.card, self.contexts, self.hash, self.codec)
        other._served, other.condition, other.memory = self._served, self.condition, self.memory
        return other
