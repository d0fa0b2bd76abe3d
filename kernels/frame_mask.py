"""Which frames see which, as masks: for references and for torch's attention. The triton kernels have none."""

import torch
from torch import Tensor


def frame_mask(frames: int, window: int, sinks: int = 0, device: torch.device | None = None,
               starts: Tensor | None = None) -> Tensor:
    """Key frames a query frame may see: bool [B, frames, frames], rows are queries; B = 1 without `starts`.

    Args:
        window: frames seen, the frame itself included.
        sinks: first frames of an episode that stay visible beyond the window.
        starts: int32 [B, frames], where the episode of each frame begins.
    """
    f = torch.arange(frames, device=device)[:, None]
    g = torch.arange(frames, device=device)[None, :]
    begun = torch.zeros(1, frames, 1, dtype=torch.int32, device=device) if starts is None else starts[:, :, None]
    return (begun <= g) & (g <= f) & ((f - g < window) | (g - begun < sinks))


def teacher_mask(frames: int, window: int, sinks: int = 0, device: torch.device | None = None) -> Tensor:
    """Mask of a clip given twice, clean frames 0..T-1 then noisy frames 1..T: bool [2T, 2T].

    Clean frame i sees clean frames <= i. Noisy frame i sees clean frames < i and itself, nothing else
    (skip-causal attention, ACDiT, arXiv:2412.07720). Both within the window, which counts the frame itself.
    """
    whole = frame_mask(frames + 1, window, sinks, device)[0]
    mask = torch.zeros(2 * frames, 2 * frames, dtype=torch.bool, device=device)
    mask[:frames, :frames] = whole[:frames, :frames]
    past = whole & ~torch.eye(frames + 1, dtype=torch.bool, device=device)
    mask[frames:, :frames] = past[1:, :frames]
    mask[frames:, frames:] = torch.eye(frames, dtype=torch.bool, device=device)
    return mask
