"""The command that distils: a world comes out that needs fewer passes, a killed run goes on, misfits are named."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from recorders import ZarrRecorder, open_recording
from tests.test_world_model_train import config, weights
from world_model import WorldModel, load_world, save_world
from world_model.distill import DistillConfig, distill
from world_model.train import train
from world_model.train_state import TrainStateError


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(config(data, tmp_path_factory.mktemp("teacher"), steps=3))


def settings(teacher: Path, data: Path, out: Path, **changes: object) -> DistillConfig:
    how = DistillConfig(world=str(teacher), data=str(data), out=str(out), passes=1, device="cpu")
    how.how.grid = 2
    for name, value in ({"steps": 4, "batch": 2, "frames": 4, "precision": "fp32"} | changes).items():
        setattr(how.trainer, name, value)
    how.trainer.optimizer.decay = 0.0
    return how


def test_a_student_is_a_world_of_fewer_passes(teacher: Path, data: Path, tmp_path: Path) -> None:
    world = load_world(distill(settings(teacher, data, tmp_path)))
    taught = load_world(teacher)
    assert (taught.sampler.steps, world.sampler.steps) == (2, 1)
    assert world.card["distilled"]["from"] == taught.hash and world.card["distilled"]["steps"] == 4
    assert (world.contexts.frames == taught.contexts.frames).all() and world.hash != taught.hash
    state = world.start(world.contexts.frames[0], world.contexts.actions[0], 0)
    assert world.step(state, 1)[0].shape == (8, 12, 3)


def test_a_run_in_two_parts_equals_one_in_one(teacher: Path, data: Path, tmp_path: Path) -> None:
    distill(settings(teacher, data, tmp_path / "parts", steps=2))
    distill(settings(teacher, data, tmp_path / "parts"))
    distill(settings(teacher, data, tmp_path / "whole"))
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "parts")[name]), name
    log = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4] and {entry["mode"] for entry in log} == {"teacher"}


def test_what_a_teacher_held_out_is_held_out_from_its_student(data: Path, teacher: Path, tmp_path: Path) -> None:
    world = load_world(teacher)
    first = open_recording(data).episodes[0].id
    save_world(tmp_path / "early", WorldModel(world.model.config), world.sampler,
               world.card | {"data": {"heldout": [first]}}, world.contexts)
    distill(settings(tmp_path / "early", data, tmp_path / "run", steps=1))
    assert json.loads((tmp_path / "run" / "split.json").read_text())["heldout"] == [first]


def test_a_folder_of_something_else_is_refused_and_left_alone(teacher: Path, data: Path, tmp_path: Path) -> None:
    distill(settings(teacher, data, tmp_path / "one", steps=1))
    two = settings(teacher, data, tmp_path / "one", steps=1)
    two.passes = 2
    with pytest.raises(TrainStateError, match=r"is of another network \(passes: 1, not 2\)"):
        distill(two)
    with pytest.raises(TrainStateError, match=r"is of another network \(passes: 1, not None, teacher: "):
        train(config(data, tmp_path / "one", steps=1))
    split, recording = tmp_path / "one" / "split.json", open_recording(data)
    before, clip = split.read_text(), recording.read(recording.episodes[0])
    pictures, keys = gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8), gymnasium.spaces.Discrete(3)
    with ZarrRecorder(tmp_path / "other", pictures, keys, meta={"game": recording.meta["game"]}) as writer:
        for _ in range(2):
            writer.begin()
            for i in range(40):
                writer.add(clip.observations[i], clip.actions[i], float(clip.rewards[i]), i == 39, False)
            writer.end(clip.observations[40])
    with pytest.raises(TrainStateError, match="is of another recording"):
        distill(settings(teacher, tmp_path / "other", tmp_path / "one", steps=1))
    assert split.read_text() == before
    (tmp_path / "one" / "state.safetensors").unlink()  # a run killed before its first checkpoint
    distill(settings(teacher, tmp_path / "other", tmp_path / "one", steps=1))
    found = json.loads(split.read_text())
    assert found["heldout"] == [open_recording(tmp_path / "other").episodes[-1].id] and len(found["training"]) == 1


def test_what_does_not_fit_is_named(teacher: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="grid must be a multiple of the student's 3 passes, got 2"):
        wrong = settings(teacher, data, tmp_path)
        wrong.passes = 3
        distill(wrong)
    abacus = settings(teacher, data, tmp_path)
    abacus.device = "abacus"
    with pytest.raises(ValueError, match="device must be auto or one of torch's"):
        distill(abacus)
    command = [sys.executable, "-m", "world_model.distill", "world=envs/worlds/Pong-v0", f"data={data}",
               f"out={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "pass a recording of the same game" in result.stderr


def test_a_guided_teacher_is_refused(teacher: Path, data: Path, tmp_path: Path) -> None:
    world = load_world(teacher, dtype="fp32")
    guided = replace(world.sampler, guidance=2.0)
    save_world(tmp_path / "guided", world.model, guided, world.card, world.contexts)
    with pytest.raises(ValueError, match=r"is drawn with guidance 2\.0, which no student learns"):
        distill(settings(tmp_path / "guided", data, tmp_path / "run"))
