"""Clips whose actions are not told, or only up to some frame: what guidance and frames begun ahead are drawn with."""

import torch
from torch import Tensor


def drop_actions(actions: Tensor, unknown: int, dropped: float, cut: float, generator: torch.Generator) -> Tensor:
    """Replace actions by the unknown one.

    Args:
        actions: int64 [B, T].
        unknown: id of the unknown action.
        dropped: share of clips told no action at all (classifier-free guidance, Ho & Salimans 2022, arXiv:2207.12598).
        cut: share of clips told none from some frame on.

    Returns:
        int64 [B, T].
    """
    if dropped <= 0 and cut <= 0:
        return actions
    batch, frames = actions.shape
    kind, place = torch.rand(2, batch, 1, generator=generator)
    first = torch.where(kind < dropped, 0, torch.where(kind < dropped + cut, (place * frames).long(), frames))
    return torch.where((torch.arange(frames) >= first).to(actions.device), unknown, actions)
