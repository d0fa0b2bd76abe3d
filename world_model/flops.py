"""Counting arithmetic: what a step costs, and what the processor can do."""

import time

import torch

from .model import WorldModelConfig


def frame_flops(config: WorldModelConfig, context: int | None = None) -> float:
    """FLOP of one frame through the network, a multiply-add counted as two.

    Args:
        context: frames attended to in windowed layers, the frame itself included; None takes the full window.
    """
    tokens, dim = config.tokens, config.dim
    patch = config.patch[0] * config.patch[1] * 3
    block = 2 * dim * dim * (4 + 2 * config.mlp_ratio)
    sides, area = config.patch[0] + config.patch[1], config.patch[0] * config.patch[1]
    reading = 2 * (patch + 3 * sides) * (1 + config.history) * dim
    drawing = 2 * dim * 2 * dim + 2 * 2 * dim * (patch + config.products * (sides + 3)) + 7 * config.products * area
    ends = reading + drawing
    if config.refiner:
        width = config.refiner
        per_pixel = 2 * 9 * width * (3 * (3 + config.history) + 2 * width + 3)
        ends += per_pixel * area
    attention = sum(4 * dim * tokens * (1 if w == 1 else min(w, context or w)) for w in config.windows)
    modulation = config.layers * 2 * (dim // 2) * 6 * dim
    return tokens * (config.layers * block + ends + attention) + modulation


def training_flops(config: WorldModelConfig, batch: int, frames: int) -> float:
    """FLOP of a teacher-forced training step: every frame twice, forward and backward (three times forward)."""
    return 3 * 2 * batch * frames * frame_flops(config, min(config.window, frames))


def peak_flops(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """FLOP per second of a large matrix product here and now; best of five."""
    a, b = torch.randn(size, size, device=device).to(dtype), torch.randn(size, size, device=device).to(dtype)
    best = 0.0
    for _ in range(6):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        begun = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best
