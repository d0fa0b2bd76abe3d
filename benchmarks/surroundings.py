"""What surrounds attention, as rows of `benchmarks.attention`: norms, gates, ring writes, a whole network's pass."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import RingCache, adaln_modulate, apply_rope, axial_angles, qk_norm_rope, rotation_tables
from world_model import WorldModel, WorldModelConfig
from world_model.cache import FrameCache

Ways = dict[str, Callable[[], object]]


@dataclass
class Row:
    """Ways to do one thing."""

    name: str
    nbytes: float
    """read and written at least"""
    ways: Ways


@contextmanager
def kernels_are(backend: str) -> Iterator[None]:
    """With KERNELS set."""
    before = os.environ.get("KERNELS")
    os.environ["KERNELS"] = backend
    try:
        yield
    finally:
        os.environ.pop("KERNELS")
        if before is not None:
            os.environ["KERNELS"] = before


def rows(device: torch.device, dtype: torch.dtype) -> list[Row]:
    """E1, E2, I8 and M1 of research/kernels.md section 8, smaller on a CPU."""
    large = device.type == "cuda"
    batch, frames, P, heads = (8, 16, 256, 16) if large else (1, 4, 20, 4)
    return [_projection(batch, frames, P, heads, device, dtype), *_modulation(batch, frames, P, heads, device, dtype),
            _eviction(P, heads, device, dtype), _network(large, device, dtype)]


def _draw(device: torch.device, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    return [torch.randn(shape, generator=generator, device=device).to(dtype) for shape in shapes]


def _projection(batch: int, frames: int, P: int, heads: int, device: torch.device, dtype: torch.dtype) -> Row:
    tokens, width = frames * P, 64
    qkv, gain = _draw(device, dtype, (batch, tokens, 3 * heads * width), (width,))
    cos, sin = rotation_tables(axial_angles(torch.arange(tokens, device=device)[:, None], [width // 2]))

    def eager() -> tuple[Tensor, ...]:
        q, k, v = qkv.unflatten(2, (3 * heads, width)).split(heads, 2)
        return *(apply_rope(F.rms_norm(x, (width,), gain, 1e-6), cos[:, None], sin[:, None]) for x in (q, k)), v

    ways: Ways = {"ours": lambda: qk_norm_rope(qkv, gain, gain, cos, sin, heads=heads), "eager": eager}
    if device.type == "cuda":
        ways["compiled"] = torch.compile(eager)
    return Row("E1 qk norm and rope", 2 * qkv.numel() * dtype.itemsize, ways)


def _modulation(batch: int, frames: int, P: int, heads: int, device: torch.device, dtype: torch.dtype) -> list[Row]:
    shapes = (batch, frames * P, 64 * heads), (batch, frames, 64 * heads)
    x, grad, shift, scale = _draw(device, dtype, shapes[0], shapes[0], shapes[1], shapes[1])
    inputs = [y.requires_grad_() for y in (x, shift, scale)]

    def eager(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        normed = F.layer_norm(x, x.shape[-1:], eps=1e-6).unflatten(1, (-1, P))
        return (normed * (1 + scale[:, :, None]) + shift[:, :, None]).flatten(1, 2)

    def ours(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return adaln_modulate(x, shift, scale, P)

    functions: dict[str, Callable[..., Tensor]] = {"ours": ours, "eager": eager}
    if device.type == "cuda":
        functions["compiled"] = torch.compile(eager)

    def forward(function: Callable[..., Tensor]) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return function(*inputs)

        return run

    def both(function: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(*inputs), inputs, grad)

    size = x.numel() * dtype.itemsize
    return [Row("E2 adaln fwd", 2 * size, {name: forward(f) for name, f in functions.items()}),
            Row("E2 adaln fwd+bwd", 5 * size, {name: both(f) for name, f in functions.items()})]


def _eviction(P: int, heads: int, device: torch.device, dtype: torch.dtype) -> Row:
    capacity, width = 16, 64
    ring = RingCache(1, capacity, P, heads, width, dtype=dtype, device=device)
    k, v, past_k, past_v = _draw(device, dtype, *[(1, P, heads, width)] * 2, *[(1, capacity * P, heads, width)] * 2)

    def append() -> None:
        with torch.no_grad():
            ring.append(k, v)

    def roll() -> None:
        for past, fresh in ((past_k, k), (past_v, v)):
            past[:, :-P] = past[:, P:].clone()
            past[:, -P:] = fresh

    def joined() -> list[Tensor]:
        return [torch.cat([past[:, P:], fresh], 1) for past, fresh in ((past_k, k), (past_v, v))]

    return Row("I8 evict a frame", 4 * k.numel() * dtype.itemsize, {"ours": append, "roll": roll, "cat": joined})


def _network(large: bool, device: torch.device, dtype: torch.dtype) -> Row:
    sizes = {"dim": 1024, "layers": 24, "heads": 16} if large else {"layers": 6}
    config = WorldModelConfig(**sizes)  # type: ignore[arg-type]
    model = WorldModel(config).to(device, dtype).eval().requires_grad_(False)
    cache = FrameCache(config, model.tokenizer.place)
    x, before = _draw(device, dtype, (1, 1, config.height, config.width, 3),
                      (1, config.history, config.height, config.width, 3))
    levels = torch.ones(1, 1, device=device, dtype=dtype)
    actions = torch.zeros(1, config.action_memory + 1, dtype=torch.int64, device=device)

    @torch.inference_mode()
    def one_pass() -> Tensor:
        return model.forward_cached(x, before, levels, actions, cache.rings)[0]

    def by(backend: str) -> Callable[[], object]:
        def run() -> object:
            with kernels_are(backend):
                return one_pass()

        return run

    ways: Ways = {"ours": by("auto"), "torch": by("torch")}
    if device.type == "cuda":
        one_pass()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            one_pass()
        ways["ours, graph"] = graph.replay
    weights = sum(p.numel() for p in model.parameters()) * dtype.itemsize
    return Row(f"M1 pass, {config.layers} layers of {config.dim}", weights, ways)
