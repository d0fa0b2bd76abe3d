"""The weights of one world as the starting point of another, of another game too."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor

from .checkpoint import load_world
from .model import WorldModel

OF_THE_GAME = ("num_actions", "action_low", "action_high", "reward_values", "conditions")
"""settings that a game decides; the tensors that go with them are few"""
OF_THE_VAE = ("latents", "pixel_scale", "patch", "channels", "canvas", "kinds")
"""settings that the AR-VAE decides, or that mean nothing with one"""

TABLES = "conditioning.action.weight", "conditioning.earlier."
"""beginnings of the names of embeddings, a row per action and a last one for the unknown action"""


@torch.no_grad()
def start_from(model: WorldModel, folder: str, game: str = "", meanings: Sequence[str] = ()) -> list[str]:
    """Copy into `model` every tensor of a world that means the same there.

    Its window may differ, which has no weights. Where actions have other names, embeddings are those of the actions
    called the same, with other values of rewards the reward head is new. In another game, or where an AR-VAE's tokens
    are drawn, the mean picture stays that of `model`. Another AR-VAE may be the one before: where its tokens have
    other numbers, what reads and what writes them is new.

    Args:
        model: freshly made.
        folder: of the world.
        game: id of the game that `model` is to learn.
        meanings: names of its actions.

    Returns:
        Names of the tensors that are new, all of them or in part.

    Raises:
        WorldError: if the folder holds no world, or a damaged one.
        ValueError: if its network has other sizes.
    """
    other = load_world(folder, dtype="fp32")
    mine, its = model.config, other.model.config
    free = ["window", *OF_THE_GAME, *(OF_THE_VAE if mine.latents and its.latents and mine.grid == its.grid else ())]
    if replace(its, **{name: getattr(mine, name) for name in free}) != mine:
        differ = ", ".join(f"{name}: {was}, not {asdict(mine)[name]}" for name, was in asdict(its).items()
                           if name not in free and was != asdict(mine)[name])
        raise ValueError(f"init={folder} has other sizes ({differ}): pass its model settings, or train from nothing")
    given, new = dict(other.model.named_parameters()), []
    same, counted = _called_the_same(list(meanings), other.action_meanings), not (mine.action_low or its.action_low)
    renamed = counted and bool(meanings) and list(meanings) != other.action_meanings
    for name, parameter in model.named_parameters():
        foreign = ((name.startswith("outcome.reward.") and its.reward_values != mine.reward_values)
                   or (name.startswith(TABLES) and renamed))
        if foreign or name not in given or given[name].shape != parameter.shape:
            new.append(name)
            if name.startswith(TABLES) and counted:
                _copy_rows(parameter, given[name], same)
        else:
            parameter.copy_(given[name])
    if other.card.get("game", {}).get("id", "") == game and not mine.latents:
        model.scaler.mean.copy_(other.model.scaler.mean)
    return new


def _called_the_same(mine: list[str], its: list[str]) -> list[tuple[int, int]]:
    """Pairs of actions of both."""
    return [(action, its.index(name)) for action, name in enumerate(mine) if name in its]


def _copy_rows(table: Tensor, given: Tensor, same: list[tuple[int, int]]) -> None:
    for action, its in [*same, (-1, -1)]:
        table[action] = given[its]
