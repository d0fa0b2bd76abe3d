"""Where tokens are: rotary tables over time, row and column (`kernels.axial_angles`), in float32 whatever the model is.

Queries and keys are rotated by row and column alone; time is added where frames meet. In a clip that is at once, in the
cache when it is read, by the distance between two frames: so nothing stored has to move.
"""

from functools import lru_cache

import torch
from torch import Tensor

from kernels import axial_angles, rotation_tables

from .model_config import WorldModelConfig

Tables = tuple[Tensor, Tensor]
"""cos and signed sin, float32 [tokens or distances, D/H]"""


class Rotation:
    """Tables for a network's grid of tokens; made once per device and length."""

    def __init__(self, config: WorldModelConfig):
        rows, cols = config.grid
        self.grid, self.planes = (rows, cols), tuple(config.planes)
        self.reach = config.sinks + config.window + 64

    def clip(self, times: list[int], device: torch.device) -> Tables:
        """Of all tokens of frames at these times: [T*N, D/H]."""
        return _tables(tuple(times), *self.grid, self.planes, device)

    def place(self, device: torch.device) -> Tables:
        """Of the tokens of one frame, un-rotated in time: [N, D/H]."""
        return self.clip([0], device)

    def distance(self, device: torch.device) -> Tables:
        """Of time alone, row d for a distance of d frames: [reach, D/H]."""
        return _tables(tuple(range(self.reach)), 1, 1, self.planes, device)


@lru_cache(maxsize=256)
def _tables(times: tuple[int, ...], rows: int, cols: int, planes: tuple[int, ...], device: torch.device) -> Tables:
    with torch.inference_mode(False):  # kept: training must be able to use what a rollout has made
        axes = torch.tensor(times), torch.arange(rows), torch.arange(cols)
        return rotation_tables(axial_angles(torch.cartesian_prod(*axes).to(device), list(planes)))
