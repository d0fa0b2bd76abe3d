"""Which number format to compute in. Decided by the processor's features alone, so that runs repeat."""

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
