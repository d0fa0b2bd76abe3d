"""Training losses: the clean picture, weighted towards what moves, and the outcome of a step."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(kw_only=True)
class LossConfig:
    """Weights of the parts of the loss."""

    motion: float = 8.0
    """extra weight of pixels that changed since the frame before, the real one or the one shown"""
    motion_threshold: float = 0.05
    """change, in [0, 1] pixel units, that counts as motion"""
    rarity: float = 0.05
    """added to a pixel's spread over the recording, in [0, 1] pixel units, before its weight is taken as the inverse"""
    outcome: float = 0.05
    """weight of the reward and termination losses"""
    opening: float = 1.0
    """weight of frames drawn from nothing (`trainer.openings`), whose loss stays large: most of them cannot be known"""
    low_noise: float = 0.0
    """exponent p of an extra weight 1 / max(t, 0.1)**p; 2 gives the velocity loss"""


def motion_weight(frames: Tensor, before: Tensor, config: LossConfig) -> Tensor:
    """1 for still pixels, 1 + motion where any channel changed. uint8 [..., H, W, 3] each -> float [..., H, W, 1]."""
    change = (frames.to(torch.int16) - before.to(torch.int16)).abs().amax(-1, keepdim=True)
    return 1 + config.motion * (change > config.motion_threshold * 255).float()


def rarity_weight(spread: Tensor, config: LossConfig) -> Tensor:
    """Weight of every place: where little ever happens, what happens counts more. Mean 1.

    A place that a paddle covers a tenth of the time varies twenty times as much as one that a ball crosses now and
    then; weighing both alike, a network polishes paddles and loses balls.

    Args:
        spread: float [H, W, 3] standard deviation of every pixel over a recording, in [0, 1] pixel units.

    Returns:
        float [H, W, 1].
    """
    weight = 1 / (spread.amax(-1, keepdim=True) + config.rarity)
    return weight / weight.mean()


def picture_loss(estimate: Tensor, target: Tensor, weight: Tensor, times: Tensor, config: LossConfig) -> Tensor:
    """Weighted squared error of the clean estimate, per frame.

    Args:
        estimate, target: [B, T, H, W, 3] in model units.
        weight: [B, T, H, W, 1].
        times: [B, T] noise times.

    Returns:
        [B, T]; 0 where a frame was clean.
    """
    error = (weight * (estimate.float() - target.float()).square()).mean((-1, -2, -3))
    scale = times.clamp(min=0.1) ** -config.low_noise
    return error * scale * (times > 0)


def outcome_loss(reward_logits: Tensor, termination_logits: Tensor, rewards: Tensor, terminated: Tensor) -> Tensor:
    """Cross-entropy of the reward class plus binary cross-entropy of the termination, mean over N frames; 0 for none.

    Args:
        reward_logits: [N, K].
        termination_logits: [N].
        rewards: int64 [N] classes.
        terminated: float [N], 0 or 1.
    """
    if not len(rewards):
        return reward_logits.sum()
    reward = F.cross_entropy(reward_logits, rewards)
    return reward + F.binary_cross_entropy_with_logits(termination_logits, terminated)
