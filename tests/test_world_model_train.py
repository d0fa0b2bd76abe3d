"""Training: it learns, resumes to the step, ships a world, and says what is wrong with its inputs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from recorders import ZarrRecorder, open_recording
from world_model import Actions, WorldError, WorldModel, WorldModelConfig, load_world
from world_model.clips import ClipSource
from world_model.optimizer import OptimizerConfig
from world_model.sampler import SamplerConfig
from world_model.train import draw_contexts, fit_to_recording, train
from world_model.train_config import TrainConfig
from world_model.train_state import TrainStateError, load_state, save_state
from world_model.trainer import Trainer
from world_model.trainer_config import TrainerConfig
from world_model.transfer import start_from

ROOT = Path(__file__).parent.parent
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
    last = open_recording(data).episodes[-1].id
    assert world.card["data"]["heldout"] == json.loads((tmp_path / "split.json").read_text())["heldout"] == [last]
    events = json.loads((tmp_path / "events.json").read_text())
    assert [event["name"] for event in events] == ["reward -1", "reward 1", "end"]
    assert all(0 < entry["waited"] < entry["seconds"] for entry in log)
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


def command(data: Path, out: Path, *more: str) -> list[str]:
    """Arguments after `-m world_model.train` of a run as `config` describes it."""
    return [f"data={data}", f"out={out}", "heldout=0.2", "contexts=5", "device=cpu", "sampler.steps=2", "threads=1",
            "trainer.batch=4", "trainer.frames=4", "trainer.workers=0", "trainer.precision=fp32",
            *(f"model.{k}={v}".replace(" ", "") for k, v in TINY.items()), *more]


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_checkpoint_as_if_nothing_had_happened(data: Path, tmp_path: Path) -> None:
    whole, out = config(data, tmp_path / "whole", precision="fp32", steps=60), tmp_path / "killed"
    train(whole)
    process = subprocess.Popen([sys.executable, "-m", "world_model.train", *command(data, out, "trainer.steps=60",
                                "trainer.save_seconds=0.2")], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 240
    while ((state := load_state(out)) is None or state[0] < 5) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = load_state(out)
    assert state is not None and 5 <= state[0] < 60
    whole.out = str(out)
    train(whole)
    logs = [[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            for folder in (tmp_path / "whole", out)]
    assert [line["step"] for line in logs[1]] == [*range(1, 61)]
    for a, b in zip(*logs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3, abs=1e-5), a["step"]


def test_training_goes_on_from_the_weights_of_a_world(data: Path, tmp_path: Path) -> None:
    folder = train(config(data, tmp_path / "a"))
    onward = config(data, tmp_path / "b", steps=2)
    onward.init, onward.heldout = str(folder), 0.6
    onward.trainer.optimizer.matrix_lr = onward.trainer.optimizer.lr = 0.0
    train(onward)
    for name, tensor in load_world(folder, dtype="fp32").model.named_parameters():
        assert torch.allclose(tensor, weights(tmp_path / "b")[name], atol=1e-6), name
    first, second = (load_world(tmp_path / run / "world").card for run in "ab")
    assert second["data"]["heldout"] == first["data"]["heldout"]
    assert second["trained"]["init"]["weights_sha256"] == first["weights_sha256"]
    onward.model.layers = 3
    onward.out = str(tmp_path / "c")
    with pytest.raises(ValueError, match=r"has other sizes \(layers: 2, not 3\)"):
        train(onward)
    onward.init = str(tmp_path / "a")
    with pytest.raises(WorldError, match="no world at"):
        train(onward)
    whole = (folder / "world.safetensors").read_bytes()
    (folder / "world.safetensors").write_bytes(whole[:-100])
    onward.init = str(folder)
    with pytest.raises(WorldError, match="truncated or not a safetensors file"):
        train(onward)


def test_a_world_of_another_game_lends_all_that_does_not_depend_on_the_game(data: Path, tmp_path: Path) -> None:
    folder = train(config(data, tmp_path / "a"))
    square = load_world(folder, dtype="fp32").model
    other = replace(square.config, num_actions=5, reward_values=[0.0, 2.0, 7.0])
    model = WorldModel(other)
    model.scaler.mean.fill_(0.5)
    new = start_from(model, str(folder), ["Another"])
    assert new == ["conditioning.action.weight", *(f"conditioning.earlier.{i}.weight" for i in range(3)),
                   "outcome.reward.weight", "outcome.reward.bias"]
    given = dict(square.named_parameters())
    assert all(p.equal(given[name]) for name, p in model.named_parameters() if name not in new)
    assert (model.scaler.mean == 0.5).all()
    its, model = load_world(folder).action_meanings, WorldModel(other)
    start_from(model, str(folder), ["Another"], ["left out", its[2], its[0], "new", "new too"])
    for name in new[:4]:  # rows of what is called the same, and of what nobody knows
        table, lent = dict(model.named_parameters())[name], given[name]
        assert table[[1, 2, 5]].equal(lent[[2, 0, -1]]) and not table[0].equal(lent[0])
    turned = WorldModel(square.config)
    assert start_from(turned, str(folder), ["Another"], its[::-1]) == []
    assert all(dict(turned.named_parameters())[name][:3].equal(given[name][[2, 1, 0]]) for name in new[:4])
    assert start_from(same := WorldModel(square.config), str(folder), ["Square"], its) == []
    assert same.scaler.mean.equal(square.scaler.mean)


def test_a_world_may_begin_with_a_mixture_of_two(data: Path, tmp_path: Path) -> None:
    first = train(config(data, tmp_path / "a"))
    onward = config(data, tmp_path / "b", steps=6)
    onward.init = str(first)
    second = train(onward)
    one, two = (load_world(folder, dtype="fp32").model for folder in (first, second))
    mine, its = list(load_world(first).action_meanings), one.config.reward_values
    model = WorldModel(replace(one.config, num_actions=len(mine) + 1, reward_values=[*its, 9.0]))
    torch.nn.init.constant_(model.outcome.reward.bias, 3.0)
    new = start_from(model, {str(first): 0.75, str(second): 0.25}, ["Square"], [*mine, "new"])
    assert model.scaler.mean.equal(one.scaler.mean)
    for name, parameter in model.named_parameters():
        a, b = (dict(m.named_parameters())[name] for m in (one, two))
        assert name in new or torch.allclose(parameter, 0.75 * a + 0.25 * b, atol=1e-6)
    a, b = (m.outcome.reward.bias for m in (one, two))
    assert torch.allclose(model.outcome.reward.bias[:-1], 0.75 * a + 0.25 * b) and model.outcome.reward.bias[-1] == 3
    onward.out, onward.blend, onward.blend_share = str(tmp_path / "c"), str(second), 0.5
    trained = load_world(train(onward)).card["trained"]
    assert trained["blend"]["share"] == 0.5 and trained["blend"]["weights_sha256"] != trained["init"]["weights_sha256"]
    onward.init = ""
    with pytest.raises(ValueError, match="needs a world to be mixed with"):
        train(onward)


def test_a_checkpoint_of_something_else_is_refused_by_name(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run", steps=2))
    state = tmp_path / "run" / "state.safetensors"
    pictures, keys = gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8), gymnasium.spaces.Discrete(3)
    recording = open_recording(data)
    for name, id in (("game", "Circle"), ("recording", "Square")):
        card = recording.meta["game"] | {"id": id}
        with ZarrRecorder(tmp_path / name, pictures, keys, meta={"game": card}) as writer:
            for episode in recording.episodes[:2]:
                clip = recording.read(episode)
                writer.begin()
                for i in range(40):
                    writer.add(clip.observations[i], clip.actions[i], float(clip.rewards[i]), i == 39, False)
                writer.end(clip.observations[40])
    with pytest.raises(TrainStateError, match=r"is of another game \(Square, the recording is of Circle\)"):
        train(config(tmp_path / "game", tmp_path / "run"))
    with pytest.raises(TrainStateError, match=r"is of another recording \(6 of its 6 episodes are not here"):
        train(config(tmp_path / "recording", tmp_path / "run"))
    other = config(data, tmp_path / "run")
    other.model.heads = 1
    with pytest.raises(TrainStateError, match=r"is of another network \(heads: 2, not 1\); pass the run's own model"):
        train(other)
    whole, found = state.read_bytes(), load_state(tmp_path / "run")
    assert found is not None
    step, groups, meta = found
    save_state(tmp_path / "run", step, groups | {"buffers": {"old": torch.zeros(1)}}, meta)
    with pytest.raises(TrainStateError, match=r"is of another network \(2 tensors, mean\)"):
        train(config(data, tmp_path / "run"))
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainStateError, match="not a training state this version can resume"):
        train(config(data, tmp_path / "run"))
    state.write_bytes((tmp_path / "run" / "world" / "world.safetensors").read_bytes())
    with pytest.raises(TrainStateError, match="names no training step: is it a world's weights"):
        train(config(data, tmp_path / "run"))
    state.write_bytes(whole)
    train(config(data, tmp_path / "run", steps=3))


def test_a_held_out_episode_too_short_to_start_from_does_no_harm(data: Path, tmp_path: Path) -> None:
    recording = open_recording(data)
    pictures, keys = gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8), gymnasium.spaces.Discrete(3)
    with ZarrRecorder(tmp_path / "cut", pictures, keys, meta={"game": recording.meta["game"]}) as writer:
        for episode, steps in zip(recording.episodes, (40, 40, 4), strict=False):  # a recorder cuts its last one
            clip = recording.read(episode)
            writer.begin()
            for i in range(steps):
                writer.add(clip.observations[i], clip.actions[i], float(clip.rewards[i]), False, i == steps - 1)
            writer.end(clip.observations[steps])
    world = load_world(train(config(tmp_path / "cut", tmp_path / "run", steps=1)))
    assert len(world.contexts.frames) == 5 and len(world.card["data"]["heldout"]) == 1
    source = ClipSource(open_recording(tmp_path / "cut"), open_recording(tmp_path / "cut").episodes, [0.0], Actions(3),
                        progress=False)
    with pytest.raises(ValueError, match=r"no episode has more than 60 frames, twice model\.window=30"):
        draw_contexts(source, open_recording(tmp_path / "cut").episodes, 5, 30)


def test_inputs_that_cannot_be_used_are_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"not a state")
    with pytest.raises(TrainStateError, match="not a training state this version can resume"):
        train(config(data, tmp_path))
    command = [sys.executable, "-m", "world_model.train", f"data={tmp_path / 'none'}", f"out={tmp_path / 'run'}"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert result.returncode == 2 and result.stderr.startswith("train: ") and "Traceback" not in result.stderr
    (tmp_path / "file").touch()
    with pytest.raises(TrainStateError, match=r"file cannot be a folder of a run \(File exists\); pass another"):
        train(config(data, tmp_path / "file"))
    nowhere = config(data, tmp_path / "run")
    nowhere.device = "abacus"
    with pytest.raises(ValueError, match="device must be auto or one of torch's, such as cpu or cuda:0, got 'abacus'"):
        train(nowhere)
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
    source = ClipSource(recording, recording.episodes, again.model.reward_values, Actions(3), progress=False)
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
