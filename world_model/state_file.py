"""A WorldState on disk: one safetensors file with a JSON description and a checksum. Never a pickle."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .actions import Actions
from .cache import FrameCache
from .memory import Memory
from .state import Episode, Flight, StateError, WorldState

if TYPE_CHECKING:
    from .rollout import World

FORMAT, VERSION = "foreframe-state", 1


def save_state(state: WorldState, path: str | Path) -> None:
    """Write `state` to `path`, complete or not at all, also when others save to it at the same time; the last stays.

    Raises:
        StateError: if `path` lies in no folder that exists.
        OSError: if it cannot be written there, or is a folder. Nothing is left behind.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise StateError(f"expected the path of a file in a folder that exists, got {path}")
    tensors = {name: x.detach().cpu().contiguous() for name, x in _tensors(state.cache).items()}
    if state.flight:
        tensors["flight"] = state.flight.x.cpu().contiguous()
    card = {
        "format": FORMAT, "version": VERSION, "world": state.world, "seeds": state.seeds, "frames": state.frames,
        "episodes": [asdict(episode) for episode in state.episodes],
        "flight": list(state.flight.plan) if state.flight else None, "conditions": state.conditions,
        "memory": state.cache.policy,
    }  # fmt: skip
    text = json.dumps(card)
    with TemporaryDirectory(suffix=".part", dir=path.parent) as folder:
        part = Path(folder, "state")
        with open(part, "wb") as file:  # `save_file` lets nobody else read it
            file.write(save(tensors, {"foreframe": text, "sha256": _digest(text, tensors)}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)


def load_state(path: str | Path, world: "World") -> WorldState:
    """Read what `save_state` wrote; see `WorldState.load`."""
    path = Path(path)
    card, tensors = _read(path)
    if card["world"] != world.hash:
        raise StateError(f"{path} belongs to world {card['world'][:12]}, this one is {world.hash[:12]}; "
                         f"load the world that it was saved from")
    batch, shape = len(card["seeds"]), tensors["pictures"].shape
    if len(shape) != 5 or shape[0] != batch or not shape[1]:
        raise StateError(f"{path} does not fit itself: {batch} rollouts with pictures {list(shape)}; save it again")
    if card.get("memory", "window") != world.memory:
        raise StateError(f"{path} remembers by the policy {card.get('memory', 'window')}, this world by "
                         f"{world.memory}: load it with the one it was saved with")
    cache = FrameCache(world.model.config, world.model.tokenizer.place, batch, shape[1], world.codec, world.memory)
    for name, memory in _tensors(cache).items():
        found = tensors.get(name)
        if found is None or found.shape != memory.shape or found.dtype != memory.dtype:
            came = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise StateError(f"{path} does not fit this world: expected {name} {memory.dtype} {list(memory.shape)}, "
                             f"got {came}; load it with the number format that it was saved with")
        memory.copy_(found)
    _check_values(path, cache, world.model.actions)
    return WorldState(cache, card["seeds"], card["frames"], card["world"], _flight(path, card, tensors, world),
                      [Episode(**episode) for episode in card["episodes"]], _conditions(path, card, world))


def _conditions(path: Path, card: dict[str, Any], world: "World") -> list[int]:
    """One per rollout; early files have none."""
    conditions, count = card.get("conditions", [0] * len(card["seeds"])), max(len(world.conditions), 1)
    if not isinstance(conditions, list) or len(conditions) != len(card["seeds"]) or not all(
            _is_count(n) and n < count for n in conditions):
        raise StateError(f"{path} is under the conditions {conditions}, expected {len(card['seeds'])} numbers below "
                         f"{count}; save it again")
    return conditions


def _check_values(path: Path, cache: FrameCache, actions: Actions) -> None:
    """Whether numbers that are used as places lie where they can."""
    counts = [*(ring.count for ring in cache.rings), *(x for x in cache.decoding if x.dtype == torch.int64)]
    if any((count < 0).any() or (count > 2**30).any() for count in counts):
        raise StateError(f"{path} counts {[count.tolist() for count in counts]} frames; save it again")
    if not all(ring.sound() for ring in cache.rings if isinstance(ring, Memory)):
        raise StateError(f"{path} has more tokens between than there is room for; save it again")
    if not actions.possible(cache.actions):
        raise StateError(f"{path} has actions that are not {actions.describe()}; save it again")


def _flight(path: Path, card: dict[str, Any], tensors: dict[str, Tensor], world: "World") -> Flight | None:
    """Frames in flight, if there are any."""
    if card["flight"] is None:
        return None
    steps, stagger, *rest = card["flight"]
    shift = rest[0] if rest else world.sampler.shift  # early files do not tell it
    x = tensors["flight"]
    expected = (len(card["seeds"]), -(-steps // stagger) - 1, *world.model.config.frame_shape)
    if x.shape != expected or x.dtype != torch.float32:
        raise StateError(f"{path} has frames in flight {x.dtype} {list(x.shape)}, expected torch.float32 "
                         f"{list(expected)}; save it again")
    return Flight(x.to(world.device), steps, stagger, shift)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors, checked to be those that were written."""
    if not path.is_file():
        raise StateError(f"no state at {path}: expected a file that WorldState.save wrote")
    try:
        data = path.read_bytes()  # at once: `safe_open` opens the path twice, and it may be another file by then
        tensors = load(data)
        notes = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
        text = notes["foreframe"]
        card = json.loads(text)
        if card["format"] != FORMAT:
            raise ValueError(f"its format is {card['format']!r}")
        version = card["version"]
        if version == VERSION:
            _check_card(card, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StateError(f"{path} is no state of a world, or truncated ({error}); save it again") from error
    if version != VERSION:
        raise StateError(f"{path} has version {version!r}, this Foreframe reads version {VERSION}; "
                         f"save it again with this Foreframe")
    if notes.get("sha256") != _digest(text, tensors):
        raise StateError(f"{path} is damaged (its checksum differs); restore it from a copy or save it again")
    return card, tensors


def _check_card(card: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Raise a ValueError or KeyError unless the description is one that `save_state` may have written."""
    seeds, frames, episodes, flight = (card[name] for name in ("seeds", "frames", "episodes", "flight"))
    if not isinstance(card["world"], str) or "pictures" not in tensors:
        raise ValueError("it names no world or has no pictures")
    if not all(isinstance(x, list) for x in (seeds, frames, episodes)):
        raise ValueError("seeds, frame numbers and episodes must be lists")
    if not seeds or not len(seeds) == len(frames) == len(episodes):
        raise ValueError(f"it has {len(seeds)} seeds, {len(frames)} frame numbers and {len(episodes)} episodes")
    if not all(_is_count(n) for n in [*seeds, *frames]):
        raise ValueError("seeds and frame numbers must be integers from 0")
    if not all(_is_episode(episode) for episode in episodes):
        raise ValueError("an episode has other fields than those of `Episode`, or of other types")
    if flight is not None and not (_is_plan(flight) and "flight" in tensors):
        raise ValueError(f"its frames in flight are described by {flight!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_plan(value: object) -> bool:
    """Whether it is `Flight.plan`; files of early versions have no shift."""
    if not isinstance(value, list) or len(value) not in (2, 3) or not all(map(_is_count, value[:2])):
        return False
    return 1 <= value[1] < value[0] and all(isinstance(shift, float) for shift in value[2:])


def _is_episode(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"steps", "over", "rng", "notes"}:
        return False
    rng, notes = value["rng"], value["notes"]
    return (_is_count(value["steps"]) and isinstance(value["over"], bool) and isinstance(notes, dict)
            and (rng is None or isinstance(rng, dict)))


def _tensors(cache: FrameCache) -> dict[str, Tensor]:
    """All memory of a cache by name."""
    named = {"recent": cache.past, "actions": cache.actions, "pictures": cache.pictures}
    named |= {f"decoding{i}": x for i, x in enumerate(cache.decoding)}
    for i, ring in enumerate(cache.rings):
        named |= {f"ring{i}.{name}": x for name, x in ring.tensors().items()}
    return named


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"{name} {x.dtype} {list(x.shape)}".encode())
        digest.update(x.contiguous().flatten().view(torch.uint8).numpy().data if x.numel() else b"")
    return digest.hexdigest()
