"""The mean picture of every condition: what never moves in one game of several is told apart from what does."""

import torch
from torch import Tensor, nn

from .actions import Actions


class Backdrops(nn.Module):
    """Moves frames between the units of `FrameScaler`, with one mean picture for all, and those of their condition.

    Under condition k a frame x_t = (1 - t) x_0 + t eps becomes x_t - (1 - t) c_k: the noisy frame, with the same noise,
    of a clean one from which the mean picture of k was subtracted. So a world of two games sees each as a world of that
    game alone does, while everything outside the network has one kind of frames.
    """

    pictures: Tensor

    def __init__(self, actions: Actions, frame_shape: tuple[int, int, int]):
        super().__init__()
        self.kind = actions
        self.register_buffer("pictures", torch.zeros(actions.conditions, *frame_shape))  # c, in model units

    def forward(self, told: Tensor, levels: Tensor | None = None) -> Tensor:
        """What frames have of their backdrops.

        Args:
            told: [B, T, ...] of frames, with their conditions; where that is none, there is no frame: nothing is moved.
            levels: [B, T] in [0, 1]; None: all clean.

        Returns:
            [B, T, H, W, 3].
        """
        under = self.kind.condition(told)
        share = (under >= 0).to(self.pictures.dtype) * (1 if levels is None else 1 - levels.to(self.pictures.dtype))
        return share[..., None, None, None] * self.pictures[under.clamp(min=0)]

    def set_means(self, means: Tensor, mean: Tensor, scale: float) -> None:
        """Take the mean pictures of the conditions, [K, H, W, 3], beside that of all, [H, W, 3], in [0, 1]."""
        self.pictures.copy_((means - mean) / scale)
