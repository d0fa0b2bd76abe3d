"""Clips some of whose actions are not told: what guidance and frames begun ahead are drawn with."""

import torch
from torch import Tensor

from .actions import Actions


def drop_actions(actions: Tensor, kind: Actions, dropped: float, cut: float, generator: torch.Generator) -> Tensor:
    """Replace actions by the unknown one.

    Guidance asks for a frame whose own action is unknown, after frames whose actions are known; so actions are dropped
    one by one and not by clips (Ho & Salimans 2022, arXiv:2207.12598, have one condition per sample).

    Args:
        actions: [B, T, ...] as they are told.
        kind: of actions.
        dropped: share of frames not told the action that leads to them.
        cut: share of clips told none from some frame on.

    Returns:
        [B, T, ...].
    """
    if dropped <= 0 and cut <= 0:
        return actions
    batch, frames = actions.shape[:2]
    lot, place = torch.rand(2, batch, 1, generator=generator)
    first = torch.where(lot < cut, (place * frames).long(), frames)
    hidden = (torch.rand(batch, frames, generator=generator) < dropped) | (torch.arange(frames) >= first)
    hidden = hidden.to(actions.device).view(batch, frames, *[1] * (actions.dim() - 2))
    return torch.where(hidden, kind.hidden(actions), actions)
