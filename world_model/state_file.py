"""A WorldState on disk: one safetensors file with a JSON description and a checksum. Never a pickle."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .cache import FrameCache
from .state import Episode, Flight, StateError, WorldState

if TYPE_CHECKING:
    from .rollout import World

FORMAT, VERSION = "foreframe-state", 1


def save_state(state: WorldState, path: str | Path) -> None:
    """Write `state` to `path`, complete or not at all."""
    path = Path(path)
    tensors = {name: x.detach().cpu().contiguous() for name, x in _tensors(state.cache).items()}
    if state.flight:
        tensors["flight"] = state.flight.x.cpu().contiguous()
    card = {
        "format": FORMAT, "version": VERSION, "world": state.world, "seeds": state.seeds, "frames": state.frames,
        "episodes": [asdict(episode) for episode in state.episodes],
        "flight": [state.flight.steps, state.flight.stagger] if state.flight else None,
    }  # fmt: skip
    text = json.dumps(card)
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, {"foreframe": text, "sha256": _digest(text, tensors)})
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def load_state(path: str | Path, world: "World") -> WorldState:
    """Read what `save_state` wrote; see `WorldState.load`."""
    card, tensors = _read(Path(path))
    if card["world"] != world.hash:
        raise StateError(f"{path} belongs to world {card['world'][:12]}, this one is {world.hash[:12]}; "
                         f"load the world that it was saved from")
    batch = len(card["seeds"])
    kept = tensors["pictures"].shape[1] if tensors.get("pictures", torch.empty(0)).dim() == 5 else 1
    cache = FrameCache(world.model.config, world.model.tokenizer.place, batch, kept)
    expected = _tensors(cache)
    for name, memory in expected.items():
        found = tensors.get(name)
        if found is None or found.shape != memory.shape or found.dtype != memory.dtype:
            came = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise StateError(f"{path} does not fit this world: expected {name} {memory.dtype} {list(memory.shape)}, "
                             f"got {came}; load it with the number format that it was saved with")
        memory.copy_(found)
    flight = None
    if card["flight"]:
        flight = Flight(tensors["flight"].to(world.device), *card["flight"])
    episodes = [Episode(**episode) for episode in card["episodes"]]
    return WorldState(cache, card["seeds"], card["frames"], card["world"], flight, episodes)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors, checked to be those that were written."""
    if not path.is_file():
        raise StateError(f"no state at {path}: expected a file that WorldState.save wrote")
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (a safetensors file is no dict)
        text = notes["foreframe"]
        card = json.loads(text)
        if card["format"] != FORMAT:
            raise ValueError(f"its format is {card['format']!r}")
        version = card["version"]
        if version == VERSION:
            _check_lists(card)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path} is no state of a world, or truncated ({error}); save it again") from error
    if version != VERSION:
        raise StateError(f"{path} has version {version!r}, this Foreframe reads version {VERSION}; "
                         f"save it again with this Foreframe")
    if notes.get("sha256") != _digest(text, tensors):
        raise StateError(f"{path} is damaged (its checksum differs); restore it from a copy or save it again")
    return card, tensors


def _check_lists(card: dict[str, Any]) -> None:
    """Raise a ValueError unless the description says as much of every rollout."""
    seeds, frames, episodes = card["seeds"], card["frames"], card["episodes"]
    if not seeds or not len(seeds) == len(frames) == len(episodes):
        raise ValueError(f"it has {len(seeds)} seeds, {len(frames)} frame numbers and {len(episodes)} episodes")
    if not all(isinstance(n, int) and n >= 0 for n in [*seeds, *frames]):
        raise ValueError("seeds and frame numbers must be integers from 0")


def _tensors(cache: FrameCache) -> dict[str, Tensor]:
    """All memory of a cache by name."""
    named = {"recent": cache.recent, "actions": cache.actions, "pictures": cache.pictures}
    for i, ring in enumerate(cache.rings):
        parts = {"k": ring.k, "v": ring.v, "k_scale": ring.k_scale, "v_scale": ring.v_scale, "count": ring.count}
        named |= {f"ring{i}.{name}": x for name, x in parts.items() if x is not None}
    return named


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"{name} {x.dtype} {list(x.shape)}".encode())
        digest.update(x.contiguous().flatten().view(torch.uint8).numpy().data if x.numel() else b"")
    return digest.hexdigest()
