"""The weights of one world as the starting point of another, of another game too."""

from dataclasses import asdict, replace

import torch

from .checkpoint import load_world
from .model import WorldModel

OF_THE_GAME = ("num_actions", "action_low", "action_high", "reward_values", "conditions")
"""settings that a game decides; the tensors that go with them are few"""


@torch.no_grad()
def start_from(model: WorldModel, folder: str, game: str = "") -> list[str]:
    """Copy into `model` every tensor of a world that means the same there.

    Its window may differ, which has no weights. With other numbers of actions, embeddings of actions are new, with
    other values of rewards the reward head is. In another game the mean picture stays that of `model`.

    Args:
        model: freshly made.
        folder: of the world.
        game: id of the game that `model` is to learn.

    Returns:
        Names of the tensors that are new.

    Raises:
        WorldError: if the folder holds no world, or a damaged one.
        ValueError: if its network has other sizes.
    """
    other = load_world(folder, dtype="fp32")
    mine, its = model.config, other.model.config
    if replace(its, window=mine.window, **{name: getattr(mine, name) for name in OF_THE_GAME}) != mine:
        differ = ", ".join(f"{name}: {was}, not {asdict(mine)[name]}" for name, was in asdict(its).items()
                           if name not in ("window", *OF_THE_GAME) and was != asdict(mine)[name])
        raise ValueError(f"init={folder} has other sizes ({differ}): pass its model settings, or train from nothing")
    given, new = dict(other.model.named_parameters()), []
    for name, parameter in model.named_parameters():
        foreign = name.startswith("outcome.reward.") and its.reward_values != mine.reward_values
        if foreign or name not in given or given[name].shape != parameter.shape:
            new.append(name)
        else:
            parameter.copy_(given[name])
    if other.card.get("game", {}).get("id", "") == game:
        model.scaler.mean.copy_(other.model.scaler.mean)
    return new
