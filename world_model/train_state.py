"""A training run's state on disk: safetensors and JSON, replaced atomically, never a pickle."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

STATE_FILE = "state.safetensors"


class TrainStateError(RuntimeError):
    """A training state that cannot be resumed."""


@dataclass
class Origin:
    """What a state was trained on, and what network it is of."""

    game: str = ""
    """id of the game; empty: not known"""
    episodes: list[str] = field(default_factory=list)
    """ids of all episodes of the recording; empty: not known"""
    network: dict[str, Any] = field(default_factory=dict)
    """settings of the network"""

    def check(self, folder: Path, then: dict[str, Any] | None) -> bool:
        """Whether a state in `folder` that notes the origin `then` is of the very recording, not of a shorter one.

        States of earlier versions note none; their recording is taken to be this one.

        Raises:
            TrainStateError: if it is of another game, recording or network.
        """
        if then is None:
            return True
        names = (then["network"].keys() | self.network.keys()) - {"window"}  # which has no weights
        both = {name: (then["network"].get(name), self.network.get(name)) for name in names}
        differ = {name: (was, now) for name, (was, now) in both.items() if was != now and (was or now)}  # or it is new
        lost = sorted(set(then["episodes"]) - set(self.episodes)) if self.episodes else []
        if then["game"] and self.game and then["game"] != self.game:
            what = f"of another game ({then['game']}, the recording is of {self.game})"
        elif lost:
            what = f"of another recording ({len(lost)} of its {len(then['episodes'])} episodes are not here, {lost[0]})"
        elif differ:
            was = ", ".join(f"{name}: {a}, not {b}" for name, (a, b) in sorted(differ.items()))
            what = f"of another network ({was})"
        else:
            return not self.episodes or then["episodes"] == self.episodes
        raise TrainStateError(f"{folder / STATE_FILE} is {what}; pass the run's own model settings and data "
                              "or another out=")


def run_folder(path: str) -> Path:
    """The folder of a run, made if need be.

    Raises:
        TrainStateError: if it cannot be.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainStateError(f"out={path} cannot be a folder of a run ({error.strerror}); pass another") from error
    return folder


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
        if "step" not in header:
            raise ValueError("its header names no training step: is it a world's weights?")
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(path).items():
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = tensor
        return int(header["step"]), groups, json.loads(header["meta"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise TrainStateError(
            f"{path} is not a training state this version can resume ({error}); "
            "delete it to start over or pass another out=") from error


def check_fits(folder: Path, groups: dict[str, dict[str, Tensor]], shapes: dict[str, dict[str, torch.Size]]) -> None:
    """Refuse a state of a network of other sizes, or one with a part missing.

    Args:
        folder: of the run.
        groups: the state's tensors.
        shapes: of what the network has, by group: "model" and "buffers".

    Raises:
        TrainStateError: naming the first tensor that differs.
    """
    missing = {"model", "average", "optimizer", "buffers"} - groups.keys()
    wrong = []
    for group, wanted in shapes.items():
        found = {name: tensor.shape for name, tensor in groups.get(group, {}).items()}
        wrong += sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if missing or wrong:
        what = f"lacks {sorted(missing)}" if missing else f"is of another network ({len(wrong)} tensors, {wrong[0]})"
        raise TrainStateError(f"{folder / STATE_FILE} {what}; pass the run's own model settings or another out=")


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: torch.nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights, with a short memory early on: min(decay, (1+n)/(10+n))."""
    keep = min(decay, (1 + step) / (10 + step))
    for name, parameter in model.named_parameters():
        average[name].lerp_(parameter, 1 - keep)
