"""`window_attention` in one launch per layer, or two: parts of the cache read side by side, then combined.

A program draws from one key head, one query frame and a tile of its rows; query heads that share a key head are rows
of the same tile. It reads the stream's count, walks over cached frames and then over frames in flight with a running
softmax (FlashAttention-2, arXiv:2307.08691) and, if the cache is split, leaves a partial result and its log-sum-exp
(Flash-Decoding). With rotary time the query tile is turned anew for every key frame.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import LOG2E, TRITON_TYPES, Shipped, Tile, launchable, precision_of, with_device

COMBINE_ROWS = 32
COMBINE_WARPS = 4


def tile_for(width: int, dtype: torch.dtype, rope: bool, int8: bool) -> Tile:
    """Tile for a head width, what is computed in, whether queries are turned and whether the cache is int8.

    None of these spills registers on sm_80 or sm_90 (tests/test_kernels_window_compiled.py).
    """
    if dtype == torch.float32:
        if width <= 64:
            return Tile(32, 32, 8, 2)
        return Tile(32, 16, 8, 1) if int8 else Tile(16, 32, 8, 2)
    if rope and int8:
        return Tile(64, 32, 8, 2)
    return Tile(64, 64, 8, 2) if rope or (int8 and width == 128) else Tile(64, 64, 4, 3)


@triton.jit
def _turned(q, swapped, cos_ptr, sin_ptr, distance, dims, D: tl.constexpr):
    """Rows turned by a distance in time, which may be negative."""
    row = tl.abs(distance) * D + dims
    cos = tl.load(cos_ptr + row)
    sin = tl.load(sin_ptr + row) * tl.where(distance < 0, -1.0, 1.0)
    return (q.to(tl.float32) * cos[None, :] + swapped.to(tl.float32) * sin[None, :]).to(q.dtype)


@triton.jit
def _seen(q, k_ptr, v_ptr, ks_ptr, vs_ptr, token, inside, k_n, v_n, s_n, dims, factor, acc, top, total,
          MASKED: tl.constexpr, INT8: tl.constexpr, PRECISION: tl.constexpr):
    """The running softmax (acc, top, total) after one more block of keys, those of `token` that are `inside`."""
    k_at = k_ptr + token[:, None] * k_n + dims[None, :]
    v_at = v_ptr + token[:, None] * v_n + dims[None, :]
    if MASKED:
        k = tl.load(k_at, mask=inside[:, None], other=0.0)
        v = tl.load(v_at, mask=inside[:, None], other=0.0)
    else:
        k = tl.load(k_at)
        v = tl.load(v_at)
    scores = tl.dot(q, tl.trans(k.to(q.dtype)), input_precision=PRECISION) * factor
    if INT8:  # every whole number up to 127 is exact in any of our types: scale afterwards
        if MASKED:
            scores *= tl.load(ks_ptr + token * s_n, mask=inside, other=0.0)[None, :]
        else:
            scores *= tl.load(ks_ptr + token * s_n)[None, :]
    if MASKED:
        scores = tl.where(inside[None, :], scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, 1))
    kept = tl.exp2(top - new_top)
    weights = tl.exp2(scores - new_top[:, None])
    total = total * kept + tl.sum(weights, 1)
    if INT8:
        if MASKED:
            weights *= tl.load(vs_ptr + token * s_n, mask=inside, other=0.0)[None, :]
        else:
            weights *= tl.load(vs_ptr + token * s_n)[None, :]
    acc = acc * kept[:, None] + tl.dot(weights.to(q.dtype), v.to(q.dtype), input_precision=PRECISION)
    return acc, new_top, total


@triton.jit
def attend(q_ptr, k_ptr, v_ptr, ck_ptr, cv_ptr, ks_ptr, vs_ptr, count_ptr, cos_ptr, sin_ptr, o_ptr, lse_ptr,
           q_b, q_n, q_h, k_b, k_n, k_h, v_b, v_n, v_h, heads, capacity, sinks, window, splits, factor,
           P: tl.constexpr, D: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
           CAUSAL: tl.constexpr, ROPE: tl.constexpr, INT8: tl.constexpr, SPLIT: tl.constexpr,
           PRECISION: tl.constexpr):
    """Program (row tile, query frame, split, key head, stream), the first fastest; o [B, splits, W*P, Hq, D]."""
    TILES: tl.constexpr = (P * GROUP + ROWS - 1) // ROWS
    BLOCKS: tl.constexpr = (P + COLS - 1) // COLS
    MASKED: tl.constexpr = P % COLS != 0
    pid = tl.program_id(0)
    row = (pid % TILES) * ROWS + tl.arange(0, ROWS)
    pid = pid // TILES
    w = pid % window
    pid = pid // window
    split = pid % splits
    pid = pid // splits
    head = pid % heads
    stream = (pid // heads).to(tl.int64)

    count = tl.load(count_ptr + stream)
    time = tl.minimum(count, capacity)
    ring = tl.maximum(capacity - sinks, 1)
    last = split == splits - 1
    own = w + 1 if CAUSAL else window
    share = (time + own + splits - 1) // splits
    low = tl.minimum(split * share, time)
    high = tl.where(last, time, tl.minimum(low + share, time))
    own = tl.where(last, own, 0)

    dims = tl.arange(0, D)
    cols = tl.arange(0, COLS)
    valid = row < P * GROUP
    query_head = head * GROUP + row % GROUP
    query_token = w * P + row // GROUP
    q_row = q_ptr + stream * q_b + query_token * q_n + query_head * q_h
    q = tl.load(q_row[:, None] + dims[None, :], mask=valid[:, None], other=0.0)
    if ROPE:
        swapped = tl.load(q_row[:, None] + ((dims + D // 2) % D)[None, :], mask=valid[:, None], other=0.0)
    k_ptr += stream * k_b + head * k_h
    v_ptr += stream * v_b + head * v_h
    held = (stream * capacity * P * heads + head) * D
    ck_ptr += held
    cv_ptr += held
    if INT8:
        ks_ptr += stream * capacity * P * heads + head
        vs_ptr += stream * capacity * P * heads + head
    acc = tl.zeros([ROWS, D], tl.float32)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)

    if ROPE:
        for block in range(low * BLOCKS, high * BLOCKS):
            slot = block // BLOCKS
            age = tl.where(slot < sinks, time - 1 - slot, (count - 1 - slot) % ring)
            turned = _turned(q, swapped, cos_ptr, sin_ptr, w + 1 + age, dims, D)
            place = (block % BLOCKS) * COLS + cols
            acc, top, total = _seen(turned, ck_ptr, cv_ptr, ks_ptr, vs_ptr, slot * P + place, place < P, heads * D,
                                    heads * D, heads, dims, factor, acc, top, total, MASKED, INT8, PRECISION)
        for block in range(0, own * BLOCKS):
            frame = block // BLOCKS
            turned = _turned(q, swapped, cos_ptr, sin_ptr, w - frame, dims, D)
            place = (block % BLOCKS) * COLS + cols
            acc, top, total = _seen(turned, k_ptr, v_ptr, None, None, frame * P + place, place < P, k_n, v_n, 0,
                                    dims, factor, acc, top, total, MASKED, False, PRECISION)
    else:
        for start in range(low * P, high * P, COLS):
            token = start + cols
            acc, top, total = _seen(q, ck_ptr, cv_ptr, ks_ptr, vs_ptr, token, token < high * P, heads * D, heads * D,
                                    heads, dims, factor, acc, top, total, MASKED, INT8, PRECISION)
        for start in range(0, own * P, COLS):
            token = start + cols
            acc, top, total = _seen(q, k_ptr, v_ptr, None, None, token, token < own * P, k_n, v_n, 0,
                                    dims, factor, acc, top, total, MASKED, False, PRECISION)

    something = total > 0  # nothing at all in an empty split
    some = tl.where(something, total, 1.0)
    out = ((stream * splits + split) * window * P + query_token) * heads * GROUP + query_head
    result = (acc / some[:, None]).to(o_ptr.dtype.element_ty)
    tl.store(o_ptr + out[:, None] * D + dims[None, :], result, mask=valid[:, None])
    if SPLIT:
        tl.store(lse_ptr + out, tl.where(something, top + tl.log2(some), float("-inf")), mask=valid)


@triton.jit
def combine(part_ptr, lse_ptr, o_ptr, rows, splits, ROWS: tl.constexpr, D: tl.constexpr):
    """Program (row tile, stream): part [B, splits, rows, D] weighed by exp2(lse), lse [B, splits, rows]."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    stream = tl.program_id(1).to(tl.int64)
    valid = row < rows
    dims = tl.arange(0, D)
    first = stream * splits * rows + row
    top = tl.full([ROWS], float("-inf"), tl.float32)
    for split in range(splits):
        top = tl.maximum(top, tl.load(lse_ptr + first + split * rows, mask=valid, other=0.0))
    acc = tl.zeros([ROWS, D], tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for split in range(splits):
        at = first + split * rows
        weight = tl.exp2(tl.load(lse_ptr + at, mask=valid, other=0.0) - top)
        part = tl.load(part_ptr + at[:, None] * D + dims[None, :], mask=valid[:, None], other=0.0)
        acc += weight[:, None] * part
        total += weight
    out = o_ptr + (stream * rows + row)[:, None] * D + dims[None, :]
    tl.store(out, (acc / total[:, None]).to(o_ptr.dtype.element_ty), mask=valid[:, None])


def launch(q: Tensor, k: Tensor, v: Tensor, cache_k: Tensor, cache_v: Tensor, k_scale: Tensor | None,
           v_scale: Tensor | None, count: Tensor, cos: Tensor | None, sin: Tensor | None, sinks: int, causal: bool,
           scale: float, splits: int, out: Tensor | None = None) -> Tensor:
    """Arguments as of the operator in window_attention.py; `out` like q, contiguous, is made if not given."""
    dtype = q.dtype
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in launchable(q, k, v))
    cache_k, cache_v = launchable(cache_k, cache_v)
    batch, capacity, tokens, heads, width = cache_k.shape
    group, window = q.shape[2] // heads, q.shape[1] // tokens
    rope = cos is not None
    cos, sin = (x if x is None else x.contiguous() for x in (cos, sin))
    tile = tile_for(width, q.dtype, rope, k_scale is not None)
    programs = batch * heads * window * triton.cdiv(tokens * group, tile.rows)
    splits = splits or _splits(programs, capacity, q.device)
    whole = torch.empty(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    part, lse = whole, None
    if splits > 1:
        part = q.new_empty((batch, splits, *q.shape[1:]), dtype=torch.float32)
        lse = q.new_empty((batch, splits, *q.shape[1:3]), dtype=torch.float32)
    constants = _constants(tile, tokens, width, group, q.dtype, causal, rope, k_scale is not None, splits > 1)
    rows = q.shape[1] * q.shape[2]

    def run() -> None:
        attend[(programs * splits,)](
            q, k, v, cache_k, cache_v, k_scale, v_scale, count, cos, sin, part, lse, *q.stride()[:3],
            *k.stride()[:3], *v.stride()[:3], heads, capacity, sinks, window, splits, scale * LOG2E, **constants,
            num_warps=tile.warps, num_stages=tile.stages)
        if splits > 1:
            combine[(triton.cdiv(rows, COMBINE_ROWS), batch)](
                part, lse, whole, rows, splits, ROWS=COMBINE_ROWS, D=width, num_warps=COMBINE_WARPS)

    with_device(q, run)
    return whole.to(dtype)


def _constants(tile: Tile, tokens: int, width: int, group: int, dtype: torch.dtype, causal: bool, rope: bool,
               int8: bool, split: bool) -> dict[str, object]:
    """Compile-time constants of `attend`."""
    cols = max(16, min(tile.cols, triton.next_power_of_2(tokens)) if rope else tile.cols)
    return {"P": tokens, "D": width, "GROUP": group, "ROWS": tile.rows, "COLS": cols, "CAUSAL": causal, "ROPE": rope,
            "INT8": int8, "SPLIT": split, "PRECISION": precision_of(dtype)}


def _splits(programs: int, capacity: int, device: torch.device) -> int:
    """As many parts as give every multiprocessor a program, of at least two frames each."""
    if device.type != "cuda":
        return 1
    places = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(places // programs, capacity // 2, 8))


def shipped() -> list[Shipped]:
    """What `launch` starts, at the widths, types and kinds that matter."""
    bf16, fp16, fp32, int8 = torch.bfloat16, torch.float16, torch.float32, torch.int8
    cases = [(bf16, bf16, 64, 256, False), (fp16, fp16, 64, 144, False), (bf16, bf16, 64, 256, True),
             (fp16, fp16, 64, 20, True), (fp32, fp32, 64, 64, True), (bf16, int8, 64, 64, True),
             (bf16, int8, 128, 64, False), (bf16, bf16, 128, 144, False), (bf16, bf16, 128, 256, True),
             (bf16, int8, 128, 144, True), (fp32, fp32, 128, 64, True)]
    whole = Shipped("window-combine-64", combine, {"part_ptr": "*fp32", "lse_ptr": "*fp32", "o_ptr": "*bf16"},
                    {"ROWS": COMBINE_ROWS, "D": 64}, COMBINE_WARPS, 3)
    return [*(_shipped(*case) for case in cases), whole]


def _shipped(dtype: torch.dtype, kept: torch.dtype, width: int, tokens: int, rope: bool) -> Shipped:
    int8 = kept == torch.int8
    tile = tile_for(width, dtype, rope, int8)
    split = int8  # either way occurs with any cache: let each be compiled
    types = dict.fromkeys(["q_ptr", "k_ptr", "v_ptr"], TRITON_TYPES[dtype])
    types |= dict.fromkeys(["ck_ptr", "cv_ptr"], TRITON_TYPES[kept])
    types |= {"count_ptr": "*i32", "o_ptr": "*fp32" if split else TRITON_TYPES[dtype], "factor": "fp32"}
    constants = _constants(tile, tokens, width, 1, dtype, True, rope, int8, split)
    for names, present in ((["ks_ptr", "vs_ptr"], int8), (["cos_ptr", "sin_ptr"], rope), (["lse_ptr"], split)):
        if present:
            types |= dict.fromkeys(names, "*fp32")
        else:
            constants |= dict.fromkeys(names)
    fast = dtype != torch.float32
    name = f"window-{TRITON_TYPES[dtype][1:]}-{TRITON_TYPES[kept][1:]}-{width}-{tokens}{'-rope' if rope else ''}"
    return Shipped(name, attend, types, constants, tile.warps, tile.stages, matrix=fast, pipelined=fast,
                   divisible=tuple(f"{x}_{axis}" for x in "qkv" for axis in "bnh"))
