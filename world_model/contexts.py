"""Real starting clips that ship with a world, stored as a small Zarr group."""

from dataclasses import dataclass, field
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
    conditions: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64 [M] number of the condition that each is under; zeros where the world has none"""

    def __post_init__(self) -> None:
        if not len(self.conditions):
            self.conditions = np.zeros(len(self.frames), np.int64)

    def __len__(self) -> int:
        return len(self.frames)

    def save(self, path: Path) -> None:
        """Write a Zarr v3 group with arrays `frames` and `actions`, and `conditions` where there is more than one."""
        group = zarr.create_group(path, overwrite=True)
        arrays = {"frames": self.frames, "actions": self.actions}
        for name, data in (arrays | ({"conditions": self.conditions} if self.conditions.any() else {})).items():
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
        conditions = np.asarray(group["conditions"][:]) if "conditions" in group else np.zeros(len(frames), np.int64)  # type: ignore[index]
        if conditions.shape != frames.shape[:1] or conditions.dtype.kind not in "iu":
            raise ValueError(f"conditions must be {len(frames)} integers, got {conditions.dtype} "
                             f"{list(conditions.shape)}")
        kind = np.float32 if actions.dtype.kind == "f" else np.int64
        return Contexts(frames, actions.astype(kind), conditions.astype(np.int64))
