"""Real starting clips that ship with a world, stored as a small Zarr group."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec


@dataclass
class Contexts:
    """M clips of k frames each."""

    frames: np.ndarray
    """uint8 [M, k, H, W, 3]"""
    actions: np.ndarray
    """int64 [M, k - 1] or float32 [M, k - 1, A]; `actions[:, i]` was taken after seeing `frames[:, i]`"""

    def __len__(self) -> int:
        return len(self.frames)

    def save(self, path: Path) -> None:
        """Write a Zarr v3 group with arrays `frames` and `actions`."""
        group = zarr.create_group(path, overwrite=True)
        for name, data in (("frames", self.frames), ("actions", self.actions)):
            chunks = (min(16, len(data)), *data.shape[1:]) if name == "frames" else data.shape
            group.create_array(name, data=data, chunks=chunks, compressors=ZstdCodec(level=9))

    @staticmethod
    def load(path: Path) -> "Contexts":
        """Read what `save` wrote.

        Raises:
            ValueError: if the arrays do not belong together.
        """
        group = zarr.open_group(path, mode="r")
        frames, actions = np.asarray(group["frames"][:]), np.asarray(group["actions"][:])  # type: ignore[index]
        if frames.ndim != 5 or frames.dtype != np.uint8 or actions.shape[:2] != (frames.shape[0], frames.shape[1] - 1):
            raise ValueError(f"contexts must be uint8 [M, k, H, W, 3] with actions [M, k-1, ...], "
                             f"got {frames.dtype} {list(frames.shape)} and {list(actions.shape)}")
        return Contexts(frames, actions.astype(np.float32 if actions.dtype.kind == "f" else np.int64))
