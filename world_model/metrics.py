"""How alike two pictures are."""

import numpy as np
import torch
from torch.nn.functional import conv2d

HORIZONS = (1, 4, 8, 16, 32, 64)
"""steps after which pictures are compared"""

VISIBLE = 10
"""of 255; a pixel that changes by more than this has changed"""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""shares of red, green and blue in luminance (ITU-R BT.601)"""


def psnr(frames: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB over each frame, uint8 [..., H, W, 3] -> [...]; 60 where equal."""
    error = (frames.astype(np.float32) - real.astype(np.float32)) ** 2
    mean = error.mean((-1, -2, -3))
    return np.minimum(10 * np.log10(255**2 / np.maximum(mean, 1e-9)), 60)


def ssim(frames: np.ndarray, real: np.ndarray, window: int = 11, sigma: float = 1.5) -> np.ndarray:
    """Structural similarity of luminance, in [-1, 1], 1 where equal (Wang et al. 2004, with its constants).

    Args:
        frames, real: uint8 [N, H, W, 3].
        window: side of the Gaussian window; smaller pictures get the largest odd one that fits.
        sigma: its standard deviation, in pixels.

    Returns:
        float [N].
    """
    side = min(window, *(size - 1 + size % 2 for size in frames.shape[1:3]))
    kernel, parts = gaussian(side, sigma), []
    for i in range(0, len(frames), 64):
        a, b = (torch.from_numpy(luminance(x[i : i + 64])).double() for x in (frames, real))
        parts.append(similarity(a, b, kernel).numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


def luminance(frames: np.ndarray) -> np.ndarray:
    """How bright each pixel is, uint8 [..., H, W, 3] -> float32 [..., H, W] in [0, 255]."""
    return frames.astype(np.float32) @ LUMA


def motion(frames: np.ndarray) -> np.ndarray:
    """Mean difference of each picture from the one before it, without sign: uint8 [..., T, H, W, 3] -> [..., T - 1].

    Differences up to `VISIBLE` count as none: else noise that nobody sees could pass for the motion of small things.
    """
    steps = []
    for t in range(1, frames.shape[-4]):
        difference = np.abs(frames[..., t, :, :, :].astype(np.int16) - frames[..., t - 1, :, :, :])
        steps.append(np.where(difference > VISIBLE, difference, 0).mean((-1, -2, -3)))
    return np.stack(steps, -1) if steps else np.zeros((*frames.shape[:-4], 0))


def similarity(a: torch.Tensor, b: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """`ssim` of luminance [N, H, W] in [0, 255], differentiable: [N].

    Args:
        a, b: of one dtype.
        kernel: `gaussian` of that dtype.
    """
    maps = torch.stack([a, b, a * a, b * b, a * b], 1).flatten(0, 1)[:, None]  # [5 N, 1, H, W]
    smooth = conv2d(conv2d(maps, kernel[:, None]), kernel[..., None])  # rows, then columns
    mean_a, mean_b, aa, bb, ab = smooth.unflatten(0, (-1, 5))[:, :, 0].unbind(1)
    small, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    alike = (2 * mean_a * mean_b + small) * (2 * (ab - mean_a * mean_b) + contrast)
    spread = (mean_a**2 + mean_b**2 + small) * (aa - mean_a**2 + bb - mean_b**2 + contrast)
    return (alike / spread).mean((1, 2))


def gaussian(side: int, sigma: float) -> torch.Tensor:
    """Weights float64 [1, 1, side] that sum to one."""
    weights = torch.exp(-0.5 * ((torch.arange(side).double() - (side - 1) / 2) / sigma) ** 2)
    return (weights / weights.sum())[None, None]
