"""A training run's state on disk: safetensors and JSON, replaced atomically, never a pickle."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

STATE_FILE = "state.safetensors"


class TrainStateError(RuntimeError):
    """A training state that cannot be resumed."""


def save_state(folder: Path, step: int, groups: dict[str, dict[str, Tensor]], meta: dict[str, Any]) -> None:
    """Write `folder/state.safetensors`: tensors named `group/name`, the step and `meta` in its header."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{group}/{name}": tensor.detach().contiguous().clone()
               for group, items in groups.items() for name, tensor in items.items()}
    part = folder / (STATE_FILE + ".part")
    save_file(tensors, part, metadata={"step": str(step), "meta": json.dumps(meta)})
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, folder / STATE_FILE)


def load_state(folder: Path) -> tuple[int, dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """(step, groups, meta) of the last saved state, or None if the folder holds none.

    Raises:
        TrainStateError: if the file is truncated or of another kind.
    """
    from safetensors import safe_open

    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(path).items():
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = tensor
        return int(header["step"]), groups, json.loads(header["meta"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise TrainStateError(
            f"{path} is not a training state this version can resume ({error}); "
            "delete it to start over or pass another out=") from error


def check_fits(folder: Path, groups: dict[str, dict[str, Tensor]], shapes: dict[str, torch.Size]) -> None:
    """Refuse a state of a network of other sizes, or one with a part missing.

    Raises:
        TrainStateError: naming the first tensor that differs.
    """
    missing = {"model", "average", "optimizer", "buffers"} - groups.keys()
    found = {name: tensor.shape for name, tensor in groups.get("model", {}).items()}
    wrong = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
    if missing or wrong:
        what = f"lacks {sorted(missing)}" if missing else f"is of another network ({len(wrong)} tensors, {wrong[0]})"
        raise TrainStateError(f"{folder / STATE_FILE} {what}; pass the run's own model settings or another out=")


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: torch.nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights, with a short memory early on: min(decay, (1+n)/(10+n))."""
    keep = min(decay, (1 + step) / (10 + step))
    for name, parameter in model.named_parameters():
        average[name].lerp_(parameter, 1 - keep)
