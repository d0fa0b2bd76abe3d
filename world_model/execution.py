"""How blocks and the decoder are run in training: recomputed instead of remembered, compiled."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .model import WorldModel


def recompute_in_backward(model: WorldModel) -> None:
    """Keep only the inputs of blocks and of the decoder for the backward pass and compute the rest again there.

    Memory for a third more arithmetic (Chen et al. 2016, arXiv:1604.06174). Loss and gradients stay the same.
    """
    _replace_forward(model, _recomputed)


def compile_parts(model: WorldModel) -> None:
    """Let torch.compile translate blocks and the decoder, each shape when it first comes; needs a C++ compiler.

    Every mode of training has its own shapes, and so has every length of a drawn past.
    """
    _replace_forward(model, torch.compile)


def _replace_forward(model: WorldModel, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    parts: list[nn.Module] = [*model.blocks, model.decoder]
    for part in parts:
        part.forward = change(part.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)

    return run
