"""The real game behind a learned world, with the world's own spaces and preprocessing."""

from typing import Any

import gymnasium

from recorders import game_from_card, make_game
from world_model import WorldError, read_card

from .catalogue import find_world
from .observed import Observed


def make_teacher(world: str, render_mode: str | None = None, **observations: Any) -> gymnasium.Env[Any, Any]:
    """The real game that `world` was learned from.

    Args:
        world: a shipped world's name, or the folder of a trained one.
        render_mode: as in `gymnasium.make`; rendering shows the game's own, unchanged picture.
        **observations: `size`, `grayscale`, `obs_dtype`, `frame_stack` as `WorldEnv` takes them.

    Returns:
        An environment with the world's observations, uint8 [H, W, 3] unless asked for otherwise, and its actions.

    Raises:
        WorldError: if there is no such world, or its card does not say which game it was learned from.
        MissingGame: if the real game is not installed; the message says what to install.
        ValueError: if an observation is asked for that there is not.
    """
    folder = find_world(world)
    try:
        card = read_card(folder)["game"]
        if card.get("conditions"):
            raise WorldError(f"{folder.name} holds {', '.join(card['conditions'])}: no real game is all of them")
        config = game_from_card(card)
    except (KeyError, TypeError, ValueError) as error:
        raise WorldError(
            f"the card of {folder} does not say which game the world was learned from: expected `game` with `id`, "
            f"`kwargs` and `frame`, got {type(error).__name__} {error}; train the world again or mend its card"
        ) from None
    game = make_game(config, render_mode=render_mode)
    return Observed(game, **observations) if observations else game
