"""Noise that goes with the frame it is to become, so that it decides what the past leaves open.

Any noise can become any frame when the two are paired blindly: what noise alone cannot tell, a network draws as the
mean of what may come, two pale balls for one. In a pairing of least distance (multisample flow matching, Pooladian et
al. 2023, arXiv:2304.14772; immiscible diffusion, Li et al. 2024, arXiv:2406.12303) noise that looks a little more like
a ball here than there becomes a ball here, from the first pass on. The pairing is per frame: of several draws the one
is taken that lies farthest towards the real frame, seen from what was to be expected.
"""

import torch
from torch import Tensor


def couple(noise: Tensor, frames: Tensor, expected: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """The best of so many draws of noise for each frame.

    Only the noise's component along `frames - expected` matters to which draw is best. It is replaced by the largest
    of `draws` independent ones, which is the same in distribution and costs one draw.

    Args:
        noise: [B, T, H, W, 3] standard normal.
        frames: [B, T, H, W, 3] the frames that the noise is mixed into, in model units.
        expected: [B, T, H, W, 3] their expected value given the past.
        draws: 1 leaves the noise as it is.

    Returns:
        [B, T, H, W, 3].
    """
    if draws == 1:
        return noise
    away = (frames - expected).float()
    along = away / away.square().sum((-1, -2, -3), keepdim=True).sqrt().clamp(min=1e-6)
    now = (noise * along).sum((-1, -2, -3), keepdim=True)
    rank = torch.rand(now.shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    best = torch.special.ndtri(rank ** (1 / draws)).to(noise.device, noise.dtype)
    return noise + (best - now) * along.to(noise.dtype)
