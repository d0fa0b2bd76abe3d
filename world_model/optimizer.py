"""Muon for the network's matrices, AdamW for everything else, one learning-rate schedule for both."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .precision import choose_dtype
from .shares import shared_like, whole


@dataclass(kw_only=True)
class OptimizerConfig:
    """Learning rates and the schedule: linear warm-up, constant, cosine to zero over the last share of steps."""

    matrix_lr: float = 2e-3
    """Muon's rate for block matrices, scaled to AdamW's update size (Moonlight, arXiv:2502.16982)"""
    lr: float = 1e-3
    """AdamW's rate for embeddings, norms, biases and heads"""
    weight_decay: float = 0.02
    warmup: int = 200
    """steps"""
    decay: float = 0.4
    """share of the run, at its end, over which the rate falls to zero"""
    clip: float = 1.0
    """largest gradient norm"""


class Optimizer:
    """The two optimizers behind one step."""

    def __init__(self, model: nn.Module, config: OptimizerConfig):
        self.config = config
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        matrices, others = split_parameters(model)
        self.parts: list[torch.optim.Optimizer] = [
            WholeMuon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay,
                      adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98)),
        ]
        self.rates = [config.matrix_lr, config.lr]

    def step(self, fraction: float) -> float:
        """Clip, scale the rates by `fraction`, update, clear the gradients. Returns the gradient norm."""
        norm = float(whole(nn.utils.clip_grad_norm_(self.parameters, self.config.clip)))
        for part, rate in zip(self.parts, self.rates, strict=True):
            for group in part.param_groups:
                group["lr"] = rate * fraction
            part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        """All moments as named tensors, whole; all processes must ask."""
        tensors = {}
        for i, part in enumerate(self.parts):
            for index, state in part.state_dict()["state"].items():
                for name, value in state.items():
                    tensors[f"{i}.{index}.{name}"] = whole(torch.as_tensor(value)).clone()
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        for i, part in enumerate(self.parts):
            known = part.state_dict()
            known["state"], parameters = {}, part.param_groups[0]["params"]
            for key, value in tensors.items():
                which, index, name = key.split(".")
                if int(which) == i:
                    shared = shared_like(value, parameters[int(index)])
                    known["state"].setdefault(int(index), {})[name] = shared
            part.load_state_dict(known)


class WholeMuon(torch.optim.Muon):
    """Muon in the number format that the processor multiplies fast; matrices that processes share are put together.

    Its update needs all of a matrix. torch's own is in bfloat16 everywhere, even where that is ten times as slow.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all matrices; all processes must do so at once."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        known = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        pushed = gradient.lerp(known, group["momentum"]) if group["nesterov"] else known
        change = orthogonal(whole(pushed), group["ns_coefficients"], group["ns_steps"], group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        size = 0.2 * math.sqrt(max(parameter.shape))  # AdamW's update size: arXiv:2502.16982, eq. 4
        parameter.add_(shared_like(change.to(parameter.dtype), parameter), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float = 1e-7) -> Tensor:
    """Nearly the nearest matrix whose singular values are all alike, by a quintic Newton-Schulz iteration.

    Args:
        matrix: [A, B].
        coefficients: of x, x^3 and x^5 in a step; Muon's, (3.4445, -4.775, 2.0315), end between 0.7 and 1.2.
        steps: of the iteration.
        eps: smallest norm that is divided by.

    Returns:
        [A, B] in what `choose_dtype` finds fast here.
    """
    linear, cubic, quintic = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(choose_dtype(matrix.device, "auto"))
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x.T if tall else x


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of the blocks, the decoder and between pixels and tokens, all other parameters).

    Muon's updates are equally large in all directions of a matrix. Near the pixels that lets small rare things, a
    ball, be learned as fast as large common ones.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = name.startswith(("blocks.", "tokenizer.project", "decoder.", "encoder.blocks.", "encoder.read"))
        chosen = inside and parameter.dim() == 2 and name.endswith("weight") and "modulation" not in name
        (matrices if chosen else others).append(parameter)
    return matrices, others


def rate_fraction(step: int, total: int, config: OptimizerConfig) -> float:
    """Share of the peak learning rate at a step: warm-up, hold, cosine to zero."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    start = total * (1 - config.decay)
    if step < start:
        return warm
    progress = min(1.0, (step - start) / max(total - start, 1))
    return warm * 0.5 * (1 + math.cos(math.pi * progress))
