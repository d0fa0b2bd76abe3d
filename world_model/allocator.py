"""The C library's allocation policy, set so that large tensors are reused instead of unmapped.

With glibc's defaults every large tensor is mapped and unmapped anew and its pages fault in one by one: a
training step took 6 s, with these settings 1 s (measured on two cores). One arena serves all threads: each thread's own
keeps what it once needed, and memory grows where environments are forked and stepped (`benchmarks.soak`).
mallopt(3) sets all of this at run time.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # glibc's malloc.h


def keep_memory() -> bool:
    """Keep freed memory in the process. Returns whether the C library took the settings (glibc only)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    large = 2**31 - 1  # mallopt takes an int; the mmap threshold may not exceed what fits
    settings = ((_M_TRIM_THRESHOLD, large), (_M_TOP_PAD, 1 << 28), (_M_MMAP_THRESHOLD, large), (_M_ARENA_MAX, 1))
    return all(mallopt(option, value) for option, value in settings)
