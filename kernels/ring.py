"""Keys and values of committed frames, bounded and never moved: sink frames that stay, then a ring of recent ones.

Sinks keep early frames in sight (StreamingLLM, arXiv:2309.17453). Frame t lives in slot t if t < S, else in slot
S + (t - S) % (C - S), so appending overwrites one slot and copies nothing else. How many frames a stream has
committed is known on the device alone: streams of a batch may have any ages, and nothing waits for the host.
Keys are stored un-rotated in time; where a slot lies on the time axis follows from the count when it is read.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .dispatch import decide

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8)


class RingCache:
    """The committed past of B streams, in one layer."""

    def __init__(self, batch: int, capacity: int, P: int, kv_heads: int, width: int, *, sinks: int = 0,
                 dtype: torch.dtype = torch.float32, device: torch.device | str | None = None):
        """Allocate an empty cache.

        Args:
            batch: streams B, at least 1.
            capacity: frames C held per stream. With C == sinks only the sinks are kept, with 0 nothing is.
            P: tokens per frame, at least 1.
            kv_heads: heads of keys and values, at least 1.
            width: head width D, at least 1.
            sinks: first frames that stay, S in [0, C].
            dtype: of what is stored, a floating one or int8 (then one scale per token and head).
            device: where it lies.

        Raises:
            ValueError: if a size is out of its range or the dtype is none of these.
        """
        sizes = {"batch": batch, "P": P, "kv_heads": kv_heads, "width": width}
        if min(sizes.values()) < 1:
            raise ValueError(f"sizes of a cache must be at least 1, got {sizes}")
        if not 0 <= sinks <= capacity:
            raise ValueError(f"expected 0 <= sinks <= capacity, got sinks {sinks} and capacity {capacity}")
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {DTYPES}, got {dtype}")
        self.batch, self.capacity, self.P, self.kv_heads, self.width = batch, capacity, P, kv_heads, width
        self.sinks = sinks
        shape = (batch, capacity, P, kv_heads, width)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        scaled = dtype == torch.int8
        self.k_scale = torch.zeros(shape[:-1], device=device) if scaled else None
        self.v_scale = torch.zeros(shape[:-1], device=device) if scaled else None
        self.count = torch.zeros(batch, dtype=torch.int32, device=device)
        """frames committed since the start or the last reset, int32 [B]"""

    @property
    def nbytes(self) -> int:
        """Memory held by keys, values and scales, in bytes; it never changes."""
        return sum(x.nbytes for x in (self.k, self.v, self.k_scale, self.v_scale) if x is not None)

    def tensors(self) -> dict[str, Tensor]:
        """Everything it holds, by name."""
        held = {"k": self.k, "v": self.v, "k_scale": self.k_scale, "v_scale": self.v_scale, "count": self.count}
        return {name: x for name, x in held.items() if x is not None}

    def time(self) -> Tensor:
        """Position of the next frame on the axis of `positions`, int64 [B]: min(count, C)."""
        return self.count.long().clamp(max=self.capacity)

    def positions(self) -> Tensor:
        """Time position of every slot, int64 [B, C]; -1 where nothing is. See `ring_positions`."""
        return ring_positions(self.count, self.capacity, self.sinks)

    def append(self, k: Tensor, v: Tensor) -> None:
        """Commit n frames of every stream, in order; of frames that do not all fit the last ones remain.

        Args:
            k, v: [B, n*P, Hkv, D] of one floating dtype, any finite values; rounded to the dtype of the cache.

        Raises:
            ValueError: if shapes, dtypes or devices are not those of this cache.
            RuntimeError: if an input requires a gradient while gradients are recorded.
        """
        self.check_tokens(k=k, v=v)
        refuse_gradients(k, v)
        run = ring_append if torch.compiler.is_compiling() else append_frames  # calling an operator takes 30 us
        run(k, v, self.k, self.v, self.k_scale, self.v_scale, self.count, self.sinks)

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the streams where `mask`, bool [B], is True; all of them without a mask.

        Raises:
            ValueError: if the mask is not a bool [B] on the device of the cache.
        """
        if mask is None:
            self.count.zero_()
            return
        if mask.dtype != torch.bool or mask.shape != self.count.shape or mask.device != self.count.device:
            raise ValueError(f"mask must be bool [{self.batch}] on {self.count.device}, "
                             f"got {mask.dtype} {list(mask.shape)} on {mask.device}")
        self.count.masked_fill_(mask, 0)

    def keep_last(self, frames: int) -> None:
        """Forget all but the sinks and the last `frames` frames of every stream, frames >= 0. Waits for the counts.

        Raises:
            ValueError: if `frames` is negative.
        """
        if frames < 0:
            raise ValueError(f"frames must not be negative, got {frames}")
        ring = max(self.capacity - self.sinks, 1)
        for b, age in enumerate(self.count.tolist()):
            if min(age, self.capacity) > self.sinks + frames:
                slots = [self.sinks + (t - self.sinks) % ring for t in range(age - frames, age)]
                for memory in (self.k, self.v, self.k_scale, self.v_scale):
                    if memory is not None:
                        memory[b, self.sinks : self.sinks + frames] = memory[b, slots].clone()
                self.count[b] = self.sinks + frames

    def clone(self) -> "RingCache":
        """An independent copy."""
        return self._like(lambda x: x.clone(), self.batch)

    def take(self, rows: list[int]) -> "RingCache":
        """An independent copy of some streams, in the order of `rows`."""
        return self._like(lambda x: x[rows], len(rows))

    def put(self, rows: list[int], other: "RingCache") -> None:
        """Streams `rows` become those of `other`, which holds as many, or one for all of them.

        A full ring may begin anywhere: it is turned to begin where the rings beside it do, so that streams which are
        stepped together overwrite the same slot whatever their ages. `count` of such a stream is theirs then.

        Raises:
            ValueError: if the other cache has other sizes or another dtype.
        """
        mine, its = (self._sizes(), other._sizes())
        if mine != its or other.batch not in (1, len(rows)):
            raise ValueError(f"expected {len(rows)} or 1 streams of {mine}, got {other.batch} of {its}")
        ages, held = self.count.tolist(), other.count.tolist()
        beside = [age for b, age in enumerate(ages) if b not in rows and age >= self.capacity]
        common = beside[0] if beside else max(held)
        for i, row in enumerate(rows):
            source = i if other.batch > 1 else 0
            full = held[source] >= self.capacity
            ages[row] = common if full else held[source]
            turn = (common - held[source]) % max(self.capacity - self.sinks, 1) if full else 0
            for name in ("k", "v", "k_scale", "v_scale"):
                memory, x = getattr(self, name), getattr(other, name)
                if memory is not None:
                    memory[row, : self.sinks] = x[source, : self.sinks]
                    memory[row, self.sinks :] = x[source, self.sinks :].roll(turn, 0)
        self.count.copy_(torch.tensor(ages, dtype=torch.int32, device="cpu"))

    def _sizes(self) -> tuple[int, int, int, int, int, torch.dtype]:
        return self.capacity, self.P, self.kv_heads, self.width, self.sinks, self.k.dtype

    def _like(self, change: Callable[[Tensor], Tensor], batch: int) -> "RingCache":
        """The same kind of cache with all tensors changed."""
        other = object.__new__(RingCache)
        other.__dict__.update({n: change(x) if isinstance(x, Tensor) else x for n, x in self.__dict__.items()})
        other.batch = batch
        return other

    def check_tokens(self, **tensors: Tensor) -> None:
        """Whether tensors [B, n*P, Hkv, D], n >= 1, belong to this cache.

        Raises:
            ValueError: naming the first that does not, with what was expected.
        """
        first = next(iter(tensors.values()))
        for name, x in tensors.items():
            wanted = (self.batch, x.shape[1] if x.dim() == 4 else self.P, self.kv_heads, self.width)
            if x.shape != wanted or x.shape[1] % self.P or not x.shape[1] or x.shape != first.shape:
                raise ValueError(f"{name} must be [{self.batch}, n*{self.P}, {self.kv_heads}, {self.width}], equally "
                                 f"many frames in all, got {list(x.shape)}")
            if not x.is_floating_point() or x.dtype != first.dtype:
                raise ValueError(f"{name} must have the floating dtype of the others, got {x.dtype} and {first.dtype}")
            if x.device != self.count.device:
                raise ValueError(f"{name} must be on {self.count.device} like the cache, got {x.device}")


def refuse_gradients(*tensors: Tensor) -> None:
    """Say clearly that an operator has no backward.

    Raises:
        RuntimeError: if a tensor requires a gradient while gradients are recorded.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        raise RuntimeError("caches are for inference: an input requires grad; use torch.no_grad() or detach it")


def ring_positions(count: Tensor, capacity: int, sinks: int) -> Tensor:
    """Where slots lie on a time axis whose next frame is at min(count, C).

    Frames of the ring are at their true distance from the next frame, sinks at their slot number, right behind them.

    Args:
        count: int32 [B] frames committed.
        capacity: slots C.
        sinks: slots that are never overwritten, at most C.

    Returns:
        int64 [B, C], -1 where nothing has been stored yet.
    """
    slot = torch.arange(capacity, device=count.device)
    known = count.long()[:, None]
    time = known.clamp(max=capacity)
    age = (known - 1 - slot) % max(capacity - sinks, 1)
    return torch.where(slot < time, torch.where(slot < sinks, slot, time - 1 - age), -1)


def quantised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 per row: x [..., D] floating -> int8 [..., D] in [-127, 127], float32 scales [...]."""
    x = x.float()
    most = x.abs().amax(-1)
    factor = torch.where(most > 0, 127 / most, 0)
    return (x * factor[..., None] + 0.5).floor().to(torch.int8), most / 127


def append_frames(k: Tensor, v: Tensor, cache_k: Tensor, cache_v: Tensor, k_scale: Tensor | None,
                  v_scale: Tensor | None, count: Tensor, sinks: int) -> None:
    """Commit n frames of every stream: see `RingCache.append`, which checks what comes here.

    Args:
        k, v: [B, n*P, Hkv, D] floating.
        cache_k, cache_v: [B, C, P, Hkv, D], contiguous, written.
        k_scale, v_scale: float32 [B, C, P, Hkv], contiguous, written; None unless the cache is int8.
        count: int32 [B], advanced by n.
        sinks: slots that are never overwritten.
    """
    unfit = "triton kernels do not compute in float64" if torch.float64 in (k.dtype, cache_k.dtype) else ""
    if decide(k.device, unfit).backend == "triton":
        from .ring_triton import write

        write(k, v, cache_k, cache_v, k_scale, v_scale, count, sinks)
    else:
        write_all = _write_on_host if count.device.type == "cpu" else _write
        for x, memory, scale in ((k, cache_k, k_scale), (v, cache_v, v_scale)):
            whole = [(memory, x)] if scale is None else list(zip((memory, scale), quantised(x), strict=True))
            for target, fresh in whole:
                write_all(fresh.unflatten(1, (-1, cache_k.shape[2])), target, count, sinks)
    count += k.shape[1] // cache_k.shape[2]


ring_append = torch.library.custom_op(
    "foreframe::ring_append", append_frames, mutates_args=("cache_k", "cache_v", "k_scale", "v_scale", "count"))


@ring_append.register_fake
def _(k, v, cache_k, cache_v, k_scale, v_scale, count, sinks):
    return None


def _write_on_host(fresh: Tensor, memory: Tensor, count: Tensor, sinks: int) -> None:
    """Frames [B, n, ...] into slots of [B, C, ...]: plain copies, as counts can be read."""
    frames, capacity = fresh.shape[1], memory.shape[1]
    ring = capacity - sinks
    ages = count.tolist()
    together = len(set(ages)) == 1
    for b, age in enumerate(ages[:1] if together else ages):
        rows = slice(None) if together else b
        for i, t in enumerate(range(age, age + frames)):
            if t < sinks:
                memory[rows, t] = fresh[rows, i]
            elif t >= age + frames - ring:
                memory[rows, sinks + (t - sinks) % ring] = fresh[rows, i]


def _write(fresh: Tensor, memory: Tensor, count: Tensor, sinks: int) -> None:
    """The same without reading counts: as many frames at a time as surely have slots of their own."""
    batch, capacity = memory.shape[:2]
    ring = capacity - sinks
    if not capacity:
        return
    stream = torch.arange(batch, device=fresh.device)[:, None]
    together = max(ring, 1)
    for first in range(0, fresh.shape[1], together):
        part = fresh[:, first : first + together].to(memory.dtype)
        frame = count.long()[:, None] + first + torch.arange(part.shape[1], device=fresh.device)
        slot = torch.where(frame < sinks, frame, sinks + (frame - sinks) % together)
        place = stream, slot.clamp(max=capacity - 1)
        if not ring:  # frames after the sinks are not kept: write what is there
            keep = (slot < capacity).reshape(slot.shape + (1,) * (memory.dim() - 2))
            part = torch.where(keep, part, memory[place])
        memory[place] = part
