"""Clips whose past the world draws itself, against drawing each frame alone."""

import numpy as np
import pytest
import torch

from tests.test_world_model_model import random_clip, random_model, tiny
from world_model import Contexts, World
from world_model.clips import Clips
from world_model.own_past import _draw, free_past, own_past
from world_model.plans import autoregressive_plan
from world_model.sampler import SamplerConfig, flow_path, level_times, run_plan


@pytest.mark.parametrize("passes", [1, 3])
def test_all_frames_at_once_equal_each_frame_drawn_by_the_sampler(passes: int) -> None:
    config, sampler = tiny(), SamplerConfig(steps=passes, shift=2.0)
    model, (x, _, actions) = random_model(config), random_clip(config, 5)
    noise = torch.randn(x[:, 1:].shape, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        together = _draw(model, x[:, :-1], actions, noise, level_times(sampler).tolist())
    for i in range(1, 5):

        def denoise(live: torch.Tensor, times: torch.Tensor, first: int, i: int = i) -> torch.Tensor:
            levels = torch.cat([torch.zeros(2, i), times.expand(2, 1)], 1).double()
            return model(torch.cat([x[:, :i], live], 1), levels, actions[:, : i + 1])[0][:, -1:]

        alone = run_plan(autoregressive_plan(1, passes), flow_path(sampler), noise[:, i - 1 : i], denoise)
        assert torch.allclose(together[:, i - 1], alone[:, 0], atol=1e-5), i


def test_the_first_frame_stays_real_and_depth_zero_changes_nothing() -> None:
    config = tiny()
    model, (x, _, actions) = random_model(config, torch.float32), random_clip(config, 6, torch.float32)
    past, sampler = x[:, :-1], SamplerConfig(steps=2)
    assert own_past(model, past, actions, sampler, 0, torch.Generator()).equal(past)
    drawn = [own_past(model, past, actions, sampler, depth, torch.Generator().manual_seed(3)) for depth in (1, 1, 2)]
    assert drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])
    for other in drawn:
        assert other[:, 0].equal(past[:, 0]) and not other.requires_grad
        assert (other[:, 1:] != past[:, 1:]).flatten(2).any(-1).all()
    scaler = model.scaler
    assert torch.allclose(scaler.encode(scaler.decode(drawn[0][:, 1:])), drawn[0][:, 1:])


def test_small_changes_are_left_out_of_an_own_past() -> None:
    config = tiny()
    model, (x, _, actions) = random_model(config, torch.float32), random_clip(config, 6, torch.float32)
    past, decode = model.scaler.encode(model.scaler.decode(x[:, :-1])), model.scaler.decode
    all_shown, few_shown = (own_past(model, past, actions, SamplerConfig(steps=1, still=still), 1,
                                     torch.Generator().manual_seed(3)) for still in (0, 90))
    before, drawn, kept = (decode(frames).int() for frames in (past[:, :-1], all_shown[:, 1:], few_shown[:, 1:]))
    earlier = torch.cat([before[:, :1], before[:, :-1]], 1)
    changes = [(drawn - frames).abs().amax(-1, keepdim=True) for frames in (before, earlier)]
    nearest = torch.where(changes[1] < changes[0], earlier, before)
    moved = torch.minimum(*changes) > 90
    assert 0 < moved.float().mean() < 1 and (changes[1] < changes[0]).any()
    assert kept.equal(torch.where(moved, drawn, nearest))


def test_a_free_past_is_what_the_served_world_draws_from_the_frames_before() -> None:
    config, sampler = tiny(), SamplerConfig(steps=2)
    model = random_model(config, torch.float32)
    rng = np.random.default_rng(0)
    frames, actions = rng.integers(0, 256, (2, 8, 8, 12, 3), np.uint8), rng.integers(0, 3, (2, 8))
    actions[:, 0] = actions[:, -1] = 3  # as at the start of an episode and behind its end
    clips = Clips(torch.from_numpy(frames), torch.from_numpy(actions), torch.zeros(2, 8), torch.zeros(2, 8),
                  np.zeros((2, 8), np.int64))
    past = free_past(model, clips, sampler, 3, torch.Generator().manual_seed(5))
    assert past.shape == (2, 7, 8, 12, 3) and torch.equal(clips.frames, torch.from_numpy(frames))
    assert all(p.requires_grad for p in model.parameters()) and not past.is_inference()
    drawn = model.scaler.decode(past).numpy()
    assert (drawn[:, :3] == frames[:, :3]).all() and (drawn[:, 3:] != frames[:, 3:7]).any((2, 3, 4)).all()
    generator = torch.Generator().manual_seed(5)
    passes = int(torch.randint(1, 3, (), generator=generator))
    seeds = torch.randint(2**31, (2,), generator=generator).tolist()
    world = World(model, SamplerConfig(steps=passes, shift=sampler.shift), {}, Contexts(frames, actions))
    for i in range(3, 7):
        again = world.step_batch(world.start_batch(drawn[:, :i], actions[:, 1:i], seeds), actions[:, i])[0]
        assert (again == drawn[:, i]).all(), i
