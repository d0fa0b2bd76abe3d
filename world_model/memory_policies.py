"""Cache policies: what a rollout remembers once it is longer than the window that its world was trained with.

All are of one size: the keys and values of `window - 1` frames per layer.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kernels import RingCache, apply_rope, axial_angles, rotation_tables

from .memory import Memory
from .model_config import WorldModelConfig

ALPHAS = 0.01, 0.1
"""shares by which a frame that leaves moves the long and the short memory frame"""


class Participative(Memory):
    """Of frames that leave, the tokens most asked for (Participative Compression of Deep Forcing, arXiv:2512.05081).

    A token's score is the sum of its products with all queries of the frame committed last, over all heads; those that
    are kept stay in the order of time and close up, so that nothing is missing between sinks and the last frames.
    """

    def __init__(self, batch: int, sinks: int, middle: int, recent: int, P: int, heads: int, width: int,
                 like: Tensor, horizon: int):
        super().__init__(batch, sinks, middle, recent, P, heads, width, like, horizon)
        self.asked = torch.zeros(batch, heads, width, dtype=torch.float32, device=like.device)
        """sum of the queries of the frame committed last"""
        self.frames_between = middle // P

    def note(self, q: Tensor) -> None:
        """Sum the queries of the last of these frames."""
        self.asked = q[:, -self.P :].float().sum(1)

    def leave(self, b: int, k: Tensor, v: Tensor) -> None:
        """See `Memory.leave`."""
        first, held = self.sinks * self.P, int(self.filled[b])
        part = slice(first, first + held)
        keys, values = torch.cat([self.k[b, part], k]), torch.cat([self.v[b, part], v])
        kept = min(len(keys), self.middle)
        chosen = (keys.float() * self.asked[b]).sum((-1, -2)).topk(kept).indices.sort().values
        self.k[b, first : first + kept], self.v[b, first : first + kept] = keys[chosen], values[chosen]
        self.filled[b] = kept

    def distances(self, b: int) -> Tensor:
        """See `Memory.distances`."""
        place, held = torch.arange(self.middle), int(self.filled[b])
        return torch.where(place < held, self.recent + -(-held // self.P) - place // self.P, 0)


class Ema(Memory):
    """Frames that leave move two memory frames a little, a slow one and a quick one (MemRoPE)."""

    frames_between = 2

    def leave(self, b: int, k: Tensor, v: Tensor) -> None:
        """See `Memory.leave`."""
        for i, alpha in enumerate(ALPHAS):
            part = slice((self.sinks + i) * self.P, (self.sinks + i + 1) * self.P)
            share = alpha if self.filled[b] else 1.0
            for memory, x in ((self.k, k), (self.v, v)):
                memory[b, part] = torch.lerp(memory[b, part].float(), x.float(), share).to(memory.dtype)
        self.filled[b] = self.middle

    def distances(self, b: int) -> Tensor:
        """See `Memory.distances`."""
        away = torch.tensor([self.recent + 2, self.recent + 1]).repeat_interleave(self.P)
        return away if self.filled[b] else torch.zeros_like(away)


class Coarse(Memory):
    """Of frames that leave, the means of neighbouring tokens: few places, many frames (the long context of FAR).

    FAR (arXiv:2503.19325) learns projections for coarse frames; here a mean stands for the tokens it was made of, with
    as much weight as all of them, and no training is needed.
    """

    def __init__(self, batch: int, sinks: int, middle: int, recent: int, P: int, heads: int, width: int,
                 like: Tensor, horizon: int, grid: tuple[int, int], planes: list[int]):
        """Args: grid: rows and columns of tokens. planes: of rotation, given to time, row and column."""
        self.rows, self.cols = (max(size // 2, 1) for size in grid)
        self.each = self.rows * self.cols
        super().__init__(batch, sinks, middle // self.each * self.each, recent, P, heads, width, like, horizon)
        self.frames_between = self.middle // self.each
        row, col = (torch.arange(size) for size in grid)
        group = (row * self.rows // grid[0])[:, None] * self.cols + (col * self.cols // grid[1])[None]
        share = torch.nn.functional.one_hot(group.flatten(), self.each).float().T
        self._sizes, self._share = share.sum(1), (share / share.sum(1, keepdim=True)).to(like.device)
        place = torch.cartesian_prod(torch.zeros(1), *(torch.arange(size).float() for size in grid))
        self._from, self._to = (
            tuple(x[:, None].to(like.device) for x in rotation_tables(axial_angles(at, planes)))
            for at in (place, self._share.cpu() @ place))  # fmt: skip

    def leave(self, b: int, k: Tensor, v: Tensor) -> None:
        """See `Memory.leave`."""
        first, held = self.sinks * self.P, int(self.filled[b])
        if held == self.middle:
            for memory in (self.k, self.v):
                memory[b, first : first + held - self.each] = memory[b, first + self.each : first + held].clone()
            held -= self.each
        part = slice(first + held, first + held + self.each)
        plain = apply_rope(k.float(), self._from[0], -self._from[1])
        mean = torch.einsum("gp,phd->ghd", self._share, plain)
        self.k[b, part] = apply_rope(mean, *self._to).to(self.k.dtype)
        self.v[b, part] = torch.einsum("gp,phd->ghd", self._share, v.float()).to(self.v.dtype)
        self.filled[b] = held + self.each

    def distances(self, b: int) -> Tensor:
        """See `Memory.distances`."""
        place, held = torch.arange(self.middle), int(self.filled[b])
        return torch.where(place < held, self.recent + held // self.each - place // self.each, 0)

    def bias(self) -> Tensor:
        """The logarithm of how many tokens each stands for."""
        between = self._sizes.log().repeat(self.frames_between)
        return torch.cat([torch.zeros(self.sinks * self.P), between, torch.zeros(self.recent * self.P)])


def window(config: WorldModelConfig, batch: int, like: Tensor) -> RingCache:
    """The sinks and the window that the world was trained with."""
    return _ring(config, batch, like, config.sinks)


def sink(config: WorldModelConfig, batch: int, like: Tensor) -> RingCache:
    """The first frame, and the last ones (StreamingLLM, arXiv:2309.17453)."""
    return _ring(config, batch, like, max(config.sinks, 1))


def deep_sink(config: WorldModelConfig, batch: int, like: Tensor) -> RingCache:
    """As many first frames as last ones, right behind them in time (Deep Sink, arXiv:2512.05081)."""
    return _ring(config, batch, like, max(config.sinks, _frames(config) // 2))


def participative(config: WorldModelConfig, batch: int, like: Tensor) -> Participative:
    """A third first frames, a sixth of what was asked for, the last ones; see `Participative`."""
    frames = _frames(config)
    between = max(frames // 6, 1)
    sinks = max(frames // 3, 1)
    return Participative(*_sizes(config, batch, like, sinks, between))


def ema(config: WorldModelConfig, batch: int, like: Tensor) -> Ema:
    """The first frame, two memory frames, the last ones; see `Ema`."""
    return Ema(*_sizes(config, batch, like, 1, 2))


def coarse(config: WorldModelConfig, batch: int, like: Tensor) -> Coarse:
    """The first frame, a quarter of the place for frames made coarse, the last ones; see `Coarse`."""
    return Coarse(*_sizes(config, batch, like, 1, max(_frames(config) // 4, 1)), config.grid, config.planes)


POLICIES: dict[str, Callable[[WorldModelConfig, int, Tensor], RingCache | Memory]] = {
    policy.__name__: policy for policy in (window, sink, deep_sink, participative, ema, coarse)}
"""by name; another one is made known by adding it here"""


RINGS = window.__name__, sink.__name__, deep_sink.__name__
"""those that fast paths know"""


def checked_policy(name: str) -> str:
    """`name`, if there is such a policy.

    Raises:
        ValueError: if not.
    """
    if name not in POLICIES:
        raise ValueError(f"memory must be one of {list(POLICIES)}, got {name!r}")
    return name


def _frames(config: WorldModelConfig) -> int:
    """Frames in place of which memory may be taken."""
    return config.sinks + max(config.window - 1, 0)


def _ring(config: WorldModelConfig, batch: int, like: Tensor, sinks: int) -> RingCache:
    frames = _frames(config)
    if sinks >= frames and sinks > config.sinks:
        raise ValueError(f"a window of {config.window} frames has no room for {sinks} sinks: use memory=window")
    return RingCache(batch, frames, config.tokens, config.heads, config.dim // config.heads, sinks=sinks,
                     dtype=like.dtype, device=like.device)


def _sizes(config: WorldModelConfig, batch: int, like: Tensor, sinks: int,
           between: int) -> tuple[int, int, int, int, int, int, int, Tensor, int]:
    """Arguments of a `Memory`; the last frames take what is left, less what a policy notes besides."""
    recent = _frames(config) - sinks - between - 1
    return (batch, sinks, between * config.tokens, max(recent, 0), config.tokens, config.heads,
            config.dim // config.heads, like, max(_frames(config), 1))
