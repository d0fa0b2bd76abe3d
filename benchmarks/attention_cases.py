"""What `benchmarks.attention` measures: shapes, what is visible in them, and the least they can cost."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels import frame_mask, teacher_mask


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table."""

    name: str
    kind: str
    """train: whole clips; teacher: clean and noisy copies; window: frames in flight against a ring cache"""
    batch: int
    frames: int
    """of a clip (of one copy), or in flight"""
    P: int
    heads: int = 16
    width: int = 64
    window: int | None = None
    sinks: int = 0
    cached: int = 0
    """frames in the ring cache"""
    backward: bool = False
    int8: bool = False
    rope: bool = False
    """temporal rotation on the query side"""

    @property
    def rows(self) -> int:
        """Query frames."""
        return 2 * self.frames if self.kind == "teacher" else self.frames

    def visible(self) -> Tensor:
        """Bool [query frames, key frames]; cached frames come first."""
        if self.kind == "teacher":
            return teacher_mask(self.frames, min(self.window or self.frames + 1, self.frames + 1), self.sinks)
        if self.kind == "train":
            return frame_mask(self.frames, self.window or self.frames, self.sinks)[0]
        fresh = torch.ones(self.frames, self.frames, dtype=torch.bool).tril()
        return torch.cat([torch.ones(self.frames, self.cached, dtype=torch.bool), fresh], 1)

    def flops(self) -> float:
        """Multiply-adds counted twice, of visible pairs alone; backward costs two and a half times forward."""
        pairs = int(self.visible().sum()) * self.P**2 * self.batch * self.heads
        return 4 * self.width * pairs * (3.5 if self.backward else 1)

    def nbytes(self, itemsize: int) -> float:
        """Bytes read and written at least: every input once, every output once."""
        frame = self.batch * self.P * self.heads * self.width
        fresh = 4 * self.rows * frame * itemsize * (3 if self.backward else 1)
        return fresh + 2 * self.cached * frame * (1 if self.int8 else itemsize)


def gpu_cases() -> list[Case]:
    """The table of research/kernels.md, section 8."""
    train: list[dict[str, Any]] = [
        {"name": "T1 train", "batch": 8, "frames": 16, "P": 256},
        {"name": "T3 train window 8, 1 sink", "batch": 8, "frames": 32, "P": 256, "window": 8, "sinks": 1},
        {"name": "T4 train window 16, 1 sink", "batch": 8, "frames": 64, "P": 64, "window": 16, "sinks": 1},
        {"name": "T5 train P=144", "batch": 8, "frames": 16, "P": 144},
        {"name": "T6 train D=128", "batch": 8, "frames": 16, "P": 256, "heads": 8, "width": 128},
    ]
    cases = [Case(kind="train", backward=backward, **row | {"name": row["name"] + (" fwd+bwd" if backward else " fwd")})
             for row in train for backward in (False, True)]
    cases.append(Case(name="T7 teacher window 8 fwd+bwd", kind="teacher", batch=8, frames=16, P=256, window=8,
                      backward=True))
    window: list[dict[str, Any]] = [
        {"name": "I1 B1 W1 P64 C16", "batch": 1, "frames": 1, "P": 64, "cached": 16},
        {"name": "I2 B1 W1 P256 C16", "batch": 1, "frames": 1, "P": 256, "cached": 16},
        {"name": "I3 B1 W4 P256 C16", "batch": 1, "frames": 4, "P": 256, "cached": 16},
        {"name": "I4 B1 W1 P256 C64", "batch": 1, "frames": 1, "P": 256, "cached": 64},
        {"name": "I5 B64 W1 P64 C16", "batch": 64, "frames": 1, "P": 64, "cached": 16},
        {"name": "I5 B64 W1 P64 C16 int8", "batch": 64, "frames": 1, "P": 64, "cached": 16, "int8": True},
        {"name": "I6 B64 W4 P256 C16", "batch": 64, "frames": 4, "P": 256, "cached": 16},
        {"name": "I7 B1 W4 P256 C16 rope", "batch": 1, "frames": 4, "P": 256, "cached": 16, "rope": True},
    ]
    return cases + [Case(kind="window", **row) for row in window]


def cpu_cases() -> list[Case]:
    """What the shipped world and a small one do."""
    return [
        Case(name="Pong step", kind="window", batch=1, frames=1, P=20, heads=4, cached=17, rope=True),
        Case(name="Pong, 16 worlds", kind="window", batch=16, frames=1, P=20, heads=4, cached=17, rope=True),
        Case(name="64 tokens", kind="window", batch=1, frames=1, P=64, heads=8, cached=16, rope=True),
        Case(name="Pong clips fwd", kind="teacher", batch=3, frames=22, P=20, heads=4, window=18),
        Case(name="Pong clips fwd+bwd", kind="teacher", batch=3, frames=22, P=20, heads=4, window=18, backward=True),
        Case(name="16 frames fwd+bwd", kind="train", batch=1, frames=16, P=64, heads=8, window=8, backward=True),
    ]
