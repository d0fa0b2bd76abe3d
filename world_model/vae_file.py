"""An AR-VAE on disk: `vae.safetensors` and `vae.json` in a folder. Never a pickle."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from .ar_vae import ArVae
from .precision import choose_dtype
from .vae_config import VaeConfig
from .world_error import WorldError

FORMAT, VERSION = "foreframe-vae", 2  # 2: queries and canvas begin where they stand in the picture
VAE_FILES = WEIGHTS, CARD = "vae.safetensors", "vae.json"


def save_vae(folder: str | Path, vae: ArVae, card: dict[str, Any]) -> None:
    """Write a folder with bfloat16 weights; what is there is replaced.

    Args:
        folder: created if missing.
        vae: what to write.
        card: whatever describes it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in vae.named_parameters()}
    tensors["scaler.mean"] = vae.scaler.mean.detach().float().contiguous()
    data = save(tensors)
    whole = card | {"format": FORMAT, "version": VERSION, "vae": asdict(vae.config),
                    "weights_sha256": hashlib.sha256(data).hexdigest()}
    for name, content in ((WEIGHTS, data), (CARD, (json.dumps(whole, indent=2) + "\n").encode())):
        (folder / (name + ".part")).write_bytes(content)
        os.replace(folder / (name + ".part"), folder / name)


def copy_vae(source: str | Path, folder: str | Path) -> str:
    """Copy an AR-VAE's files. Returns the hash of its weights.

    Raises:
        WorldError: if there is none at `source`, or a damaged one.
    """
    _, card = load_vae(source)
    for name in VAE_FILES:
        shutil.copyfile(Path(source) / name, Path(folder) / (name + ".part"))
        os.replace(Path(folder) / (name + ".part"), Path(folder) / name)
    return str(card["weights_sha256"])


def load_vae(folder: str | Path, device: str = "cpu", dtype: str = "auto") -> tuple[ArVae, dict[str, Any]]:
    """An AR-VAE, frozen, and its card.

    Args:
        folder: that `save_vae` wrote.
        device: a torch device.
        dtype: "fp32", "bf16", or "auto", what is fast there.

    Raises:
        WorldError: if files are missing, damaged or of another version.
        ValueError: if `dtype` is not one of the three.
    """
    folder, wanted = Path(folder), choose_dtype(device, dtype)
    try:
        card = json.loads((folder / CARD).read_text())
        if card.get("format") != FORMAT or card.get("version") != VERSION:
            raise ValueError(f"expected {FORMAT} {VERSION}, got {card.get('format')} {card.get('version')}")
        unknown = set(card["vae"]) - {field.name for field in fields(VaeConfig)}
        if unknown:
            raise ValueError(f"unknown settings {sorted(unknown)}")
        if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != card["weights_sha256"]:
            raise ValueError(f"{WEIGHTS} is not the file that {CARD} was written for")
        vae, tensors = ArVae(VaeConfig(**card["vae"])), load_file(folder / WEIGHTS)
        vae.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WorldError(f"no AR-VAE at {folder}: {error}; train it again, or restore it") from error
    mean = vae.scaler.mean.to(device)
    vae = vae.to(device=device, dtype=wanted).eval().requires_grad_(False)
    vae.scaler.mean = mean
    return vae, card
