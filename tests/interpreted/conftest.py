"""Triton kernels in triton's interpreter: only in a process started for it, see test_kernels_interpreted.py."""

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
