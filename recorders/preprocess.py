"""Frames as a world sees them: cropped and shrunk by averaging, colours kept."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs
from PIL import Image

MOST_PIXELS = 96 * 96


@dataclass(kw_only=True)
class FrameConfig:
    """What is cut out of a game's picture and how large it becomes. The defaults suit Atari's Pong."""

    size: list[int] | None = field(default_factory=lambda: [104, 80])
    """height and width of the frames that come out, in pixels; None: `suited_size` of what is kept"""
    crop: list[int] | None = field(default_factory=lambda: [0, 208, 0, 160])
    """top, bottom, left, right of what is kept, in pixels of the game's picture; None keeps all of it"""

    def __post_init__(self) -> None:
        if self.size is not None:
            self.size = [int(n) for n in self.size]
            if len(self.size) != 2 or min(self.size) < 1:
                raise ValueError(f"size must be [height, width], both at least 1 pixel, got {self.size}")
        if self.crop is None:
            return
        self.crop = [int(n) for n in self.crop]
        if len(self.crop) != 4:
            raise ValueError(f"crop must be [top, bottom, left, right] or null, got {self.crop}")
        top, bottom, left, right = self.crop
        if min(top, left) < 0 or bottom <= top or right <= left:
            raise ValueError(f"crop must be 0 <= top < bottom and 0 <= left < right, got {self.crop}")


class PreprocessFrames(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Crop and resize uint8 [H, W, 3] observations; every output pixel is the mean of the area it covers.

    Args:
        env: an environment whose observations are uint8 [H, W, 3].
        config: what is kept and how large it becomes.

    Attributes:
        size: height and width of the frames.

    Raises:
        ValueError: if observations are of another kind, or the crop reaches outside of them.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], config: FrameConfig) -> None:
        RecordConstructorArgs.__init__(self, config=config)
        gymnasium.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if not is_picture(space):
            raise ValueError(f"PreprocessFrames needs observations uint8 [H, W, 3], this game has {space}")
        height, width = space.shape[:2]  # type: ignore[index]
        top, bottom, left, right = config.crop or [0, height, 0, width]
        if bottom > height or right > width:
            raise ValueError(
                f"crop {config.crop} reaches outside the game's picture of {height} x {width} pixels; "
                f"use at most [0, {height}, 0, {width}]"
            )
        self.size = config.size or suited_size(bottom - top, right - left)
        self._box = (left, top, right, bottom)
        self.observation_space = Box(0, 255, (*self.size, 3), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Uint8 [H, W, 3] of the game's size to a new uint8 array of the configured size."""
        height, width = self.size
        picture = Image.fromarray(observation)
        return np.array(picture.resize((width, height), Image.Resampling.BOX, box=self._box))


def suited_size(height: int, width: int) -> list[int]:
    """Height and width that a small network learns on two CPU cores: about 9,000 pixels, both multiples of 8.

    Halved as often as it takes where that comes out even, so that what was on whole pixels stays there; pictures that
    are small already keep their size if it can be kept.

    Args:
        height: of the game's picture, in pixels.
        width: likewise.
    """
    for shrink in (1, 2, 4, 8, 16):
        if height * width <= shrink**2 * MOST_PIXELS and not (height % (8 * shrink) or width % (8 * shrink)):
            return [height // shrink, width // shrink]
        if height * width * 4 <= shrink**2 * MOST_PIXELS:
            break
    scale = min(1.0, (MOST_PIXELS / (height * width)) ** 0.5)
    return [max(16, 8 * round(side * scale / 8)) for side in (height, width)]


def is_picture(space: gymnasium.Space[Any]) -> bool:
    """Whether a space holds colour pictures, uint8 [H, W, 3]."""
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[-1] == 3
