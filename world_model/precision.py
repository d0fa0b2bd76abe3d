"""Which number format to compute in. Decided by the processor's features alone, so that runs repeat."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def choose_dtype(device: str | torch.device, precision: str) -> torch.dtype:
    """bfloat16 or float32 for "bf16", "fp32" or "auto": bfloat16 where the processor multiplies it.

    Raises:
        ValueError: if `precision` is none of the three.
    """
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision must be auto, bf16 or fp32, got {precision!r}")
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    fast = torch.device(device).type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def own_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of something with a `device`, out of reach of an autocast or a default device around its caller.

    What is drawn must not depend on who calls, and a thread that draws ahead has neither.
    """
    @wraps(function)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        cast, elsewhere = torch.is_autocast_enabled(self.device.type), torch.get_default_device().type != "cpu"
        if not cast and not elsewhere:
            return function(self, *args, **kwargs)
        with torch.autocast(self.device.type, enabled=False), torch.device("cpu"):
            return function(self, *args, **kwargs)

    return run
