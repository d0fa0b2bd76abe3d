"""Actions that are not told: in training by shares, in drawing for guidance."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.small_worlds import save_small_world
from world_model import PlanConfig, SamplerConfig, World, load_world
from world_model.action_dropout import drop_actions
from world_model.actions import Actions
from world_model.graphs import StaticStep


def test_actions_are_dropped_one_by_one_or_from_some_frame_on() -> None:
    actions = torch.randint(3, (4000, 6), generator=torch.Generator().manual_seed(1))
    told = drop_actions(actions, Actions(3), 0.0, 0.3, torch.Generator().manual_seed(0))
    unknown = told == 3
    assert told[~unknown].equal(actions[~unknown])
    assert not (unknown[:, :-1] & ~unknown[:, 1:]).any()  # once unknown, unknown to the end
    assert 0.27 < unknown.any(1).float().mean() < 0.33
    alone = drop_actions(actions, Actions(3), 0.1, 0.0, torch.Generator().manual_seed(0)) == 3
    assert 0.09 < alone.float().mean() < 0.11
    assert alone[:, 5][~alone[:, :5].any(1)].float().mean() > 0.08  # unknown after known ones, as guidance asks
    assert drop_actions(actions, Actions(3), 0.0, 0.0, torch.Generator()) is actions


def rolled(world: World, steps: int = 3) -> np.ndarray:
    state = world.start_batch(world.contexts.frames[:2], world.contexts.actions[:2], [3, 4])
    return np.stack([world.step_batch(state, np.array([1, 2]))[0] for _ in range(steps)])


@pytest.mark.parametrize("reuse", [False, True])
def test_guidance_moves_past_the_estimate_without_actions(tmp_path, reuse: bool) -> None:
    world = load_world(save_small_world(tmp_path), dtype="fp32").with_sampler(steps=2, reuse=reuse)
    plain, guided = rolled(world), rolled(world.with_sampler(guidance=2.0))
    assert not np.array_equal(plain, guided)
    assert np.array_equal(plain, rolled(world.with_sampler(guidance=1.0)))
    blind = rolled(world.with_sampler(guidance=0.0), 1)
    state = world.start_batch(world.contexts.frames[:2], world.contexts.actions[:2], [3, 4])
    assert np.array_equal(blind[0], world.with_sampler(guidance=0.0).step_batch(state, np.array([3, 5]))[0])


def test_guidance_is_the_line_through_both_estimates(tmp_path) -> None:
    world = load_world(save_small_world(tmp_path), dtype="fp32")

    def drawn(guidance: float) -> np.ndarray:
        return rolled(world.with_sampler(guidance=guidance), 1)[0].astype(int)

    told, blind = drawn(1.0), drawn(0.0)
    inside = (np.abs(2 * told - blind - 127) < 120) & (np.abs(told - 127) < 120) & (np.abs(blind - 127) < 120)
    assert inside.mean() > 0.05 and np.abs(drawn(2.0) - (2 * told - blind))[inside].max() <= 2  # of rounding


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_a_captured_step_is_guided_alike(tmp_path, guidance: float) -> None:
    world = load_world(save_small_world(tmp_path), dtype="fp32").with_sampler(steps=2, guidance=guidance)
    plain = rolled(world, 2)
    state = world.start_batch(world.contexts.frames[:2], world.contexts.actions[:2], [3, 4])
    static = StaticStep(world, state)
    frames = np.stack([static.step(torch.tensor([1, 2])).frames.clone().numpy() for _ in range(2)])
    assert np.abs(frames.astype(int) - plain).max() <= 1


@pytest.mark.filterwarnings("ignore:the plan")
@pytest.mark.parametrize("kind", ["autoregressive", "ad", "rolling", "keyframes"])
def test_every_plan_is_guided(tmp_path, kind: str) -> None:
    world = load_world(save_small_world(tmp_path), dtype="fp32").with_sampler(steps=2)
    actions = np.full((2, 8), 4)

    def drawn(guidance: float, actions: np.ndarray) -> np.ndarray:
        state = world.start_batch(world.contexts.frames[:2], world.contexts.actions[:2], [3, 4])
        guided = world.with_sampler(guidance=guidance).rollout(state, actions, PlanConfig(kind=kind))  # type: ignore[arg-type]
        return next(guided).frames.numpy()

    assert not np.array_equal(drawn(1.0, actions), drawn(3.0, actions))
    assert np.array_equal(drawn(0.0, actions), drawn(0.0, actions - 3))  # blind to the action that leads to it


def test_guidance_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="guidance must be from 0 to 20, got -1"):
        replace(SamplerConfig(), guidance=-1.0)
