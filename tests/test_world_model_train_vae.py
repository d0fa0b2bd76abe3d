"""Training an AR-VAE: it learns, goes on after a kill, and what it wrote is read again or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recorders import TrainingCache, open_recording
from world_model import WorldError
from world_model.clips import ClipSource
from world_model.metrics import gaussian, psnr, similarity, ssim
from world_model.optimizer import OptimizerConfig
from world_model.train import actions_of
from world_model.train_state import TrainStateError, load_state
from world_model.train_vae import TrainVaeConfig, measure, train_vae
from world_model.trainer_config import TrainerConfig
from world_model.vae_config import VaeConfig
from world_model.vae_file import load_vae
from world_model.vae_objective import VaeLossConfig


def config(data: Path, out: Path, **changes: object) -> TrainVaeConfig:
    trainer = TrainerConfig(**({"steps": 6, "batch": 2, "frames": 3, "moments": 0, "save_seconds": 1e9, "workers": 0,
                                "precision": "fp32"} | changes))  # type: ignore[arg-type]
    trainer.optimizer = OptimizerConfig(matrix_lr=0.01, lr=0.005, warmup=5, decay=0.0)
    vae = VaeConfig(height=8, width=12, patch=[4, 4], tokens=4, channels=4, dim=16, heads=2, encoder_layers=1,
                    decoder_layers=1, mlp_ratio=2, window=3, canvas=4)
    return TrainVaeConfig(data=str(data), out=str(out), heldout=0.2, device="cpu", trainer=trainer, vae=vae)


def test_it_learns_and_writes_what_can_be_read(data: Path, tmp_path: Path) -> None:
    folder = train_vae(config(data, tmp_path, steps=120, batch=6))
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    vae, card = load_vae(folder, dtype="fp32")
    assert card["steps"] == 120 and 0 < card["metrics"]["psnr"] <= 60 and -1 <= card["metrics"]["ssim"] <= 1
    assert (tmp_path / "sample-0000120.png").stat().st_size > 100
    frames = torch.zeros(1, 2, 8, 12, 3, dtype=torch.uint8)
    assert vae.shown(vae.decode(vae.encode(frames))[0]).shape == frames.shape


def test_a_run_in_two_parts_equals_a_run_in_one(data: Path, tmp_path: Path) -> None:
    train_vae(config(data, tmp_path / "parts", steps=3))
    train_vae(config(data, tmp_path / "parts"))
    train_vae(config(data, tmp_path / "whole"))
    parts, whole = (load_state(tmp_path / name) for name in ("parts", "whole"))
    assert parts is not None and whole is not None and parts[0] == whole[0] == 6
    for name, tensor in whole[1]["model"].items():
        torch.testing.assert_close(parts[1]["model"][name], tensor, rtol=0, atol=0)


def test_a_run_of_other_sizes_is_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    train_vae(config(data, tmp_path, steps=1))
    other = config(data, tmp_path)
    other.vae.tokens = 5
    with pytest.raises(TrainStateError, match="tokens: 4, not 5"):
        train_vae(other)


def test_damaged_files_are_refused(data: Path, tmp_path: Path) -> None:
    folder = train_vae(config(data, tmp_path, steps=1))
    weights, card = (folder / "vae.safetensors").read_bytes(), json.loads((folder / "vae.json").read_text())
    (folder / "vae.safetensors").write_bytes(weights[:-4] + b"abcd")
    with pytest.raises(WorldError, match=r"is not the file that vae\.json was written for"):
        load_vae(folder)
    for wrong, said in (({"version": 9}, "expected foreframe-vae 2"), ({"vae": card["vae"] | {"depth": 3}}, "unknown")):
        (folder / "vae.json").write_text(json.dumps(card | wrong))
        with pytest.raises(WorldError, match=said):
            load_vae(folder)
    with pytest.raises(WorldError, match="no AR-VAE at"):
        load_vae(tmp_path / "nowhere")


def test_the_perceptual_term_is_ssim_and_has_a_gradient() -> None:
    a, b = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 20, 3), np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    x, y = (torch.from_numpy(frames @ luma).requires_grad_() for frames in (a, b))
    found = similarity(x, y, gaussian(11, 1.5))
    assert found.item() == pytest.approx(ssim(a, b)[0], abs=1e-5)
    found.sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_clips_shorter_than_the_window_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clips of 6 frames never fill .* window of 8.* trainer\.frames=7"):
        TrainVaeConfig(data="x", out=str(tmp_path), trainer=TrainerConfig(frames=5))
    TrainVaeConfig(data="x", out=str(tmp_path), trainer=TrainerConfig(frames=7))


def test_frames_are_compared_where_the_window_is_full(data: Path, tmp_path: Path) -> None:
    folder = train_vae(config(data, tmp_path, steps=1))
    vae, card = load_vae(folder, dtype="fp32")
    recording = open_recording(data)
    source = ClipSource(TrainingCache.build(recording, tmp_path / "cache"), recording.episodes, [0.0],
                        actions_of(recording))
    held = [e for e in recording.episodes if e.id in set(card["heldout"])]
    found = measure(vae, source, held, clips=1, frames=2)
    first = int(np.random.default_rng(2).integers(held[0].start, held[0].stop - 4 + 1))
    clip, cache, values = source.frames[first : first + 4], None, []
    for frame in clip:
        drawn, cache = vae.decode(vae.encode(torch.from_numpy(frame.copy())[None, None]), cache)
        values.append(float(psnr(vae.shown(drawn)[0].numpy(), frame[None])[0]))
    assert found["psnr"] == pytest.approx(np.mean(values[-2:]), abs=1e-3)
    assert measure(vae, source, []) == {}


def test_weights_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        VaeLossConfig(similarity=-1.0)
