"""Training: it learns, resumes to the step, ships a world, and says what is wrong with its inputs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from recorders import open_recording
from world_model import WorldModel, WorldModelConfig, load_world
from world_model.clips import ClipSource
from world_model.optimizer import OptimizerConfig
from world_model.sampler import SamplerConfig
from world_model.train import TrainConfig, fit_to_recording, train
from world_model.train_state import TrainStateError, load_state
from world_model.trainer import Trainer
from world_model.trainer_config import TrainerConfig

TINY = {"patch": [4, 4], "dim": 16, "layers": 2, "heads": 2, "window": 3, "temporal_every": 2,
        "channels": 8, "canvas": 2}


def config(data: Path, out: Path, **changes: object) -> TrainConfig:
    trainer = TrainerConfig(**({"steps": 8, "batch": 4, "frames": 4, "save_seconds": 1e9, "workers": 0} | changes))  # type: ignore[arg-type]
    return TrainConfig(data=str(data), out=str(out), heldout=0.2, contexts=5, device="cpu", trainer=trainer,
                       model=WorldModelConfig(height=8, width=12, **TINY), sampler=SamplerConfig(steps=2))


def weights(out: Path) -> dict[str, torch.Tensor]:
    state = load_state(out)
    assert state is not None
    return state[1]["model"]


def test_it_learns_and_ships_a_world(data: Path, tmp_path: Path) -> None:
    settings = config(data, tmp_path, steps=150, precision="fp32", batch=8)
    settings.trainer.optimizer = OptimizerConfig(matrix_lr=0.02, lr=0.01, warmup=10)
    folder = train(settings)
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    teacher = [entry["picture"] for entry in log if entry["mode"] == "teacher"]
    assert np.mean(teacher[-10:]) < 0.5 * np.mean(teacher[:10])
    world = load_world(folder)
    assert world.contexts.frames.shape == (5, 3, 8, 12, 3)
    assert world.card["trained"]["steps"] == 150 and world.model.config.reward_values == [-1.0, 0.0, 1.0]
    state = world.start(world.contexts.frames[0], world.contexts.actions[0], 0)
    assert world.step(state, 1)[0].shape == (8, 12, 3)


def test_a_run_in_two_parts_equals_a_run_in_one(data: Path, tmp_path: Path) -> None:
    first = config(data, tmp_path / "parts", precision="fp32")
    first.trainer.steps = 5
    first.trainer.optimizer.decay = 0.0
    second = config(data, tmp_path / "parts", precision="fp32")
    second.trainer.optimizer.decay = 0.0
    train(first)
    train(second)
    whole = config(data, tmp_path / "plain", precision="fp32")
    whole.trainer.optimizer.decay = 0.0
    train(whole)
    for name, tensor in weights(tmp_path / "plain").items():
        assert torch.equal(tensor, weights(tmp_path / "parts")[name]), name


def test_a_killed_run_goes_on_from_its_checkpoint(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "world_model.train", f"data={data}", f"out={tmp_path}", "contexts=2",
               "trainer.steps=100000", "trainer.batch=2", "trainer.frames=3", "trainer.save_seconds=0.2",
               "device=cpu", "threads=1", *(f"model.{k}={v}".replace(" ", "") for k, v in TINY.items())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               cwd=Path(__file__).parent.parent)
    deadline = time.monotonic() + 120
    while load_state(tmp_path) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = load_state(tmp_path)
    assert state is not None
    again = config(data, tmp_path, steps=state[0] + 2, batch=2, frames=3)
    again.contexts = 2
    train(again)
    finished = load_state(tmp_path)
    assert finished is not None and finished[0] >= state[0] + 2


def test_training_goes_on_from_the_weights_of_a_world(data: Path, tmp_path: Path) -> None:
    folder = train(config(data, tmp_path / "a"))
    onward = config(data, tmp_path / "b", steps=2)
    onward.init = str(folder)
    onward.trainer.optimizer.matrix_lr = onward.trainer.optimizer.lr = 0.0
    train(onward)
    for name, tensor in load_world(folder, dtype="fp32").model.named_parameters():
        assert torch.allclose(tensor, weights(tmp_path / "b")[name], atol=1e-6), name
    onward.model.layers = 3
    onward.out = str(tmp_path / "c")
    with pytest.raises(ValueError, match="has other sizes"):
        train(onward)


def test_inputs_that_cannot_be_used_are_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"not a state")
    with pytest.raises(TrainStateError, match="not a training state this version can resume"):
        train(config(data, tmp_path))
    train(config(data, tmp_path / "sizes", steps=3))
    other = config(data, tmp_path / "sizes", steps=5)
    other.model.layers = 3
    with pytest.raises(TrainStateError, match=r"is of another network .*pass the run's own model settings"):
        train(other)
    command = [sys.executable, "-m", "world_model.train", f"data={tmp_path / 'none'}", f"out={tmp_path / 'run'}"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert result.returncode == 2 and result.stderr.startswith("train: ") and "Traceback" not in result.stderr
    with pytest.raises(ValueError, match="precision must be auto, bf16 or fp32, got 'int8'"):
        TrainerConfig(precision="int8")
    with pytest.raises(ValueError, match=r"must not be negative and at most 1 together, got 0\.6"):
        TrainerConfig(event_share=0.6, hard_share=0.5)
    with pytest.raises(ValueError, match="moments must not be negative, got -1"):
        TrainerConfig(moments=-1)


def test_a_resumed_run_remembers_which_frames_were_hard(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path, steps=6))
    state = load_state(tmp_path)
    assert state is not None
    known = state[1]["clips"]
    assert (known["difficulty"] > 0).sum() > 5 and (known["nearby"] > 0).sum() > 20
    again = config(data, tmp_path)
    recording = open_recording(data)
    fit_to_recording(again.model, recording)
    source = ClipSource(recording, recording.episodes, again.model.reward_values, 3, progress=False)
    Trainer(WorldModel(again.model), source, again.sampler, again.trainer, tmp_path)
    assert np.array_equal(source.difficulty.losses, known["difficulty"].numpy())
    assert np.array_equal(source.nearby.losses, known["nearby"].numpy())


@pytest.mark.parametrize("name", ["ghost_share", "undecided_share", "own_share", "free_share"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_shares_outside_0_and_1_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be from 0 to 1, got {value}"):
        TrainerConfig(**{name: value})  # type: ignore[arg-type]


def test_ghosts_reach_the_loss(data: Path, tmp_path: Path) -> None:
    losses = []
    for share in (0.0, 1.0):
        settings = config(data, tmp_path / str(share), precision="fp32", steps=3, ghost_share=share, own_share=0.0)
        train(settings)
        log = (tmp_path / str(share) / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["nearby"] for line in log])
    assert losses[0][0] != losses[1][0]
