"""Worlds that draw an AR-VAE's tokens: trained, stepped, forked, saved; tokens are made once and kept."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recorders import TrainingCache, latents, open_recording
from world_model import World, WorldError, WorldState, load_world, save_world
from world_model.calibrate import CalibrateConfig, calibrate
from world_model.codec import TokenScaler, from_codes, to_codes
from world_model.distill import DistillConfig, distill
from world_model.model import WorldModel
from world_model.model_config import WorldModelConfig
from world_model.sampler import SamplerConfig
from world_model.train import train
from world_model.train_config import TrainConfig
from world_model.train_vae import TrainVaeConfig, train_vae
from world_model.trainer_config import TrainerConfig
from world_model.transfer import start_from
from world_model.vae_config import VaeConfig


@pytest.fixture(scope="module")
def own_data(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(data, tmp_path_factory.mktemp("latents") / "data"))


@pytest.fixture(scope="module")
def vae(own_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    trainer = TrainerConfig(steps=30, batch=4, frames=3, moments=0, workers=0, precision="fp32")
    sizes = VaeConfig(height=8, width=12, patch=[4, 4], tokens=4, channels=4, dim=16, heads=2, encoder_layers=1,
                      decoder_layers=1, mlp_ratio=2, window=3, canvas=4)
    out = tmp_path_factory.mktemp("vae")
    return train_vae(TrainVaeConfig(data=str(own_data), out=str(out), device="cpu", trainer=trainer, vae=sizes))


def settings(data: Path, vae: Path, out: Path, **trainer: object) -> TrainConfig:
    how = {"steps": 3, "batch": 2, "frames": 5, "moments": 4, "workers": 0, "precision": "fp32", "own_after": 0.0,
           "own_share": 1.0, "astray": 100.0} | trainer
    model = WorldModelConfig(dim=32, heads=2, layers=2, mlp_ratio=2, window=4, temporal_every=2, action_memory=1)
    return TrainConfig(data=str(data), vae=str(vae), out=str(out), device="cpu", contexts=3, model=model,
                       sampler=SamplerConfig(steps=2), trainer=TrainerConfig(**how))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(own_data: Path, vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(settings(own_data, vae, tmp_path_factory.mktemp("run")))


@pytest.fixture
def world(folder: Path) -> World:
    return load_world(folder, dtype="fp32")


def started(world: World, seed: int = 0) -> WorldState:
    return world.start(world.contexts.frames[0], world.contexts.actions[0], seed=seed)


def run(world: World, state: WorldState, actions: list[int]) -> np.ndarray:
    return np.stack([world.step(state, action)[0] for action in actions])


def test_it_is_trained_on_tokens_and_draws_pictures(world: World) -> None:
    assert world.model.config.latents == [2, 2, 4] and world.observation_shape == (8, 12, 3)
    state = started(world)
    nbytes = state.nbytes
    frames = run(world, state, [0, 1] * 6)
    assert frames.shape == (12, 8, 12, 3) and frames.dtype == np.uint8 and frames.std() > 0
    assert state.nbytes == nbytes, "memory grows"


def test_free_running_pasts_are_learned_from(own_data: Path, vae: Path, tmp_path: Path) -> None:
    for free in (0.0, 1.0):
        train(settings(own_data, vae, tmp_path / str(free), free_share=free, steps=2))


def test_what_is_shown_is_what_the_whole_clip_decodes_to(world: World) -> None:
    """The reference of streaming: all tokens so far decoded at once."""
    state, context = started(world), torch.from_numpy(world.contexts.frames[:1])
    tokens = [world.codec.read(context)]
    drawn = []
    for action in (0, 1, 1, 0, 1):
        drawn.append(world.step(state, action)[0])
        tokens.append(world.model.scaler.decode(state.cache.recent[:, -1:]))
    whole = world.codec.show(torch.cat(tokens, 1), world.codec.begin(1))[0][0, -5:]
    assert (whole.int() - torch.from_numpy(np.stack(drawn)).int()).abs().max() <= 1  # rounded from 1e-4 apart


def test_forks_rows_and_files_carry_what_the_decoder_remembers(world: World, tmp_path: Path) -> None:
    actions = [1, 0, 1, 1]
    state = started(world)
    run(world, state, [1, 1, 0])
    fork, taken = state.clone(), WorldState.join([started(world, 5), state]).take([1])
    batch = WorldState.join([started(world, 5), started(world, 6)])
    batch.put([1], state)
    state.save(tmp_path / "state")
    loaded = WorldState.load(tmp_path / "state", world)
    expected = run(world, state, actions)
    for name, other in {"fork": fork, "taken": taken, "put": batch.take([1]), "loaded": loaded}.items():
        np.testing.assert_array_equal(run(world, other, actions), expected, err_msg=name)


def test_rollouts_side_by_side_are_those_drawn_alone(world: World) -> None:
    both = WorldState.join([started(world, 1), started(world, 2)])
    alone = [started(world, 1), started(world, 2)]
    for actions in ([0, 1], [1, 1], [1, 0]):
        frames, _, _ = world.step_batch(both, np.array(actions))
        singles = [world.step(state, action)[0] for state, action in zip(alone, actions, strict=True)]
        assert np.abs(frames.astype(int) - np.stack(singles)).max() <= 1


def test_tokens_are_made_once_per_recording_and_vae(own_data: Path, vae: Path, folder: Path, tmp_path: Path) -> None:
    recording = open_recording(str(own_data))
    cache = TrainingCache.build(recording, tmp_path / "cache")
    kept = [path.name for path in (own_data / "latents").iterdir()]
    assert len(kept) == 1

    def never(frames: np.ndarray) -> np.ndarray:
        raise AssertionError("encoded again")

    codes = latents(cache, kept[0], (2, 2, 4), never)
    assert codes.shape == (len(recording), 2, 2, 4) and codes.std() > 0
    with pytest.raises(AssertionError, match="encoded again"):
        latents(cache, "another", (2, 2, 4), never)
    chunk = next(path for path in (own_data / "latents" / kept[0]).rglob("*") if path.is_file() and "c" in path.parts)
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(AssertionError, match="encoded again"):
        latents(cache, kept[0], (2, 2, 4), never)
    chunk.write_bytes(whole)


def test_tokens_survive_eight_bits() -> None:
    codes = to_codes(from_codes(torch.randint(0, 256, (64, 8), dtype=torch.uint8)))
    again = to_codes(from_codes(codes))
    assert (codes.int() - again.int()).abs().max() <= 1
    scaler = TokenScaler(64, 1, 0.18, 8)
    settled = scaler.decode(scaler.encode(codes[:, None]))
    assert (settled[:, 0].int() - codes.int()).abs().max() <= 1
    norms = from_codes(scaler.decode(5 * torch.randn(64, 1, 8))).square().mean(-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-5)


def test_a_world_with_another_vae_is_refused(folder: Path, own_data: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(folder, tmp_path / "world"))
    trainer = TrainerConfig(steps=1, batch=2, frames=3, moments=0, workers=0, precision="fp32")
    sizes = VaeConfig(height=8, width=12, patch=[4, 4], tokens=4, channels=4, dim=16, heads=2, encoder_layers=1,
                      decoder_layers=1, mlp_ratio=2, window=3, canvas=4)
    other = train_vae(TrainVaeConfig(data=str(own_data), out=str(tmp_path / "run"), device="cpu", trainer=trainer,
                                     vae=sizes))
    for name in ("vae.safetensors", "vae.json"):
        shutil.copy(other / name, there / name)
    with pytest.raises(WorldError, match="not the one"):
        load_world(there)
    (there / "vae.json").unlink()
    with pytest.raises(WorldError, match="no AR-VAE"):
        load_world(there)


def test_a_world_of_another_vae_lends_all_but_what_reads_and_writes_its_tokens(folder: Path) -> None:
    given = load_world(folder, dtype="fp32").model
    assert start_from(same := WorldModel(given.config), str(folder), ["Square"]) == []
    assert all(p.equal(dict(given.named_parameters())[name]) for name, p in same.named_parameters())
    assert not same.scaler.mean.equal(given.scaler.mean), "the mean is that of its own tokens"
    other = WorldModel(replace(given.config, latents=[2, 2, 6], pixel_scale=0.2))
    new = start_from(other, str(folder), ["Square"])
    assert new and all(name.startswith(("tokenizer.", "decoder.")) for name in new)
    finer = WorldModel(replace(given.config, latents=[2, 4, 4]))
    with pytest.raises(ValueError, match=r"other sizes.*latents"):
        start_from(finer, str(folder), ["Square"])


def test_settings_that_mean_nothing_for_tokens_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="still"):
        world.with_sampler(still=3)
    with pytest.raises(ValueError, match="latents"):
        WorldModelConfig(latents=[4, 4])


def test_what_goes_on_from_a_world_of_tokens_keeps_its_vae_or_says_that_it_cannot(folder: Path, own_data: Path,
                                                                                  tmp_path: Path) -> None:
    world = load_world(folder, dtype="fp32")
    save_world(tmp_path / "copy", world.model, world.sampler, world.card, world.contexts, folder)
    assert load_world(tmp_path / "copy", dtype="fp32").observation_shape == world.observation_shape
    with pytest.raises(ValueError, match="no student learns yet"):
        distill(DistillConfig(world=str(folder), data=str(own_data), out=str(tmp_path / "student"), device="cpu"))


def test_calibration_keeps_the_vae_and_the_pictures(folder: Path, own_data: Path, tmp_path: Path) -> None:
    calibrate(CalibrateConfig(world=str(folder), data=str(own_data), out=str(tmp_path / "out"), starts=10, horizon=3,
                              batch=5))
    before, after = load_world(folder, dtype="fp32"), load_world(tmp_path / "out", dtype="fp32")
    assert after.card["vae_sha256"] == before.card["vae_sha256"] and after.card["calibrated"]["steps"] == 30
    drawn = [run(each, started(each), [0, 1, 1]) for each in (before, after)]
    np.testing.assert_array_equal(*drawn)
