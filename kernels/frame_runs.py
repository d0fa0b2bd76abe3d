"""Which runs of frames a frame sees, and which runs see it: the mask of `frame_attention` as arithmetic, in triton."""

import triton
import triton.language as tl


@triton.jit
def key_runs(starts, stream, frame, frames, window, sinks, TEACHER: tl.constexpr):
    """Key frames that query `frame` sees: sinks begin_a..end_a-1, then window begin_b..end_b-1.

    With TEACHER the `frames` clean frames are followed by as many noisy ones; one of those sees, besides these, itself.
    """
    if TEACHER:
        noisy = frame >= frames
        time = tl.where(noisy, frame - frames + 1, frame)
        start = 0
        end = tl.where(noisy, time, time + 1)
    else:
        time = frame
        start = 0
        if starts is not None:
            start = tl.load(starts + stream * frames + frame)
        end = time + 1
    low = tl.maximum(start, time - window + 1)
    return start, tl.minimum(start + sinks, low), low, end


@triton.jit
def query_runs(starts, ends, stream, frame, frames, window, sinks, TEACHER: tl.constexpr):
    """Query frames that see key `frame`: begin_a..end_a-1 and, with TEACHER, noisy frames begin_b..end_b-1 of the rows.

    `ends` [B, frames] holds where the episode of each frame ends.
    """
    start = 0
    last = frames
    if starts is not None:
        start = tl.load(starts + stream * frames + frame)
        last = tl.load(ends + stream * frames + frame)
    forever = frame - start < sinks
    end = tl.where(forever, last, tl.minimum(frame + window, last))
    if TEACHER:
        noisy = frame >= frames
        begin_a, end_a = tl.where(noisy, 0, frame), tl.where(noisy, 0, end)
        until = tl.where(forever, 2 * frames, frames + tl.minimum(frame + window, frames + 1) - 1)
        return begin_a, end_a, tl.where(noisy, frame, frames + frame), tl.where(noisy, frame + 1, until)
    return frame, end, 0, 0
