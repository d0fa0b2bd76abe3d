"""Who decides the actions: a person, a script, an agent."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recorders import Behaviour, behaviour_for

from .bindings import Bindings
from .keymap import Action, as_action
from .screen import Inputs
from .world_env import WorldEnv

Choose = Callable[[NDArray[np.uint8], Inputs], Action]
"""(last frame, what the person did) -> action"""


ACTORS = ("person", "script", "agent")
"""names of pilots; recordings name who acted by the place here"""


def nothing() -> None:
    """Nothing to forget."""


@dataclass(frozen=True)
class Pilot:
    """Somebody who plays.

    Attributes:
        name: one of `ACTORS`.
        choose: decides the action of a step.
        begin: called where what was seen before does not lead on to what comes: forget it.
    """

    name: str
    choose: Choose
    begin: Callable[[], None] = nothing


def person(bindings: Bindings) -> Pilot:
    """Chooses what the held keys ask for."""
    return Pilot("person", lambda frame, inputs: bindings.action(inputs.held, inputs.strengths))


def script(env: WorldEnv, seed: int) -> Pilot:
    """The game's scripted player, or random held actions where there is none; of several games, of that which is on."""
    rng, players = np.random.default_rng(seed), dict[int, Behaviour]()

    def player() -> Behaviour:
        under = int(env.condition)
        if under not in players:
            players[under] = _behaviour(env, under)
            players[under].reset(rng)
        return players[under]

    return Pilot("script", lambda frame, inputs: as_action(player().act(frame, rng)), lambda: player().reset(rng))


def agent(where: str) -> Pilot:
    """An agent of one's own: `module:function`, which takes uint8 [H, W, 3] and returns an action.

    Raises:
        ValueError: if there is no such module or function.
    """
    module, _, name = where.partition(":")
    try:
        policy = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"agent={where} cannot be found ({error}): expected module:function, the function from a "
                         f"picture, uint8 [H, W, 3], to an action") from None
    if not callable(policy):
        raise ValueError(f"agent={where} is no function but {type(policy).__name__}: expected one from a picture, "
                         f"uint8 [H, W, 3], to an action")
    return Pilot("agent", lambda frame, inputs: as_action(policy(frame.copy())))


def _behaviour(env: WorldEnv, condition: int) -> Behaviour:
    """The game's scripted player where it reads the world's pictures and actions, else held random actions."""
    game = env.world.under(condition).game
    meanings = game.get("action_meanings") or env.world.action_meanings
    mixture = behaviour_for(game["id"], meanings, env.world.observation_shape, env.action_space)
    return mixture.part("scripted" if "scripted" in mixture.names else "held-random")
