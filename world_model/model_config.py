"""Sizes of a world's network, and which of them are possible."""

import math
from dataclasses import dataclass, field

import numpy as np

from .actions import Actions


@dataclass(kw_only=True)
class WorldModelConfig:
    """Sizes of the network and of the pictures it draws."""

    height: int = 104
    """picture rows, pixels"""
    width: int = 80
    """picture columns, pixels"""
    patch: list[int] = field(default_factory=lambda: [26, 16])
    """rows and columns of a patch, pixels; even numbers that divide height and width"""
    latents: list[int] = field(default_factory=list)
    """rows and columns of tokens, and numbers per token, of the AR-VAE that makes the pictures; empty: patches of
    pixels are tokens, and the network draws pixels itself. With an AR-VAE patch, channels, canvas and kinds mean
    nothing"""
    history: int = 2
    """earlier frames that a token and the decoder read directly"""
    channels: int = 48
    """of the decoder's convolutions"""
    canvas: int = 16
    """channels on which tokens tell the decoder what to draw"""
    kinds: int = 8
    """of things for which the places of a picture compete in the decoder; 0 for none"""
    num_actions: int = 6
    """discrete actions; of no meaning where actions are continuous"""
    action_low: list[float] = field(default_factory=list)
    """least value of each number of a continuous action; empty where actions are discrete"""
    action_high: list[float] = field(default_factory=list)
    """largest value likewise"""
    conditions: list[str] = field(default_factory=list)
    """names of what frames are drawn under: the games of a world that holds several, say; empty: there is only one"""
    action_memory: int = 3
    """earlier actions a frame is told besides the one that leads to it"""
    reward_values: list[float] = field(default_factory=lambda: [-1.0, 0.0, 1.0])
    """rewards the world can give, ascending"""
    dim: int = 256
    """token width"""
    layers: int = 6
    heads: int = 4
    mlp_ratio: int = 4
    window: int = 18
    """frames a frame attends to, itself included"""
    sinks: int = 0
    """first frames that stay visible beyond the window"""
    temporal_every: int = 3
    """every so many layers attention spans the window; in the others a frame sees only itself"""
    pixel_scale: float = 0.25
    """spread, in [0, 1] pixel units, that becomes 1 in model units"""

    def __post_init__(self) -> None:
        self.patch, self.latents = list(self.patch), list(self.latents)
        self.reward_values = [float(r) for r in self.reward_values]
        bounds = {"height": 2048, "width": 2048, "num_actions": 4096, "dim": 8192, "layers": 128, "heads": 128,
                  "mlp_ratio": 16, "window": 4096, "temporal_every": 128,
                  "channels": 1024, "canvas": 1024}
        for name, high in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= high:
                raise ValueError(f"{name} must be an integer from 1 to {high}, got {value!r}")
        for name in ("history", "sinks", "action_memory", "kinds"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= 64:
                raise ValueError(f"{name} must be an integer from 0 to 64, got {value!r}")
        if len(self.patch) != 2 or min(self.patch) < 2 or any(p % 2 for p in self.patch):
            raise ValueError(f"patch must be two even numbers, got {self.patch}")
        if self.latents and (len(self.latents) != 3 or min(self.latents) < 1 or max(self.latents) > 1024):
            raise ValueError(f"latents must be empty or three integers from 1 to 1024, rows and columns of tokens and "
                             f"numbers per token, got {self.latents}")
        if self.dim % self.heads or (self.dim // self.heads) % 8:
            raise ValueError(f"dim must be heads times a multiple of 8, got dim {self.dim}, heads {self.heads}")
        self.action_low, self.action_high = ([float(x) for x in bound] for bound in (self.action_low, self.action_high))
        between = zip(self.action_low, self.action_high, strict=False)
        if (len(self.action_low) != len(self.action_high) or len(self.action_low) > 64
                or not all(-1e6 <= low < high <= 1e6 for low, high in between)):
            raise ValueError("action_low and action_high must be as many finite numbers, at most 64, each low below "
                             f"its high, got {self.action_low} and {self.action_high}")
        self.conditions = [str(name) for name in self.conditions]
        if len(self.conditions) > 1024 or len(set(self.conditions)) < len(self.conditions):
            raise ValueError(f"conditions must be at most 1024 different names, got {self.conditions}")
        if self.conditions and self.action_memory < self.history:
            raise ValueError(f"a world with conditions needs action_memory of at least history = {self.history}, got "
                             f"{self.action_memory}: the frames before are under those of their actions")
        if not self.reward_values or len(self.reward_values) > 1024:
            raise ValueError(f"reward_values must hold 1 to 1024 values, got {len(self.reward_values)}")

    def check_patch(self) -> None:
        """Whether patches cut the picture; asked when a network is made, for a recording decides the picture's size.

        Raises:
            ValueError: if they do not.
        """
        if not self.latents and (self.height % self.patch[0] or self.width % self.patch[1]):
            raise ValueError(f"patch must be two even numbers that divide the picture {self.height}x{self.width}, "
                             f"got {self.patch}")

    def fit(self, height: int, width: int, actions: Actions, reward_values: list[float]) -> None:
        """Take over what a recording decides. A patch that suits the old picture size gives way to one for the new.

        Raises:
            ValueError: if no patch, or not the one asked for, fits the pictures.
        """
        suited = self.patch == suited_patch(self.height, self.width)
        self.height, self.width, self.reward_values = height, width, reward_values
        self.num_actions, self.action_low, self.action_high = max(1, actions.count), [*actions.low], [*actions.high]
        if suited:
            self.patch = suited_patch(height, width)
        self.__post_init__()
        self.check_patch()

    @property
    def actions(self) -> Actions:
        """What an action is."""
        return Actions(0 if self.action_low else self.num_actions, tuple(self.action_low), tuple(self.action_high),
                       len(self.conditions))

    @property
    def tokens(self) -> int:
        """Tokens per frame."""
        return self.grid[0] * self.grid[1]

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Of a frame as the network knows it: (H, W, 3) pixels, or rows, columns and numbers of an AR-VAE's tokens."""
        height, width, channels = self.latents or (self.height, self.width, 3)
        return height, width, channels

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        if self.latents:
            return self.latents[0], self.latents[1]
        return self.height // self.patch[0], self.width // self.patch[1]

    @property
    def windows(self) -> list[int]:
        """Window of every layer, in frames, the frame itself included."""
        every = self.temporal_every
        return [self.window if i % every == every - 1 else 1 for i in range(self.layers)]

    @property
    def planes(self) -> list[int]:
        """Rotation planes of a head given to time, row and column."""
        half = self.dim // self.heads // 2
        spatial = 3 * half // 8
        return [half - 2 * spatial, spatial, spatial]


def suited_patch(height: int, width: int) -> list[int]:
    """Rows and columns of patches that are not far from square and cut a picture into about 24.

    Raises:
        ValueError: if a side is odd.
    """
    rows, cols = ([n for n in range(2, side + 1, 2) if side % n == 0] for side in (height, width))
    if not rows or not cols:
        raise ValueError(f"pictures must have even sides, got {height}x{width}; record them with another size=")

    def oddness(patch: tuple[int, int]) -> float:
        tokens = height * width / (patch[0] * patch[1])
        return abs(math.log(tokens / 24)) + 0.75 * abs(math.log(patch[0] / patch[1]))

    patches = [(row, col) for row in rows for col in cols]
    best = min(patches, key=oddness)
    return [*best]


def reward_choices(rewards: np.ndarray, most: int = 64) -> list[float]:
    """The values among which a world chooses its rewards, ascending: all there are, or as many of them spread evenly.

    Args:
        rewards: every reward of a recording.
        most: values, besides 0, which is always one.
    """
    given = np.sort(rewards[rewards != 0].astype(np.float64))
    values = _apart(given)
    if len(values) > most:  # evenly among the rewards that were given, the smallest and the largest included
        values = _apart(given[np.linspace(0, len(given) - 1, most).round().astype(int)])
    return sorted({*map(float, values), 0.0})


def _apart(ascending: np.ndarray) -> np.ndarray:
    """Those values that differ by more than sums rounded otherwise do."""
    if not len(ascending):
        return ascending
    return ascending[np.append(True, np.diff(ascending) > 1e-6 * (ascending[-1] - ascending[0]))]
