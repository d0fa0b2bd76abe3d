"""Counting arithmetic: what a step costs, and what the processor can do."""

import time

import torch

from .decoder import COMPETE_AFTER, DILATIONS
from .model_config import WorldModelConfig
from .sampler import SamplerConfig


def frame_flops(config: WorldModelConfig, context: int | None = None, draw: bool = True) -> float:
    """FLOP of one frame through the network, a multiply-add counted as two.

    Args:
        context: frames attended to in windowed layers, the frame itself included; None takes the full window.
        draw: whether the frame is drawn; a commit and a teacher's context are not.
    """
    tokens, dim = config.tokens, config.dim
    rows, cols, channels = 1, 1, config.frame_shape[2]
    if not config.latents:
        rows, cols = config.patch
    patch, sums = rows * cols * channels, channels * (rows + cols)
    block = 2 * dim * dim * (4 + 2 * config.mlp_ratio)
    reading = 2 * (patch + sums) * (1 + config.history) * dim
    attention = sum(4 * dim * tokens * (1 if w == 1 else min(w, context or w)) for w in config.windows)
    modulation = 2 * (dim // 2) * (config.layers * 6 * dim + 2 * dim)
    return tokens * (config.layers * block + reading + attention) + modulation + (
        drawing_flops(config) if draw else 0)


def drawing_flops(config: WorldModelConfig) -> float:
    """FLOP of the decoder for one frame; an AR-VAE's are not among them."""
    if config.latents:
        return float(2 * config.tokens * config.dim * config.latents[2])
    width, steps = config.channels, len(DILATIONS)
    cells = config.height * config.width // 4
    inputs = 12 * (2 + config.history) + config.canvas
    convolutions = 2 * 9 * cells * width * (inputs + steps * width + 12)
    competition = 2 * len(COMPETE_AFTER) * config.kinds * width * (4 * cells + width)
    modulation = 2 * (config.dim // 2) * 2 * width * steps
    return convolutions + competition + 2 * cells * config.dim * config.canvas + modulation


def training_flops(config: WorldModelConfig, batch: int, frames: int) -> float:
    """FLOP of a teacher-forced training step: every frame twice, forward and backward (three times forward)."""
    context = min(config.window, frames)
    return 3 * batch * frames * (frame_flops(config, context) + frame_flops(config, context, draw=False))


def served_flops(config: WorldModelConfig, sampler: SamplerConfig) -> float:
    """FLOP of a step of a served world whose window is full: the passes that draw, and the commit."""
    looks, ways = 1 if sampler.reuse else sampler.steps, 1 if sampler.guidance == 1 else 2
    return (ways * looks + 1) * frame_flops(config, draw=False) + ways * sampler.steps * drawing_flops(config)


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
