"""World folders: what is saved comes back; what does not fit is refused in one line."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch

from world_model import WorldError, load_world


@pytest.fixture
def folder(tiny_world: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(copytree(tiny_world, tmp_path / "Tiny-v0"))


def edit_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "world.json").read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = card
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / "world.json").write_text(json.dumps(card))


def refused(folder: Path, match: str) -> None:
    with pytest.raises(WorldError, match=match) as error:
        load_world(folder)
    assert "\n" not in str(error.value)


def test_who_may_read_the_card_may_read_the_rest(tiny_world: Path, tmp_path: Path) -> None:
    world = load_world(tiny_world)
    world.start(world.contexts.frames[0], world.contexts.actions[0], 0).save(tmp_path / "state")
    allowed = {path.stat().st_mode for path in (*tiny_world.glob("world.*"), tmp_path / "state")}
    assert len(allowed) == 1


def test_a_saved_world_comes_back_with_the_same_future(folder: Path, tiny_world: Path) -> None:
    worlds = load_world(folder), load_world(tiny_world)
    assert worlds[0].hash == worlds[1].hash
    frames = []
    for world in worlds:
        state = world.start(world.contexts.frames[0], world.contexts.actions[0], 3)
        frames.append(np.stack([world.step(state, a)[0] for a in (0, 1, 2, 3)]))
    assert (frames[0] == frames[1]).all()


def test_loading_twice_shares_the_weights(tiny_world: Path) -> None:
    assert load_world(tiny_world).model is load_world(str(tiny_world)).model


def test_weights_can_be_loaded_in_either_precision(folder: Path) -> None:
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        world = load_world(folder, dtype=name)
        assert world.dtype == dtype and world.model.scaler.mean.dtype == torch.float32
        state = world.start(world.contexts.frames[0], world.contexts.actions[0], 3)
        assert world.step(state, 0)[0].dtype == np.uint8
    with pytest.raises(ValueError, match="precision must be auto, bf16 or fp32, got 'int4'"):
        load_world(folder, dtype="int4")


def test_a_folder_without_a_world(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "no world at .*expected a folder with world.json")


def test_a_card_that_is_not_one(folder: Path) -> None:
    (folder / "world.json").write_text("{ not json")
    refused(folder, "is not JSON")
    (folder / "world.json").write_text('{"format": "other"}')
    refused(folder, "does not describe a Foreframe world")


def test_another_version(folder: Path) -> None:
    edit_card(folder, version=99)
    refused(folder, "version 99, this Foreframe reads version 3; update Foreframe")
    edit_card(folder, version=2)
    refused(folder, "version 2, this Foreframe reads version 3; fetch or train it again")


def test_truncated_weights(folder: Path) -> None:
    path = folder / "world.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(folder, "truncated or not a safetensors file")


def test_foreign_weights(folder: Path) -> None:
    path = folder / "world.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(folder, "SHA-256 differs")


def test_missing_weights_and_contexts(folder: Path) -> None:
    (folder / "contexts.zarr" / "zarr.json").unlink()
    refused(folder, "cannot read .*contexts.zarr")
    (folder / "world.safetensors").unlink()
    refused(folder, "world.safetensors is missing")


@pytest.mark.parametrize(("setting", "value", "match"), [
    ("model__dim", 10**9, "impossible sizes or settings: dim must be an integer from 1 to 8192"),
    ("model__layers", -1, "layers must be an integer from 1 to 128"),
    ("model__dim", "wide", "impossible sizes or settings"),
    ("model__dim", 8192, "does not fit world.json|more than 2,000,000,000 parameters"),
    ("model__layers", 3, r"does not fit world.json: \d+ tensors differ"),
    ("model__colour", 1, r"unknown model settings \['colour'\]"),
    ("sampler__steps", 0, "steps must be from 1 to 1000"),
    ("sampler__reuse", "yes", "reuse must be true or false"),
])  # fmt: skip
def test_absurd_sizes(folder: Path, setting: str, value: object, match: str) -> None:
    edit_card(folder, **{setting: value})
    refused(folder, match)


def test_weights_are_the_pages_of_the_file(tiny_world: Path) -> None:
    """So that processes share them: in bfloat16 nothing is copied."""
    world = load_world(tiny_world, dtype="bf16")
    weight = world.model.blocks[0].qkv.weight
    with open("/proc/self/maps", encoding="utf-8") as maps:
        ranges = [[int(x, 16) for x in line.split()[0].split("-")] for line in maps if str(tiny_world) in line]
    assert any(start <= weight.data_ptr() < end for start, end in ranges)
