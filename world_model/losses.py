"""Training losses: the clean picture, weighted towards what moves, and the outcome of a step."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(kw_only=True)
class LossConfig:
    """Weights of the parts of the loss."""

    motion: float = 8.0
    """extra weight of pixels that changed since the frame before"""
    motion_threshold: float = 0.02
    """change, in [0, 1] pixel units, that counts as motion"""
    outcome: float = 0.05
    """weight of the reward and termination losses"""
    low_noise: float = 0.0
    """exponent p of an extra weight 1 / max(t, 0.1)**p; 2 gives the velocity loss"""


def motion_weight(frames: Tensor, before: Tensor, config: LossConfig) -> Tensor:
    """1 for still pixels, 1 + motion where any channel changed. uint8 [..., H, W, 3] each -> float [..., H, W, 1]."""
    change = (frames.to(torch.int16) - before.to(torch.int16)).abs().amax(-1, keepdim=True)
    return 1 + config.motion * (change > config.motion_threshold * 255).float()


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
    """Cross-entropy of the reward class plus binary cross-entropy of the termination, mean over [B, T]."""
    reward = F.cross_entropy(reward_logits.flatten(0, 1), rewards.flatten())
    return reward + F.binary_cross_entropy_with_logits(termination_logits, terminated)
