"""Frames in which what moves is there twice: where it is and, fainter, where it is not.

A world that is unsure which way a paddle turns draws a little of both; from then on it sees two, and what it learned
from real frames is to move each of them on. Trained on frames with such ghosts, and asked for the real one, it learns
that the stronger is the thing and the fainter is nothing. Ghosts come from the clip itself, a few frames earlier: where
a thing would be had it stayed behind or turned back.
"""

import torch
from torch import Tensor

STRONGEST = 0.5
"""a ghost as strong as the thing itself; no one could tell them apart"""
_FARTHEST = 4  # frames from which a ghost of the frame that is drawn may come


def haunt_past(clip: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Add ghosts to frames of a past: what had turned back at some frame, for some frames from there on.

    Args:
        clip: [B, T, ...] frames, oldest first.
        share: of clips that get any.

    Returns:
        [B, T, ...].
    """
    batch, frames = clip.shape[:2]
    draw = torch.rand(4, batch, 1, generator=generator)
    turn = (draw[0] * frames).long()
    since = torch.arange(frames) - turn
    there = (since > 0) & (since <= 1 + draw[1].square() * frames) & (draw[2] < share)
    return _mix(clip, clip, (turn - since).clamp(0, frames - 1), there * draw[3] * STRONGEST)


def haunt(frames: Tensor, clip: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Add ghosts to frames that are about to be made noisy, each frame on its own.

    Args:
        frames: [B, F, ...] the last F frames of `clip`.
        clip: [B, T, ...], T >= F.
        share: of frames that get any.

    Returns:
        [B, F, ...].
    """
    batch, count = frames.shape[:2]
    draw = torch.rand(3, batch, count, generator=generator)
    source = torch.arange(clip.shape[1] - count, clip.shape[1]) - 1 - (draw[0] * _FARTHEST).long()
    return _mix(frames, clip, source.clamp(min=0), (draw[1] < share) * draw[2] * STRONGEST)


def _mix(frames: Tensor, clip: Tensor, source: Tensor, amount: Tensor) -> Tensor:
    """Mix frame `source` [B, F] of a clip into each frame by `amount` [B, F]."""
    rows = torch.arange(len(frames))[:, None]
    amount = amount.to(frames.device, frames.dtype)[(...,) + (None,) * (frames.ndim - 2)]
    return torch.lerp(frames, clip[rows.to(clip.device), source.to(clip.device)], amount)
