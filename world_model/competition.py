"""Places of a picture that compete to be the one thing there is: what convolutions, deciding place by place, cannot do.

Where the next frame is uncertain, a bounce say, each place that may hold the ball draws a bit of one, and the passes
that follow make every bit a ball. Here each place claims to be it, claims are weighed against those of all other
places (a softmax over the picture, as in spatial autoencoders, Finn et al. 2016, arXiv:1509.06113), and every place is
told how it did and what the winners look like. The less noise is left, the less a second-best place gets: by the last
pass there must be one winner.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SHARPNESS = 8.0  # of the softmax at pure noise, at the start of training: enough that places differ
_SERVED = 2.0  # times as sharp in eval mode: trained on squared errors, claims hedge
_LOWEST = 0.2  # level at which it is sharpest


class Competition(nn.Module):
    """Adds to every place what it won and who won; adds nothing before training. Sharper in eval mode."""

    def __init__(self, channels: int, kinds: int):
        super().__init__()
        self.claim = nn.Linear(channels, kinds)
        self.tell = nn.Linear(2 * kinds, channels)
        self.announce = nn.Linear(kinds * channels, channels, bias=False)
        for weight in [*self.tell.parameters(), *self.announce.parameters()]:
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, levels: Tensor) -> Tensor:
        """[B, C, H, W], levels [B] in [0, 1] -> [B, C, H, W]."""
        places = x.permute(0, 2, 3, 1).flatten(1, 2)
        seen = F.relu(F.layer_norm(places.float(), places.shape[2:], eps=1e-5)).to(x.dtype)
        strength = sharpness(levels, self.training)
        claims = strength[:, None, None] * self.claim(seen).float()  # [B, H*W, K]
        share = claims.softmax(1)
        beside_best = (claims - claims.amax(1, keepdim=True)).exp()
        won = share.to(seen.dtype).transpose(1, 2) @ seen  # [B, K, C]
        told = self.tell(torch.cat([share, beside_best], -1).to(x.dtype)) + self.announce(won.flatten(1))[:, None]
        return x + told.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def sharpness(levels: Tensor, training: bool) -> Tensor:
    """What claims are multiplied by before the softmax, at levels in [0, 1]; shaped like them."""
    return _SHARPNESS * (1.0 if training else _SERVED) / levels.clamp(min=_LOWEST)
