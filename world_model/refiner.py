"""Small convolutions over the whole picture that finish what the tokens drafted.

A token of 256 numbers places a paddle well and a one-pixel ball badly. Pixel by pixel, though, small things move by
rules that are the same everywhere: convolutions learn them once, not once per place in a patch. Dilations 1, 2, 4 and 1
look 8 pixels far, further than anything small moves in a step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Refiner(nn.Module):
    """Correction of a drafted frame from the draft, the noisy frame, the frames before it and the mean picture."""

    def __init__(self, history: int, channels: int, condition_dim: int):
        super().__init__()
        self.read = nn.Conv2d(3 * (3 + history), channels, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in (2, 4))
        self.draw = nn.Conv2d(channels, 3, 3, padding=1)
        self.modulation = nn.Linear(condition_dim, 6 * channels)
        for weight in [*self.draw.parameters(), *self.modulation.parameters()]:
            nn.init.zeros_(weight)

    def forward(self, draft: Tensor, seen: list[Tensor], mean: Tensor, condition: Tensor) -> Tensor:
        """Refine B*T frames, each on its own.

        Args:
            draft: [B, T, H, W, 3].
            seen: the noisy frame as it was fed in and the `history` frames before it, each like `draft`.
            mean: [H, W, 3] the data set's mean picture, which shows what never moves.
            condition: [B, T, C] embedding of level and actions.

        Returns:
            [B, T, H, W, 3] the draft plus the correction.
        """
        inputs = torch.cat([draft, *seen, mean.to(draft.dtype).expand_as(draft)], -1)
        x = inputs.flatten(0, 1).permute(0, 3, 1, 2)  # [B*T, C, H, W], channels last in memory
        told = self.modulation(condition).flatten(0, 1)[:, :, None, None].chunk(6, 1)
        x = self.read(x)
        for i, layer in enumerate([*self.middle, self.draw]):
            x = layer(F.gelu(x * (1 + told[2 * i]) + told[2 * i + 1], approximate="tanh"))
        return draft + x.permute(0, 2, 3, 1).reshape(draft.shape).to(draft.dtype)
