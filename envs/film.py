"""A screen for machines without one: keeps every picture and writes them as a GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from .canvas import Canvas
from .scene import Scene
from .screen import Inputs


class Film:
    """Collects the pictures a window would have shown. Nobody presses keys, and nothing waits.

    Args:
        frame_shape: [H, W, 3] of the frames to come.
        scale: pixels of the picture per pixel of the frame.
        steps: how many pictures are to come; a terminal is shown how far it is.
    """

    def __init__(self, frame_shape: Sequence[int], scale: int, steps: int = 0) -> None:
        self._canvas = Canvas(frame_shape, scale)
        self._bar = tqdm(total=steps, desc="playing", unit="step", disable=None if steps else True, leave=False)
        self._pictures: list[Image.Image] = []

    def poll(self) -> Inputs:
        """Nothing happened."""
        return Inputs()

    def show(self, scene: Scene) -> None:
        """Keep the picture of a scene."""
        picture = Image.fromarray(self._canvas.draw(scene))
        self._bar.update()
        self._pictures.append(picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))

    def fullscreen(self) -> None:
        """There is no display."""

    def tick(self, fps: float) -> None:
        """Do not wait."""

    def close(self) -> None:
        """Forget the pictures."""
        self._bar.close()
        self._pictures.clear()

    def write(self, path: Path, fps: float) -> None:
        """Write what was shown as an endless GIF.

        Args:
            path: where to; its folder must exist.
            fps: pictures per second. A GIF counts in 1/100 s, so single pictures may last one longer than others.

        Raises:
            ValueError: if nothing was shown.
        """
        if not self._pictures:
            raise ValueError("nothing was shown, so there is no film to write: show at least one frame")
        ends = np.round(np.arange(len(self._pictures) + 1) * 100 / fps).astype(int)  # in 1/100 s
        first, *rest = self._pictures
        durations = [int(10 * lasts) for lasts in np.diff(ends)]  # in ms
        first.save(path, save_all=True, append_images=rest, duration=durations, loop=0)
