"""A world on disk: `world.safetensors`, `world.json` and `contexts.zarr` in one folder. Never a pickle."""

import hashlib
import json
import os
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .codec import VaeCodec
from .conditioning import ActionVector
from .contexts import Contexts
from .measured import measured, put_measured
from .memory_policies import checked_policy
from .model import WorldModel
from .model_config import WorldModelConfig
from .precision import choose_dtype
from .rollout import World
from .sampler import SamplerConfig
from .switching import SWITCHES, checked_switch
from .vae_file import copy_vae, load_vae
from .world_error import WorldError

FORMAT = "foreframe-world"
VERSION = 3  # 2: pixels drawn by convolutions; 3: which read the noisy frame undamped
WEIGHTS, CARD, CONTEXTS = "world.safetensors", "world.json", "contexts.zarr"
MAX_PARAMETERS = 2_000_000_000


def save_world(folder: str | Path, model: WorldModel, sampler: SamplerConfig, card: dict[str, Any],
               contexts: Contexts, vae: str | Path = "") -> None:
    """Write a world folder with bfloat16 weights.

    Args:
        folder: created if missing; an existing world there is replaced.
        card: name, fps, actions {meanings, keys}, game, metrics, licence and whatever else describes the world.
        vae: folder of the AR-VAE whose tokens the world draws; its files are copied.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    tensors |= {name: x.detach().float().contiguous() for name, x in measured(model).items()}
    (folder / (WEIGHTS + ".part")).write_bytes(save(tensors))  # `save_file` lets nobody else read it
    os.replace(folder / (WEIGHTS + ".part"), folder / WEIGHTS)
    contexts.save(folder / CONTEXTS)
    if vae:
        card = card | {"vae_sha256": copy_vae(vae, folder)}
    write_card(folder, card | {"format": FORMAT, "version": VERSION, "model": asdict(model.config),
                               "sampler": asdict(sampler), "weights_sha256": _sha256(folder / WEIGHTS)})


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace `world.json` atomically."""
    part = folder / (CARD + ".part")
    part.write_text(json.dumps(card, indent=2) + "\n")
    os.replace(part, folder / CARD)


def read_card(folder: str | Path) -> dict[str, Any]:
    """`world.json` of a world folder, checked for format and version.

    Raises:
        WorldError: if the folder holds no world or one of another version.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        raise WorldError(f"no world at {folder}: expected a folder with {CARD}, {WEIGHTS} and {CONTEXTS}")
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise WorldError(f"{path} is not JSON ({error}); restore it from the world's source") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise WorldError(f"{path} does not describe a Foreframe world (expected format {FORMAT!r})")
    if card.get("version") != VERSION:
        raise WorldError(f"{path} has version {card.get('version')!r}, this Foreframe reads version {VERSION}; "
                         f"{'update Foreframe' if _newer(card.get('version')) else 'fetch or train it again'}")
    return card


def load_world(folder: str | Path, device: str = "cpu", dtype: str = "auto") -> World:
    """Load a world; repeated calls share the weights in memory.

    Args:
        folder: a world folder.
        device: a torch device.
        dtype: "fp32", "bf16", or "auto": what is fastest for this device, decided by its features alone.

    Raises:
        WorldError: if files are missing, truncated, inconsistent or of another version.
        ValueError: if `dtype` is not one of the three.
    """
    choose_dtype(device, dtype)
    folder = Path(folder).resolve()
    read_card(folder)
    stamp = (folder / WEIGHTS).stat().st_mtime_ns if (folder / WEIGHTS).exists() else 0
    with torch.device("cpu"):  # whatever the caller's default is
        return _load(folder, device, dtype, stamp, (folder / CARD).stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(folder: Path, device: str, dtype: str, stamp: int, card_stamp: int) -> World:
    card = read_card(folder)
    model_config, sampler = _configs(folder, card)
    path = folder / WEIGHTS
    model = _read_weights(path, model_config, torch.device(device), choose_dtype(device, dtype))
    digest = _sha256(path)
    if card.get("weights_sha256") not in (None, digest):
        raise WorldError(f"{path} is not the file {CARD} was written for (SHA-256 differs); fetch the world again")
    try:
        contexts = Contexts.load(folder / CONTEXTS)
    except Exception as error:  # zarr raises many kinds
        raise WorldError(f"cannot read {folder / CONTEXTS}: {error}; fetch the world again") from error
    parts = [card["model"], card["sampler"], *([card["vae_sha256"]] if model_config.latents else [])]
    world = World(model.eval().requires_grad_(False), sampler, card, contexts, hashlib.sha256(
        (digest + json.dumps(parts, sort_keys=True)).encode()).hexdigest(),
        _codec(folder, card, device, dtype) if model_config.latents else None)
    if contexts.conditions.max(initial=0) >= max(len(model_config.conditions), 1):
        raise WorldError(f"{folder / CONTEXTS} holds clips under condition {contexts.conditions.max()}, the world has "
                         f"{len(model_config.conditions)}; fetch the world again")
    if contexts.frames.shape[2:] != world.observation_shape:
        raise WorldError(f"{folder / CONTEXTS} holds {list(contexts.frames.shape[2:])} pictures, "
                         f"the model draws {list(world.observation_shape)}")
    return world


def _codec(folder: Path, card: dict[str, Any], device: str, dtype: str) -> VaeCodec:
    """Of a world that draws an AR-VAE's tokens."""
    vae, its = load_vae(folder, device, dtype)
    if its["weights_sha256"] != card["vae_sha256"]:
        raise WorldError(f"the AR-VAE in {folder} is not the one {CARD} was written for; fetch the world again")
    return VaeCodec(vae)


def _configs(folder: Path, card: dict[str, Any]) -> tuple[WorldModelConfig, SamplerConfig]:
    try:
        for kind, key in ((WorldModelConfig, "model"), (SamplerConfig, "sampler")):
            unknown = set(card[key]) - {f.name for f in fields(kind)}
            if unknown:
                raise ValueError(f"unknown {key} settings {sorted(unknown)}")
        if card["model"].get("latents") and "vae_sha256" not in card:
            raise ValueError("it names no AR-VAE, whose tokens the model draws")
        config = WorldModelConfig(**card["model"])
        config.check_patch()
        checked_policy(str(card.get("memory", "window")))
        checked_switch(str(card.get("switch", SWITCHES[0])))
        return config, SamplerConfig(**card["sampler"])
    except (KeyError, TypeError, ValueError) as error:
        raise WorldError(f"{folder / CARD} has impossible sizes or settings: {error}") from error


def _read_weights(path: Path, config: WorldModelConfig, device: torch.device, dtype: torch.dtype) -> WorldModel:
    """Check names and shapes in the file's header first: nothing is allocated for a file that does not fit."""
    if not path.is_file():
        raise WorldError(f"{path} is missing; fetch the world again")
    with torch.device("meta"):
        model = WorldModel(config)
    expected = {name: x.shape for name, x in model.state_dict().items()}
    if sum(shape.numel() for shape in expected.values()) > MAX_PARAMETERS:
        raise WorldError(f"{path.parent / CARD} asks for more than {MAX_PARAMETERS:,} parameters; check its sizes")
    try:
        with safe_open(path, "pt") as file:
            found = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (a safetensors file is no dict)
            if found != expected:
                wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
                raise WorldError(f"{path} does not fit {CARD}: {len(wrong)} tensors differ, first {wrong[0]} "
                                 f"(expected {list(expected.get(wrong[0], []))}, "
                                 f"got {list(found.get(wrong[0], []))})")
            loaded = {name: file.get_tensor(name) for name in found}
    except (SafetensorError, OSError) as error:
        raise WorldError(f"{path} is truncated or not a safetensors file ({error}); fetch the world again") from error
    # Parameters are those of the file, which is mapped and not read: in bfloat16 on a CPU processes share one copy.
    model.load_state_dict(loaded, strict=False, assign=True)
    for module in model.conditioning.modules():  # outside the file
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    model.conditioning.fill()
    model = model.to(device=device, dtype=dtype)
    for table in (model.conditioning.action, *model.conditioning.earlier):
        if isinstance(table, ActionVector):  # bounds stay exact whatever weights are rounded to
            table.fill()
    put_measured(model, {name: loaded[name].clone().to(device) for name in measured(model)})
    return model


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _newer(version: object) -> bool:
    return isinstance(version, int) and version > VERSION
