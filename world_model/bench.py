"""The real game's side of an evaluation, made once for all worlds that are measured against it."""

from functools import cached_property
from typing import Any

import gymnasium
import numpy as np

from recorders import behaviour_for, game_from_card, make_game

from .action_kinds import ActionKinds
from .actions import Actions
from .evaluate_config import EvaluateConfig
from .free_run import Run, in_game, log
from .game_reader import reader_for
from .horizons import real_rollouts
from .inverse_dynamics import InverseDynamics, action_kinds, learn, play, recovered
from .rollout import World
from .scenarios import collect_scenarios


class Bench:
    """Situations of the real game, and what is learned or read from it; what nothing asks for is not made.

    Args:
        world: whose game it is; its pictures, its actions and how many frames it starts from.
        config: how much of everything.

    Raises:
        MissingGame: if the game is not installed.
        ValueError: if its episodes are too short.
    """

    def __init__(self, world: World, config: EvaluateConfig) -> None:
        self.config = config
        card = world.game
        self.env, self.meanings = str(card["id"]), list(card.get("action_meanings") or world.action_meanings)
        self.kind = world.actions if world.actions.continuous else Actions(len(self.meanings))  # of this game's own
        self.game: gymnasium.Env[Any, Any] = make_game(game_from_card(card, config.env))
        self.reader = reader_for(self.env, world.observation_shape)
        self.scenarios = collect_scenarios(
            self.game, self.env, self.meanings, count=config.amount("starts"),
            context=max(world.model.config.window, 2), horizon=config.amount("horizon"), seed=config.seed)
        self.actions = np.stack([s.actions for s in self.scenarios])
        self.others = np.roll(self.actions, 1, axis=0)
        self.over = np.stack([s.over for s in self.scenarios])
        self.real = real_rollouts(self.scenarios)

    def player(self) -> Any:
        """Who plays the free runs."""
        return behaviour_for(self.env, self.meanings, self.game.observation_space.shape or (), self.game.action_space)

    @cached_property
    def real_run(self) -> Run:
        """A free run of the real game, of other episodes than the situations."""
        moments = in_game(self.game, self.player(), self.config.seed, self.config.seed + 200_000)
        return log(moments, self.config.amount("free_steps"), self.reader, desc="real run")

    @cached_property
    def kinds(self) -> ActionKinds:
        """Which actions count as one; see `action_kinds`."""
        if self.kind.continuous:
            return ActionKinds(self.kind, self.meanings)
        states = [s.snapshot for s in self.scenarios[:24] if s.snapshot is not None]
        return ActionKinds(self.kind, self.meanings, action_kinds(self.game, states, len(self.meanings)))

    @cached_property
    def inverse(self) -> InverseDynamics:
        """Learned from real play of other episodes than the situations."""
        steps, updates = self.config.amount("inverse_steps"), self.config.amount("inverse_updates")
        return learn(play(self.game, self.env, self.meanings, steps, self.config.seed + 100_000), self.kinds, updates)

    def recovered(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Whether actions [B, T] are read off frames [B, T, H, W, 3] that follow the situations: bool [B, T - 1]."""
        before = np.stack([s.frames for s in self.scenarios])
        return recovered(self.inverse, before, frames, self.kinds.of(actions))
