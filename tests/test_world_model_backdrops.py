"""Mean pictures of conditions: a world of two games sees each as a world of that game alone does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_world_model_model import random_model, store, tiny
from torch import Tensor

from world_model import Contexts, SamplerConfig, WorldModel, load_world
from world_model.cache import FrameCache
from world_model.checkpoint import save_world
from world_model.served import ServedModel, ServedStep
from world_model.transfer import start_from

SIZES = [{}, {"kinds": 2}, {"history": 0}, {"latents": [2, 3, 8]}]


def two_games(**changes: object) -> WorldModel:
    model = random_model(tiny(conditions=["day", "night"], **changes)).requires_grad_(False)
    assert model.backdrops is not None
    model.backdrops.pictures.copy_(torch.randn(2, *model.config.frame_shape))
    return model


def clip_of(model: WorldModel, frames: int, switch_at: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, levels, and what is told of them and of the `action_memory` before: by day, then by night."""
    generator = torch.Generator().manual_seed(1)
    memory = model.config.action_memory
    x = torch.randn(2, frames, *model.config.frame_shape, generator=generator).double()
    levels = torch.rand(2, frames, generator=generator).double()
    told = model.actions.told(torch.randint(3, (2, frames), generator=generator), torch.arange(frames) // switch_at)
    return x, levels, model.actions.pad(told, before=memory)


@pytest.mark.parametrize("sizes", SIZES)
@torch.no_grad()
def test_each_game_is_drawn_as_by_a_network_that_has_its_mean_picture_and_no_other(sizes: dict) -> None:
    model = two_games(**sizes)
    alone = WorldModel(replace(model.config, conditions=[])).double().eval()
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if k in alone.state_dict()})
    x, levels, told = clip_of(model, 3, 3)
    cache, history = FrameCache(model.config, x, 2), model.config.history
    shift = model.backdrops.pictures[1].double()
    noisy = x - (1 - levels)[..., None, None, None] * shift
    before = torch.randn(2, history, *model.config.frame_shape).double()
    told[:, :, 1] = 1
    if not model.config.latents:
        alone.scaler.mean.copy_(model.scaler.mean + shift * model.config.pixel_scale)
    torch.nn.init.zeros_(model.conditioning.condition.weight)
    mine = model.forward_cached(x, before, levels, told, cache.rings)[0]
    its = alone.forward_cached(noisy, before - shift, levels, told[..., 0], cache.rings)[0]
    assert torch.allclose(mine, its + shift, atol=1e-5) and not torch.allclose(mine, its, atol=1e-2)


@pytest.mark.parametrize("sizes", SIZES)
@torch.no_grad()
def test_all_ways_agree_where_one_game_follows_the_other(sizes: dict) -> None:
    model = two_games(**sizes)
    history, memory = model.config.history, model.config.action_memory
    x, levels, told = clip_of(model, 6, 3)
    noisy = torch.randn_like(x[:, 1:])
    drawn = model.forward_teacher(x[:, :-1], noisy, levels[:, 1:], told[:, memory:])[0]
    cache, before = FrameCache(model.config, x, 2), x.new_zeros(2, history, *model.config.frame_shape)
    for i in range(5):
        fresh: list[tuple[Tensor, Tensor]] = []
        model.think_cached(x[:, i : i + 1], before, 0 * levels[:, :1], told[:, i : i + memory + 1], cache.rings, fresh)
        store(cache, fresh)
        before = torch.cat([before, x[:, i : i + 1]], 1)[:, 1:] if history else before
        live, times, led = noisy[:, i : i + 1], levels[:, i + 1 : i + 2], told[:, i + 1 : i + 2 + memory]
        cached, tokens = model.forward_cached(live, before, times, led, cache.rings)
        clip = torch.cat([x[:, : i + 1], live], 1)
        plain = model(clip, torch.cat([0 * levels[:, : i + 1], times], 1), told[:, memory : memory + i + 2])[0]
        assert torch.allclose(drawn[:, i], plain[:, -1], atol=1e-5), i
        assert torch.allclose(drawn[:, i], cached[:, 0], atol=1e-5), i
        for row in range(2):  # levels differ
            level = float(times[row])
            served = ServedStep(ServedModel(model), before, led, cache.rings, [0.0, level], False)
            assert torch.allclose(served.think(live, [level])[row], tokens[row], atol=1e-5)
            assert torch.allclose(served.draw(tokens, live, [level])[row], cached[row], atol=2e-5), i


@torch.no_grad()
def test_frames_in_flight_under_two_conditions_are_served_as_the_network_draws_them() -> None:
    model = two_games()
    x, _, told = clip_of(model, 3, 2)
    cache, before = FrameCache(model.config, x, 2), torch.randn(2, 2, *model.config.frame_shape).double()
    levels = [0.25, 0.5, 1.0]
    times = torch.tensor(levels).double().expand(2, -1)
    served = ServedStep(ServedModel(model), before, told[:, :-1], cache.rings, [1.0], False)
    led = model.actions.pad(told[:, :-1], after=1)
    plain, tokens = model.forward_cached(x, before, times, led, cache.rings)
    assert torch.allclose(served.think(x, levels), tokens, atol=1e-5)
    assert torch.allclose(served.draw(tokens, x, levels), plain, atol=2e-5)


def test_they_are_in_the_file_and_a_world_of_one_of_the_games_lends_its_own(tmp_path: Path) -> None:
    model = two_games().float()
    frames, actions = torch.zeros(2, 3, 8, 12, 3, dtype=torch.uint8).numpy(), torch.zeros(2, 2).long().numpy()
    card = {"name": "Two", "fps": 10, "actions": {"meanings": ["a", "b", "c"], "keys": {}}}
    save_world(tmp_path / "two", model, SamplerConfig(), card, Contexts(frames, actions))
    assert load_world(tmp_path / "two").model.backdrops.pictures.equal(model.backdrops.pictures)
    night = random_model(tiny(), torch.float32)
    night.scaler.mean.fill_(0.75)
    save_world(tmp_path / "night", night, SamplerConfig(), card | {"game": {"id": "Night"}}, Contexts(frames, actions))
    start_from(model, str(tmp_path / "night"), ["Day", "Night"], ["a", "b", "c"])
    day = model.backdrops.pictures[0] * model.config.pixel_scale + model.scaler.mean
    assert (model.scaler.mean == 0.75).all() and not model.backdrops.pictures[1].any()
    wanted = two_games().backdrops.pictures[0] * model.config.pixel_scale
    assert torch.allclose(day, wanted.float(), atol=1e-6)


def test_the_frames_before_need_to_be_told_their_conditions() -> None:
    with pytest.raises(ValueError, match="action_memory of at least history"):
        tiny(conditions=["day", "night"], history=2, action_memory=1)


def test_games_and_conditions_are_lent_by_name_wherever_they_stand(tmp_path: Path) -> None:
    model = two_games().float()
    frames, actions = torch.zeros(2, 3, 8, 12, 3, dtype=torch.uint8).numpy(), torch.zeros(2, 2).long().numpy()
    card = {"name": "Two", "fps": 10, "actions": {"meanings": ["a", "b", "c"], "keys": {}}}
    both = card | {"game": {"conditions": {"day": {"id": "Day"}, "night": {"id": "Night"}}}}
    save_world(tmp_path / "two", model, SamplerConfig(), both, Contexts(frames, actions))
    three = WorldModel(replace(model.config, conditions=["night", "dusk", "day"]))
    torch.nn.init.constant_(three.conditioning.condition.weight, 3.0)
    new = start_from(three, str(tmp_path / "two"), ["Night", "Dusk", "Day"], ["a", "b", "c"])
    mine, its = three.conditioning.condition.weight, model.conditioning.condition.weight.bfloat16().float()
    assert new == ["conditioning.condition.weight"] and mine[[2, 0]].equal(its) and (mine[1] == 3).all()
    means, given = (x.backdrops.pictures * x.config.pixel_scale + x.scaler.mean for x in (three, model))
    assert torch.allclose(means[[2, 0]], given, atol=1e-6)

    noted = card | {"game": {"id": "Day"}}  # conditions that a user noted, of one game
    save_world(tmp_path / "noted", model, SamplerConfig(), noted, Contexts(frames, actions))
    for conditions in (["night", "dusk", "day"], ["day", "else"], ["day", "night"]):
        other = WorldModel(replace(model.config, conditions=conditions))
        other.backdrops.pictures.fill_(0.5)
        start_from(other, str(tmp_path / "noted"), ["Day"], ["a", "b", "c"])
        same = conditions == ["day", "night"]
        assert other.backdrops.pictures.equal(model.backdrops.pictures) == same
        assert (other.backdrops.pictures == 0.5).all() == (not same)
