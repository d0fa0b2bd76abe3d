"""The weights of one world, or of several mixed, as the starting point of another, of another game too."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from .checkpoint import load_world
from .measured import measured
from .model import WorldModel
from .rollout import World

OF_THE_GAME = ("num_actions", "action_low", "action_high", "reward_values", "conditions")
"""settings that a game decides; the tensors that go with them are few"""
OF_THE_VAE = ("latents", "pixel_scale", "patch", "channels", "canvas", "kinds")
"""settings that the AR-VAE decides, or that mean nothing with one"""

ACTIONS = "conditioning.action.weight", "conditioning.earlier."
"""beginnings of the names of embeddings, a row per action and a last one for the unknown action"""
CONDITIONS = "conditioning.condition.weight"
"""name of the embedding of conditions"""
REWARDS = "outcome.reward."
"""beginning of the names of what has a row per value of rewards"""


@torch.no_grad()
def start_from(model: WorldModel, lenders: str | Mapping[str, float], games: Sequence[str] = (),
               meanings: Sequence[str] = ()) -> list[str]:
    """Copy into `model` every tensor of a world that means the same there, or the mean of several worlds'.

    Their window may differ, which has no weights. Embeddings of actions and of conditions and what tells rewards apart
    are copied for those called the same, or worth the same. The mean picture of a game that both know is copied, too,
    unless an AR-VAE's tokens are drawn. Another AR-VAE may be the one before: where its tokens have other numbers, what
    reads and what writes them is new.

    Args:
        model: freshly made.
        lenders: folder of a world; or folders and how much each counts. A mean of weights is of use where one of the
            worlds has begun as another (Wortsman et al., arXiv:2203.05482).
        games: ids of the games that `model` is to learn, one for each of its conditions if it has any.
        meanings: names of its actions.

    Returns:
        Names of the tensors that are new, all of them or in part.

    Raises:
        WorldError: if a folder holds no world, or a damaged one.
        ValueError: if its network has other sizes.
    """
    shares = {lenders: 1.0} if isinstance(lenders, str) else dict(lenders)
    others = [(load_world(folder, dtype="fp32"), share) for folder, share in shares.items()]
    for (other, _), folder in zip(others, shares, strict=True):
        _check_sizes(model, other, folder)
    new = []
    for name, parameter in model.named_parameters():
        lent = [(_lent(name, parameter, model, other, meanings), share) for other, share in others]
        if not _fill(parameter, lent):
            new.append(name)
    if not model.config.latents:
        _take_means(model, [other for other, _ in others], list(games))
    return new


def _check_sizes(model: WorldModel, other: World, folder: str) -> None:
    mine, its = model.config, other.model.config
    free = ["window", *OF_THE_GAME, *(OF_THE_VAE if mine.latents and its.latents and mine.grid == its.grid else ())]
    if replace(its, **{name: getattr(mine, name) for name in free}) != mine:
        differ = ", ".join(f"{name}: {was}, not {asdict(mine)[name]}" for name, was in asdict(its).items()
                           if name not in free and was != asdict(mine)[name])
        raise ValueError(f"init={folder} has other sizes ({differ}): pass its model settings, or train from nothing")


def _take_means(model: WorldModel, others: list[World], games: list[str]) -> None:
    """All mean pictures of a world of the same games and conditions; else that of every game from whoever knows it."""
    first, conditions = others[0], model.config.conditions
    if games_of(first.card) == games and first.model.config.conditions == conditions:
        for name, x in measured(model).items():
            x.copy_(measured(first.model)[name])
    elif model.backdrops is not None and len(games) == len(conditions):
        scale, mean = model.config.pixel_scale, model.scaler.mean
        means = model.backdrops.pictures * scale + mean
        for other in reversed(others):
            for game, picture in _pictures(other).items():
                if games.count(game) == 1:
                    means[games.index(game)] = mean = picture
        model.scaler.mean.copy_(mean)
        model.backdrops.set_means(means, mean, scale)


def _pictures(world: World) -> dict[str, Tensor]:
    """The mean picture [H, W, 3], in [0, 1], of every game that a world knows under one condition alone."""
    model, games = world.model, games_of(world.card)
    if model.backdrops is None:
        return {games[0]: model.scaler.mean} if len(games) == 1 else {}
    means = model.backdrops.pictures * model.config.pixel_scale + model.scaler.mean
    return {game: mean for game, mean in zip(games, means, strict=False) if len(games) == len(means)
            and games.count(game) == 1}


def games_of(card: dict[str, Any]) -> list[str]:
    """Ids of the games of a world's or a recording's card, one for each condition, or of its only one."""
    game = card.get("game", {})
    return [str(its["id"]) for its in game.get("conditions", {}).values()] or [str(game.get("id", ""))]


def _lent(name: str, parameter: Tensor, model: WorldModel, other: World, meanings: Sequence[str]) -> dict[int, Tensor]:
    """The rows of a tensor that another world has."""
    given = dict(other.model.named_parameters()).get(name)
    if given is None:
        return {}
    mine, its, rows = model.config, other.model.config, None
    if name.startswith(REWARDS):
        rows = _alike(mine.reward_values, its.reward_values)
    elif name == CONDITIONS:
        rows = _alike(mine.conditions, its.conditions)
    elif name.startswith(ACTIONS) and not (mine.action_low or its.action_low):
        called = list(other.action_meanings)
        rows = [*_alike(list(meanings or called)[:mine.num_actions], called), (len(parameter) - 1, len(given) - 1)]
    elif given.shape != parameter.shape:
        return {}
    return {i: given[j] for i, j in (((i, i) for i in range(len(given))) if rows is None else rows)}


def _alike(mine: Sequence[object], its: Sequence[object]) -> list[tuple[int, int]]:
    """Places of what both have."""
    return [(i, list(its).index(x)) for i, x in enumerate(mine) if x in its]


def _fill(parameter: Tensor, lent: list[tuple[dict[int, Tensor], float]]) -> bool:
    """Every row becomes the mean of those lent, if there are any; returns whether there are for all."""
    for row in range(len(parameter)):
        found = [(rows[row], share) for rows, share in lent if row in rows]
        if found:
            parameter[row] = sum(x * share for x, share in found) / sum(share for _, share in found)
    return all(any(row in rows for rows, _ in lent) for row in range(len(parameter)))
