"""`frame_attention` in triton: one program per tile of queries (or keys), which walks the runs of tokens it can see.

Neither a mask nor a list of blocks is read: runs follow from the frame's number. Frames lie one after another, so a
run of frames is a run of tokens, and only its last tile can be ragged. Online softmax in powers of two; backward by
recomputation from log-sum-exps, dq and dk/dv in two launches without atomics, so results repeat bit for bit
(FlashAttention-2, arXiv:2307.08691).
"""

import triton
import triton.language as tl

from .frame_runs import key_runs, query_runs

LN2 = tl.constexpr(0.6931471805599453)
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _walk(acc, top, total, query, k_at, v_at, kn, vn, begin, end, log_scale, COLS: tl.constexpr, RAGGED: tl.constexpr,
          PRECISION: tl.constexpr):
    """Online softmax over the keys begin..end-1: output so far, largest score, sum of weights."""
    for n in range(begin, end, COLS):
        cols = n + tl.arange(0, COLS)
        if RAGGED:
            key = tl.load(k_at + cols[None, :] * kn, mask=cols[None, :] < end, other=0.0)
            value = tl.load(v_at + cols[:, None] * vn, mask=cols[:, None] < end, other=0.0)
        else:
            key = tl.load(k_at + cols[None, :] * kn)
            value = tl.load(v_at + cols[:, None] * vn)
        score = tl.dot(query, key, input_precision=PRECISION) * log_scale
        if RAGGED:
            score = tl.where(cols[None, :] < end, score, float("-inf"))
        highest = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp2(score - highest[:, None])
        shrink = tl.exp2(top - highest)
        total = total * shrink + tl.sum(weight, 1)
        acc = tl.dot(weight.to(value.dtype), value, acc * shrink[:, None], input_precision=PRECISION)
        top = highest
    return acc, top, total


@triton.jit
def forward_kernel(q, k, v, starts, out, lse, qb, qn, qh, kb, kn, kh, vb, vn, vh, ob, on, oh, frames, P, heads, group,
                   window, sinks, log_scale, D: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
                   TEACHER: tl.constexpr, RAGGED: tl.constexpr, PRECISION: tl.constexpr):
    """One tile of queries of one frame and head; `lse` is natural."""
    tiles = tl.cdiv(P, ROWS)
    place = tl.num_programs(0) - 1 - tl.program_id(0)  # late frames see most: they go first
    frame, head, stream = place // tiles, tl.program_id(1) % heads, (tl.program_id(1) // heads).to(tl.int64)
    inside = (place % tiles) * ROWS + tl.arange(0, ROWS)
    rows, d = frame * P + inside, tl.arange(0, D)
    valid = inside < P
    query = tl.load(q + stream * qb + head * qh + rows[:, None] * qn + d[None, :], mask=valid[:, None], other=0.0)
    k_at = k + stream * kb + (head // group) * kh + d[:, None]
    v_at = v + stream * vb + (head // group) * vh + d[None, :]
    begin_a, end_a, begin_b, end_b = key_runs(starts, stream, frame, frames, window, sinks, TEACHER)
    acc = tl.zeros((ROWS, D), tl.float32)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc, top, total = _walk(acc, top, total, query, k_at, v_at, kn, vn, begin_a * P, end_a * P, log_scale, COLS,
                            RAGGED, PRECISION)
    acc, top, total = _walk(acc, top, total, query, k_at, v_at, kn, vn, begin_b * P, end_b * P, log_scale, COLS,
                            RAGGED, PRECISION)
    if TEACHER:
        alone = tl.where(frame >= frames, P, 0)  # a noisy frame lies apart from the clean ones it sees
        acc, top, total = _walk(acc, top, total, query, k_at, v_at, kn, vn, frame * P, frame * P + alone, log_scale,
                                COLS, RAGGED, PRECISION)
    at = out + stream * ob + head * oh + rows[:, None] * on + d[None, :]
    tl.store(at, (acc / total[:, None]).to(out.dtype.element_ty), mask=valid[:, None])
    line = (stream * heads + head) * (tl.num_programs(0) // tiles) * P + rows
    tl.store(lse + line, (top + tl.log2(total)) * LN2, mask=valid)


@triton.jit
def _walk_dq(acc, query, given, sums, delta, k_at, v_at, kn, vn, begin, end, log_scale, COLS: tl.constexpr,
             RAGGED: tl.constexpr, PRECISION: tl.constexpr):
    for n in range(begin, end, COLS):
        cols = n + tl.arange(0, COLS)
        if RAGGED:
            key = tl.load(k_at + cols[None, :] * kn, mask=cols[None, :] < end, other=0.0)
            value = tl.load(v_at + cols[None, :] * vn, mask=cols[None, :] < end, other=0.0)
        else:
            key = tl.load(k_at + cols[None, :] * kn)
            value = tl.load(v_at + cols[None, :] * vn)
        score = tl.dot(query, key, input_precision=PRECISION) * log_scale
        if RAGGED:
            score = tl.where(cols[None, :] < end, score, float("-inf"))
        weight = tl.exp2(score - sums[:, None])
        above = tl.dot(given, value, input_precision=PRECISION)
        change = (weight * (above - delta[:, None])).to(key.dtype)
        acc = tl.dot(change, tl.trans(key), acc, input_precision=PRECISION)
    return acc


@triton.jit
def dq_kernel(q, k, v, starts, grad, lse, delta, dq, qb, qn, qh, kb, kn, kh, vb, vn, vh, gb, gn, gh, db, dn, dh, frames,
              P, heads, group, window, sinks, log_scale, scale, D: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
              TEACHER: tl.constexpr, RAGGED: tl.constexpr, PRECISION: tl.constexpr):
    """Gradient of one tile of queries."""
    tiles = tl.cdiv(P, ROWS)
    place = tl.num_programs(0) - 1 - tl.program_id(0)
    frame, head, stream = place // tiles, tl.program_id(1) % heads, (tl.program_id(1) // heads).to(tl.int64)
    inside = (place % tiles) * ROWS + tl.arange(0, ROWS)
    rows, d = frame * P + inside, tl.arange(0, D)
    valid = inside < P
    query = tl.load(q + stream * qb + head * qh + rows[:, None] * qn + d[None, :], mask=valid[:, None], other=0.0)
    given = tl.load(grad + stream * gb + head * gh + rows[:, None] * gn + d[None, :], mask=valid[:, None], other=0.0)
    line = (stream * heads + head) * (tl.num_programs(0) // tiles) * P + rows
    sums, drop = tl.load(lse + line, mask=valid, other=0.0) * LOG2E, tl.load(delta + line, mask=valid, other=0.0)
    k_at = k + stream * kb + (head // group) * kh + d[:, None]
    v_at = v + stream * vb + (head // group) * vh + d[:, None]
    begin_a, end_a, begin_b, end_b = key_runs(starts, stream, frame, frames, window, sinks, TEACHER)
    acc = tl.zeros((ROWS, D), tl.float32)
    acc = _walk_dq(acc, query, given, sums, drop, k_at, v_at, kn, vn, begin_a * P, end_a * P, log_scale, COLS, RAGGED,
                   PRECISION)
    acc = _walk_dq(acc, query, given, sums, drop, k_at, v_at, kn, vn, begin_b * P, end_b * P, log_scale, COLS, RAGGED,
                   PRECISION)
    if TEACHER:
        alone = tl.where(frame >= frames, P, 0)
        acc = _walk_dq(acc, query, given, sums, drop, k_at, v_at, kn, vn, frame * P, frame * P + alone, log_scale, COLS,
                       RAGGED, PRECISION)
    at = dq + stream * db + head * dh + rows[:, None] * dn + d[None, :]
    tl.store(at, (acc * scale).to(dq.dtype.element_ty), mask=valid[:, None])


@triton.jit
def _walk_dkdv(dkey, dvalue, key, value, q_at, g_at, lse_at, delta_at, qn, gn, begin, end, log_scale,
               COLS: tl.constexpr, RAGGED: tl.constexpr, PRECISION: tl.constexpr):
    for m in range(begin, end, COLS):
        cols = m + tl.arange(0, COLS)
        if RAGGED:
            there = cols < end
            query = tl.load(q_at + cols[None, :] * qn, mask=there[None, :], other=0.0)
            given = tl.load(g_at + cols[:, None] * gn, mask=there[:, None], other=0.0)
            sums, drop = tl.load(lse_at + cols, mask=there, other=0.0), tl.load(delta_at + cols, mask=there, other=0.0)
        else:
            query, given = tl.load(q_at + cols[None, :] * qn), tl.load(g_at + cols[:, None] * gn)
            sums, drop = tl.load(lse_at + cols), tl.load(delta_at + cols)
        score = tl.dot(key, query, input_precision=PRECISION) * log_scale
        weight = tl.exp2(score - sums[None, :] * LOG2E)
        dvalue = tl.dot(weight.to(given.dtype), given, dvalue, input_precision=PRECISION)
        above = tl.dot(value, tl.trans(given), input_precision=PRECISION)
        change = (weight * (above - drop[None, :])).to(query.dtype)
        dkey = tl.dot(change, tl.trans(query), dkey, input_precision=PRECISION)
    return dkey, dvalue


@triton.jit
def dkdv_kernel(q, k, v, starts, ends, grad, lse, delta, dk, dv, qb, qn, qh, kb, kn, kh, vb, vn, vh, gb, gn, gh, db, dn,
                dh, frames, P, heads, group, window, sinks, log_scale, scale, D: tl.constexpr, ROWS: tl.constexpr,
                COLS: tl.constexpr, TEACHER: tl.constexpr, RAGGED: tl.constexpr, PRECISION: tl.constexpr):
    """Gradients of one tile of keys and values of one frame, from all query heads that read them."""
    tiles = tl.cdiv(P, ROWS)
    kv_heads = heads // group
    place, kv_head = tl.program_id(0), tl.program_id(1) % kv_heads  # early frames are seen most
    stream = (tl.program_id(1) // kv_heads).to(tl.int64)
    frame = place // tiles
    inside = (place % tiles) * ROWS + tl.arange(0, ROWS)
    rows, d = frame * P + inside, tl.arange(0, D)
    valid = inside < P
    key = tl.load(k + stream * kb + kv_head * kh + rows[:, None] * kn + d[None, :], mask=valid[:, None], other=0.0)
    value = tl.load(v + stream * vb + kv_head * vh + rows[:, None] * vn + d[None, :], mask=valid[:, None], other=0.0)
    begin_a, end_a, begin_b, end_b = query_runs(starts, ends, stream, frame, frames, window, sinks, TEACHER)
    dkey, dvalue = tl.zeros((ROWS, D), tl.float32), tl.zeros((ROWS, D), tl.float32)
    for member in range(group):
        head = kv_head * group + member
        line = (stream * heads + head) * (tl.num_programs(0) // tiles) * P
        q_at, g_at = q + stream * qb + head * qh + d[:, None], grad + stream * gb + head * gh + d[None, :]
        dkey, dvalue = _walk_dkdv(dkey, dvalue, key, value, q_at, g_at, lse + line, delta + line, qn, gn, begin_a * P,
                                  end_a * P, log_scale, COLS, RAGGED, PRECISION)
        if TEACHER:
            dkey, dvalue = _walk_dkdv(dkey, dvalue, key, value, q_at, g_at, lse + line, delta + line, qn, gn,
                                      begin_b * P, end_b * P, log_scale, COLS, RAGGED, PRECISION)
    at = stream * db + kv_head * dh + rows[:, None] * dn + d[None, :]
    tl.store(dk + at, (dkey * scale).to(dk.dtype.element_ty), mask=valid[:, None])
    tl.store(dv + at, dvalue.to(dv.dtype.element_ty), mask=valid[:, None])
