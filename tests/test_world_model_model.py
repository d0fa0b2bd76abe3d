"""The network: causality, agreement of its three forms, and the sizes it refuses (invariants I2, I3)."""

import pytest
import torch
from torch import Tensor

from world_model import WorldModel, WorldModelConfig
from world_model.cache import FrameCache


def tiny(**changes: object) -> WorldModelConfig:
    sizes = {"height": 8, "width": 12, "patch": [4, 4], "dim": 16, "layers": 4, "heads": 2, "num_actions": 3,
             "window": 4, "temporal_every": 2, "history": 2, "action_memory": 2, "channels": 8, "canvas": 2}
    return WorldModelConfig(**(sizes | changes))  # type: ignore[arg-type]


def random_model(config: WorldModelConfig, dtype: torch.dtype = torch.float64) -> WorldModel:
    """A model none of whose parts is switched off by a zero initialisation."""
    torch.manual_seed(0)
    model = WorldModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(dtype).eval()


def random_clip(
    config: WorldModelConfig, frames: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, frames, *config.frame_shape, generator=generator).to(dtype)
    levels = torch.rand(2, frames, generator=generator).to(dtype)
    return x, levels, torch.randint(config.num_actions, (2, frames), generator=generator)


def leading(actions: Tensor, start: int, stop: int) -> Tensor:
    """Actions of frames start..stop-1 behind the two before them; 3 is the unknown action."""
    return torch.cat([torch.full((2, 2), 3), actions], 1)[:, start : stop + 2]


def store(cache: FrameCache, fresh: list[tuple[Tensor, Tensor]]) -> None:
    """Commit keys and values alone."""
    for ring, pair in zip(cache.rings, fresh, strict=True):
        ring.append(*pair)


@pytest.mark.parametrize("changed", [1, 3, 5])
def test_a_later_frame_never_changes_an_earlier_one(changed: int) -> None:
    config = tiny()
    model, (x, levels, actions) = random_model(config, torch.float32), random_clip(config, 6, torch.float32)
    before = model(x, levels, actions)[0]
    x, levels, actions = x.clone(), levels.clone(), actions.clone()
    x[:, changed] += 5
    levels[:, changed] = 1
    actions[:, changed] = (actions[:, changed] + 1) % config.num_actions
    after = model(x, levels, actions)[0]
    assert (before[:, :changed] == after[:, :changed]).all()
    assert (before[:, changed:] != after[:, changed:]).flatten(2).any(-1).all()


def test_clean_frames_in_teacher_form_equal_the_plain_form() -> None:
    config = tiny()
    model, (x, _, actions) = random_model(config), random_clip(config, 7)
    times = torch.full((2, 6), 0.5, dtype=torch.float64)
    tokens = model.forward_teacher(x[:, :-1], x[:, 1:], times, actions)[1]
    plain = model(x[:, :-1], torch.zeros_like(times), actions[:, :-1])[1]
    assert torch.allclose(tokens[:, :6], plain, atol=1e-5)


@pytest.mark.parametrize("sinks", [0, 1])
def test_noisy_frames_in_teacher_form_equal_a_clean_prefix_and_one_noisy_frame(sinks: int) -> None:
    config = tiny(sinks=sinks)
    model, (x, levels, actions) = random_model(config), random_clip(config, 7)
    noisy = torch.randn_like(x[:, 1:])
    drawn = model.forward_teacher(x[:, :-1], noisy, levels[:, 1:], actions)[0]
    for i in range(1, 7):
        clip = torch.cat([x[:, :i], noisy[:, i - 1 : i]], 1)
        times = torch.cat([torch.zeros(2, i, dtype=torch.float64), levels[:, i : i + 1]], 1)
        alone = model(clip, times, actions[:, : i + 1])[0]
        assert torch.allclose(drawn[:, i - 1], alone[:, -1], atol=1e-5), i


@pytest.mark.parametrize(("window", "sinks", "history"), [(4, 0, 2), (3, 0, 0), (9, 0, 1), (5, 2, 2), (1, 0, 1)])
@torch.no_grad()
def test_cached_steps_equal_the_whole_clip(window: int, sinks: int, history: int) -> None:
    """Holds for as long as the policy keeps every frame a window can see; sinks only until the ring turns over."""
    config = tiny(window=window, sinks=sinks, history=history)
    model, frames = random_model(config), 9 if not sinks else window + sinks
    x, levels, actions = random_clip(config, frames)
    cache, before = FrameCache(config, x, 2), torch.zeros(2, history, 8, 12, 3, dtype=torch.float64)
    for i in range(frames):
        clip = x[:, : i + 1]
        times = torch.zeros(2, i + 1, dtype=torch.float64)
        times[:, i] = levels[:, i]
        whole = model(clip, times, actions[:, : i + 1])[0][:, -1:]
        cached, _ = model.forward_cached(x[:, i : i + 1], before, levels[:, i : i + 1], leading(actions, i, i + 1),
                                         cache.rings)
        assert torch.allclose(whole, cached, atol=1e-5), i
        fresh: list[tuple[Tensor, Tensor]] = []
        clean, told = torch.zeros(2, 1, dtype=torch.float64), leading(actions, i, i + 1)
        model.think_cached(x[:, i : i + 1], before, clean, told, cache.rings, fresh)
        store(cache, fresh)
        before = torch.cat([before, x[:, i : i + 1]], 1)[:, 1:] if history else before


@pytest.mark.parametrize("window", [4, 1])
@torch.no_grad()
def test_frames_in_flight_together_equal_the_whole_clip(window: int) -> None:
    config = tiny(window=window)
    model, (x, levels, actions) = random_model(config), random_clip(config, 5)
    levels[:, :3] = 0
    cache, before = FrameCache(config, x, 2), torch.zeros(2, 2, 8, 12, 3, dtype=torch.float64)
    for i in range(3):
        fresh: list[tuple[Tensor, Tensor]] = []
        model.think_cached(x[:, i : i + 1], before, levels[:, i : i + 1], leading(actions, i, i + 1), cache.rings,
                           fresh)
        store(cache, fresh)
        before = torch.cat([before, x[:, i : i + 1]], 1)[:, 1:]
    # two frames in flight see 3 committed ones: still inside the window of 4 for the first, the second drops one
    whole = model(x, levels, actions)[0][:, 3:]
    both = model.forward_cached(x[:, 3:], before, levels[:, 3:], leading(actions, 3, 5), cache.rings)[0]
    assert torch.allclose(both[:, :1], whole[:, :1], atol=1e-5)
    if window == 1:  # each sees itself alone, so there is nothing to drop
        assert torch.allclose(both, whole, atol=1e-5)


@pytest.mark.parametrize("history", [0, 2])
def test_a_frame_drawn_by_the_decoder_alone_equals_one_drawn_with_tokens_that_say_nothing(history: int) -> None:
    config = tiny(history=history)
    model, (x, levels, actions) = random_model(config), random_clip(config, 5)
    alone = model.forward_nearby(x[:, 4:], x[:, 4 - history : 4], levels[:, 4:], leading(actions, 4, 5))
    clean = torch.cat([torch.zeros_like(levels[:, :4]), levels[:, 4:]], 1)
    assert not torch.allclose(alone[:, 0], model(x, clean, actions)[0][:, 4], atol=1e-3)
    with torch.no_grad():
        model.decoder.canvas.weight.zero_()
    assert torch.allclose(alone[:, 0], model(x, clean, actions)[0][:, 4], atol=1e-9)


def test_the_cache_never_grows() -> None:
    config = tiny(window=3, sinks=1)
    cache = FrameCache(config, torch.zeros(0, dtype=torch.float64))
    assert len(cache.rings) == 2  # every second of four layers looks back
    size = cache.nbytes
    for i in range(50):
        keys = torch.full((1, 6, 2, 8), float(i), dtype=torch.float64)
        store(cache, [(keys, keys)] * 2)
        filled = min(i + 1, 3)
        held = sorted(set(cache.rings[1].v[:, :filled].flatten().tolist()))
        assert held == [float(f) for f in range(i + 1) if f == 0 or f > i - 2]
        assert sorted(cache.rings[0].positions()[0, :filled].tolist()) == list(range(filled))
    assert cache.nbytes == size


def test_tables_made_while_drawing_can_be_trained_with() -> None:
    config = tiny(height=12)  # sizes that no other test has made tables for
    model, (x, levels, actions) = random_model(config), random_clip(config, 2)
    with torch.inference_mode():
        model(x, levels, actions)
    model(x, levels, actions)[0].sum().backward()
    assert model.blocks[0].qkv.weight.grad is not None


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="patch must be two even numbers, got \\[3, 4\\]"):
        tiny(patch=[3, 4])
    with pytest.raises(ValueError, match="patch must be two even numbers that divide the picture 8x12, got \\[6, 4\\]"):
        WorldModel(tiny(patch=[6, 4]))
    with pytest.raises(ValueError, match="dim must be an integer from 1 to 8192, got 10000000"):
        tiny(dim=10_000_000)
    with pytest.raises(ValueError, match="heads times a multiple of 8"):
        tiny(dim=20)
    with pytest.raises(ValueError, match="reward_values must hold"):
        tiny(reward_values=[])
