"""Muon for the network's matrices, AdamW for everything else, one learning-rate schedule for both."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

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
    """Muon that puts matrices together which processes share, one after the other; its update needs all of one."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all matrices; all processes must do so at once."""
        if not any(isinstance(p, DTensor) for group in self.param_groups for p in group["params"]):
            return super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return None

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        known = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        known.lerp_(gradient, 1 - group["momentum"])
        pushed = gradient.lerp(known, group["momentum"]) if group["nesterov"] else known
        change = nn.Parameter(torch.zeros(parameter.shape, device=parameter.device))
        change.grad = whole(pushed)
        names = ("lr", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")
        torch.optim.Muon([change], weight_decay=0.0, momentum=0.0, nesterov=False,
                         **{name: group[name] for name in names}).step()
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(shared_like(change.detach(), parameter))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of the blocks, the decoder and between pixels and tokens, all other parameters).

    Muon's updates are equally large in all directions of a matrix. Near the pixels that lets small rare things, a
    ball, be learned as fast as large common ones.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = name.startswith(("blocks.", "tokenizer.project", "decoder."))
        chosen = inside and parameter.dim() == 2 and "modulation" not in name
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
