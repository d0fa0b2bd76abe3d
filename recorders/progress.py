"""Progress bars that no other process can hold up."""

import threading

from tqdm import tqdm


class Progress(tqdm):
    """`tqdm` without its lock across processes and without its thread.

    Each plain bar, a disabled one too, takes a lock that forked processes share: if one of them is killed in that
    moment, all others wait for ever at their next bar, which may be the one of a recorder that repairs.
    """

    _lock = threading.RLock()
    monitor_interval = 0
