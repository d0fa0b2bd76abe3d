"""A step whose buffers never move: what a CPU can tell of it, and the captured one, which needs a GPU."""

import numpy as np
import pytest
import torch
from test_world_model_model import random_model, tiny

from world_model import Contexts, SamplerConfig, World
from world_model.graphs import StaticStep, StepGraph, _tensors


def world(device: str = "cpu", reuse: bool = True, still: int = 0) -> World:
    rng = np.random.default_rng(0)
    contexts = Contexts(rng.integers(0, 256, (3, 3, 8, 12, 3), np.uint8), rng.integers(0, 3, (3, 2)))
    model = random_model(tiny(kinds=2), torch.float32).requires_grad_(False).to(device)
    return World(model, SamplerConfig(steps=2, reuse=reuse, still=still), {}, contexts)


@pytest.mark.parametrize(("reuse", "still"), [(False, 0), (True, 0), (True, 40)])
def test_a_static_step_is_a_step_and_moves_no_buffer(reuse: bool, still: int) -> None:
    mine = world(reuse=reuse, still=still)
    mine.serve = lambda *_: None  # type: ignore[method-assign]  # a GPU has no other arrangement of sums
    states = [mine.start_batch(mine.contexts.frames, mine.contexts.actions, [1, 2, 3]) for _ in range(2)]
    static = StaticStep(mine, states[0])
    places = [x.data_ptr() for x in [*_tensors(states[0].cache), static.noise, static.actions]]
    for action in [0, 2, 1, 1] * 10:
        actions = torch.tensor([action, 0, 2])
        got, wanted = static.step(actions), mine.step_tensors(states[1], actions)
        assert got.frames.equal(wanted.frames)
        assert got.rewards.equal(wanted.rewards) and got.terminated.equal(wanted.terminated)
        assert states[0].frames == states[1].frames
    assert [x.data_ptr() for x in [*_tensors(states[0].cache), static.noise, static.actions]] == places


def test_without_a_gpu_nothing_is_captured() -> None:
    mine = world()
    with pytest.raises(ValueError, match="CUDA graphs need a world on a CUDA device, this one is on cpu"):
        StepGraph(mine, mine.start(mine.contexts.frames[0], mine.contexts.actions[0], 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_captured_step_is_a_step() -> None:
    mine = world("cuda")
    states = [mine.start_batch(mine.contexts.frames, mine.contexts.actions, [1, 2, 3]) for _ in range(2)]
    graph = StepGraph(mine, states[0])
    for action in (0, 2, 1, 1):
        actions = torch.tensor([action, 0, 2], device="cuda")
        got, wanted = graph.step(actions), mine.step_tensors(states[1], actions)
        assert got.frames.equal(wanted.frames)
        assert got.rewards.equal(wanted.rewards) and got.terminated.equal(wanted.terminated)
