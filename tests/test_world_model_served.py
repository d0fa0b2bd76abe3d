"""The network as a served world runs it, against the network as it is trained: the definition."""

import numpy as np
import pytest
import torch
from test_world_model_model import leading, random_clip, random_model, tiny
from torch import Tensor

from world_model import Contexts, SamplerConfig, World
from world_model.cache import FrameCache
from world_model.served import ServedModel, ServedStep, can_serve

SIZES = [{}, {"history": 0}, {"kinds": 0}, {"sinks": 1, "window": 3}, {"window": 1, "action_memory": 0},
         {"patch": [8, 4]}, {"latents": [2, 3, 8]}, {"latents": [2, 3, 8], "history": 0}]


def committed(config, model, frames: int) -> tuple[FrameCache, Tensor]:
    """Frames of a clip in the cache, and the pictures before the next one."""
    x, _, actions = random_clip(config, frames)
    cache = FrameCache(config, x, 2)
    history, memory = config.history, config.action_memory
    for i in range(frames):
        nothing = torch.zeros(2, history, *config.frame_shape, dtype=x.dtype)
        before = torch.cat([nothing, x[:, :i]], 1)[:, i : i + history]
        fresh: list[tuple[Tensor, Tensor]] = []
        led = torch.cat([torch.full((2, memory), 3), actions], 1)[:, i : i + memory + 1]
        model.think_cached(x[:, i : i + 1], before, torch.zeros(2, 1, dtype=x.dtype), led, cache.rings, fresh)
        for ring, pair in zip(cache.rings, fresh, strict=True):
            ring.append(*pair)
    return cache, x[:, frames - history :]


def frozen(config, dtype: torch.dtype = torch.float64):
    return random_model(config, dtype).requires_grad_(False)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("reuse", [False, True])
@torch.no_grad()
def test_every_pass_is_that_of_the_network(sizes: dict, frames: int, reuse: bool) -> None:
    config = tiny(**({"kinds": 2} | sizes))
    model = frozen(config)
    cache, before = committed(config, model, 6)
    live = torch.randn(2, frames, *config.frame_shape, dtype=torch.float64)
    actions = torch.randint(3, (2, config.action_memory + frames))
    step = ServedStep(ServedModel(model), before, actions, cache.rings, [0.0, 0.5, 1.0], reuse)
    tokens = None
    for first in (1.0, 0.5, 0.25):
        levels = [first, *[1.0] * (frames - 1)]
        times = torch.tensor(levels, dtype=torch.float64).expand(2, -1)
        if tokens is None or not reuse:
            wanted = model.think_cached(live, before, times, actions, cache.rings)
            tokens = step.think(live, levels)
            assert torch.allclose(tokens, wanted, atol=1e-6)  # tables of rotation are float32
        drawn, plain = step.draw(tokens, live, levels), model.draw_cached(tokens, live, before, times, actions)
        assert torch.allclose(drawn, plain, atol=2e-5)  # the plain one norms in float32
        live = live + 0.1


@torch.no_grad()
def test_a_commit_hands_out_the_same_keys_and_a_window_may_see_itself_whole() -> None:
    config = tiny()
    model = frozen(config)
    cache, before = committed(config, model, 5)
    live, actions = torch.randn(2, 3, 8, 12, 3, dtype=torch.float64), leading(torch.randint(3, (2, 3)), 0, 3)
    levels = [0.0, 0.5, 1.0]
    times = torch.tensor(levels, dtype=torch.float64).expand(2, -1)
    step = ServedStep(ServedModel(model), before, actions, cache.rings, [0.0], False)
    for causal in (True, False):
        wanted: list[tuple[Tensor, Tensor]] = []
        got: list[tuple[Tensor, Tensor]] = []
        plain = model.think_cached(live, before, times, actions, cache.rings, wanted, causal)
        assert torch.allclose(step.think(live, levels, got, causal), plain, atol=1e-6)
        assert len(got) == len(wanted) == 2
        for mine, its in zip(got, wanted, strict=True):
            assert all(torch.allclose(a, b, atol=1e-6) and a.shape == b.shape for a, b in zip(mine, its, strict=True))


@torch.no_grad()
def test_actions_that_are_not_known_yet_are_the_null_action() -> None:
    config = tiny()
    model = frozen(config)
    cache, before = committed(config, model, 3)
    live, known = torch.randn(2, 3, 8, 12, 3, dtype=torch.float64), torch.tensor([[0, 1, 2], [2, 2, 1]])
    step = ServedStep(ServedModel(model), before, known, cache.rings, [1.0], False)
    times = torch.ones(2, 3, dtype=torch.float64)
    told = torch.cat([known, torch.full((2, 2), model.actions.null)], 1)
    assert torch.allclose(step.think(live, [1.0] * 3), model.think_cached(live, before, times, told, cache.rings),
                          atol=1e-6)


def test_only_what_is_frozen_is_served() -> None:
    model = random_model(tiny())
    assert not can_serve(model)
    model.requires_grad_(False)
    assert can_serve(model)
    assert not can_serve(model.train())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_served_world_draws_what_the_network_draws(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole episodes of both ways; in bfloat16 the served way lies nearer to float32 than the plain one."""
    rng = np.random.default_rng(0)
    contexts = Contexts(rng.integers(0, 256, (3, 3, 8, 12, 3), np.uint8), rng.integers(0, 3, (3, 2)))
    config = tiny(kinds=2)
    exact = frozen(config, torch.bfloat16).float()
    model = frozen(config, torch.bfloat16).to(dtype)
    for m in (exact, model):
        m.scaler.float()

    def run(model, served: bool) -> np.ndarray:
        world = World(model, SamplerConfig(steps=2, reuse=True), {}, contexts)
        if not served:
            monkeypatch.setattr(world, "serve", lambda *_: None)
        state = world.start_batch(contexts.frames, contexts.actions, [1, 2, 3])
        return np.stack([world.step_batch(state, np.array([a, 0, 2]))[0] for a in (0, 1, 2, 1)]).astype(int)

    right = run(exact, False)
    if dtype == torch.float32:
        assert np.abs(run(model, True) - right).max() <= 1
    else:
        assert np.abs(run(model, True) - right).mean() <= 1.1 * np.abs(run(model, False) - right).mean()


def test_a_rollout_does_not_depend_on_those_beside_it() -> None:
    rng = np.random.default_rng(0)
    contexts = Contexts(rng.integers(0, 256, (4, 3, 8, 12, 3), np.uint8), rng.integers(0, 3, (4, 2)))
    world = World(frozen(tiny(kinds=2), torch.bfloat16).float(), SamplerConfig(steps=2), {}, contexts)

    def run(rows: list[int]) -> np.ndarray:
        state = world.start_batch(contexts.frames[rows], contexts.actions[rows], rows)
        return np.stack([world.step_batch(state, np.array(rows) % 3)[0] for _ in range(6)], 1)

    together = run([0, 1, 2, 3])
    assert (run([2, 1, 3, 0])[0] == together[2]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rollout_has_the_same_bits_in_batches_of_any_size(dtype: torch.dtype) -> None:
    """At sizes of a real world: there, sums over 1024 channels are cut by the number of rows."""
    rng = np.random.default_rng(0)
    config = tiny(kinds=2, dim=256, heads=4, height=52, width=40, patch=[26, 20], channels=48, temporal_every=2)
    contexts = Contexts(rng.integers(0, 256, (5, 3, 52, 40, 3), np.uint8), rng.integers(0, 3, (5, 2)))
    model = frozen(config, torch.bfloat16).to(dtype)
    model.scaler.float()
    world = World(model, SamplerConfig(steps=2, reuse=True), {}, contexts)

    def run(rows: list[int]) -> np.ndarray:
        state = world.start_batch(contexts.frames[rows], contexts.actions[rows], rows)
        return np.stack([world.step_batch(state, (np.array(rows) + i) % 3)[0] for i in range(6)], 1)

    together = run([0, 1, 2, 3, 4])
    pairs = [(run([row])[0], together[row]) for row in range(5)] + [(run([3, 1])[0], together[3])]
    for alone, among in pairs:
        if torch.cpu._is_amx_tile_supported():  # seen there; other processors may cut sums otherwise
            assert (alone == among).all()
        else:
            assert np.abs(alone[0].astype(int) - among[0]).max() <= 1  # the first frame: later ones may part
