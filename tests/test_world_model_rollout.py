"""Stepping a world: seeds, copies, batches, bounded cost, and what a start must look like (invariants I3-I6)."""

import numpy as np
import pytest
import torch
from test_world_model_state import make_world

from world_model import SamplerConfig, World
from world_model.noise import frame_noise

ACTIONS = [0, 1, 2, 2, 1, 0, 1]


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("", sinks=0)


def run(world: World, clip: int = 0, seed: int = 5, actions: list[int] = ACTIONS) -> list[np.ndarray]:
    state = world.start(world.contexts.frames[clip], world.contexts.actions[clip], seed)
    return [world.step(state, a)[0] for a in actions]


def test_same_seed_and_actions_give_the_same_bytes(world: World) -> None:
    assert (np.stack(run(world)) == np.stack(run(world))).all()


def test_another_seed_or_action_gives_another_future(world: World) -> None:
    frames = np.stack(run(world))
    assert (frames != np.stack(run(world, seed=6))).any()
    other = np.stack(run(world, actions=[*ACTIONS[:3], 0, *ACTIONS[4:]]))
    assert (frames[:3] == other[:3]).all() and (frames[3] != other[3]).any()


def test_frames_are_fresh_and_results_plain(world: World) -> None:
    state = world.start(world.contexts.frames[0], world.contexts.actions[0], 1)
    first, reward, terminated = world.step(state, 0)
    kept = first.copy()
    second, _, _ = world.step(state, 1)
    assert (first == kept).all() and not np.shares_memory(first, second)
    assert first.dtype == np.uint8 and first.shape == (8, 12, 3)
    assert isinstance(reward, float) and isinstance(terminated, bool)


def test_a_copy_goes_its_own_way(world: World) -> None:
    state = world.start(world.contexts.frames[0], world.contexts.actions[0], 1)
    world.step(state, 0)
    copy = state.clone()
    expected = [world.step(state, a)[0] for a in ACTIONS]
    assert all((world.step(copy, a)[0] == frame).all() for a, frame in zip(ACTIONS, expected, strict=True))


def test_a_batch_is_its_members_each_alone(world: World) -> None:
    state = world.start_batch(world.contexts.frames, world.contexts.actions, [5, 6, 7, 8])
    together = np.stack([world.step_batch(state, np.full(4, a))[0] for a in ACTIONS], 1)
    for i in range(4):
        alone = np.stack(run(world, clip=i, seed=5 + i)).astype(int)
        assert np.abs(together[i].astype(int) - alone).max() <= 1  # other batch sizes round differently


def test_what_a_step_holds_never_grows(world: World) -> None:
    state = world.start(world.contexts.frames[0], world.contexts.actions[0], 1)
    for _ in range(3):
        world.step(state, 0)
    held = state.nbytes, state.cache.recent.shape
    for _ in range(40):
        world.step(state, 1)
    assert (state.nbytes, state.cache.recent.shape) == held
    assert state.frames == [3 + 43]


def test_starts_of_any_length_work(world: World) -> None:
    frames, actions = world.contexts.frames[0], world.contexts.actions[0]
    for k in (1, 2, 3):
        state = world.start(frames[:k], actions[: k - 1], 0)
        assert world.step(state, 1)[0].shape == (8, 12, 3)
    long = np.concatenate([frames] * 5)
    state = world.start(long, np.zeros(14, np.int64), 0)
    assert state.frames == [15] and world.step(state, 0)[0].shape == (8, 12, 3)


@pytest.mark.parametrize("reuse", [False, True])
def test_a_step_draws_from_the_tokens_of_its_own_pass_or_of_the_first(world: World, reuse: bool) -> None:
    """The cached step against the whole clip, looked at anew before every pass or once."""
    model, frames, actions = world.model, world.contexts.frames[:2], world.contexts.actions[:2]
    served = World(model, SamplerConfig(steps=2, reuse=reuse), world.card, world.contexts)
    x = model.scaler.encode(torch.from_numpy(frames))
    led = torch.from_numpy(np.concatenate([np.full((2, 1), model.actions.null), actions, [[1], [1]]], 1))
    drawn = torch.stack([frame_noise(seed, 3, (8, 12, 3)) for seed in (5, 6)])[:, None]
    before = torch.cat([torch.zeros_like(x), x], 1)[:, -model.config.history :]
    tokens = None
    for high, low in [(1.0, 0.5), (0.5, 0.0)]:
        with torch.no_grad():
            if tokens is None or not reuse:
                levels = torch.tensor([[0.0, 0, 0, high]]).expand(2, 4)
                tokens = model(torch.cat([x, drawn], 1), levels, led)[1][:, -1:]
            clean = model.draw_cached(tokens, drawn, before, torch.full((2, 1), high), led[:, -4:])
        drawn = clean + low / high * (drawn - clean)
    expected = model.scaler.decode(drawn[:, 0]).numpy().astype(int)
    got = served.step_batch(served.start_batch(frames, actions, [5, 6]), np.array([1, 1]))[0].astype(int)
    assert np.abs(expected - got).max() <= 1
    assert served.with_sampler(3).sampler == SamplerConfig(steps=3, reuse=reuse)


def changed(frames: np.ndarray, before: np.ndarray) -> np.ndarray:
    return np.abs(frames.astype(int) - before.astype(int)).max(-1, keepdims=True)


def nearest(drawn: np.ndarray, newest: np.ndarray, older: np.ndarray, still: int) -> np.ndarray:
    """Pixels of the nearer frame, the newest where both are as near, or as drawn where neither is near."""
    near = np.where(changed(drawn, older) < changed(drawn, newest), older, newest)
    return np.where(changed(drawn, near) > still, drawn, near)


def test_a_start_of_one_frame_has_nothing_else_to_show_again(world: World) -> None:
    frames = world.contexts.frames[:1, -1:]
    kept, free = (world.with_sampler(still=still) for still in (200, 0))
    none = np.zeros((1, 0), int)
    shown, drawn = (w.step_batch(w.start_batch(frames, none, [5]), np.array([1]))[0] for w in (kept, free))
    assert (shown == nearest(drawn, frames[:, -1], frames[:, -1], 200)).all()


def test_what_is_shown_comes_back_exactly_from_model_units(world: World) -> None:
    every = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, *world.observation_shape)
    assert world.model.scaler.decode(world.model.scaler.encode(every)).equal(every)


def test_pixels_that_hardly_change_stay_as_they_were(world: World) -> None:
    frames, actions = world.contexts.frames[:2], world.contexts.actions[:2]
    free, kept = (world.with_sampler(still=still) for still in (0, 60))
    state, mine = (w.start_batch(frames, actions, [5, 6]) for w in (free, kept))
    drawn, shown = (w.step_batch(s, np.array([1, 2]))[0] for w, s in ((free, state), (kept, mine)))
    assert world.model.config.history == 2
    assert 0 < (changed(drawn, frames[:, -1]) > 60).mean() < 1
    assert (shown == nearest(drawn, frames[:, -1], frames[:, -2], 60)).all()
    assert (changed(shown, frames[:, -2]) < changed(shown, frames[:, -1])).any()
    assert (mine.pictures[:, -1].numpy() == shown).all() and mine.seeds == state.seeds
    again = kept.step_batch(mine, np.array([0, 0]))[0]  # measured from the frames shown
    same = [changed(again, frame) == 0 for frame in (shown, frames[:, -1])]
    apart = np.minimum(*(changed(again, frame) for frame in (shown, frames[:, -1])))
    assert (same[0] | same[1] | (apart > 60)).all()
    with pytest.raises(ValueError, match="still must be an integer from 0 to 254, got 255"):
        world.with_sampler(still=255)


def test_noise_depends_on_seed_and_frame_alone() -> None:
    assert torch.equal(frame_noise(1, 2, (3,)), frame_noise(1, 2, (3,)))
    assert not torch.equal(frame_noise(1, 2, (3,)), frame_noise(2, 1, (3,)))
    big = frame_noise(3, 4, (100_000,))
    assert abs(float(big.mean())) < 0.02 and abs(float(big.std()) - 1) < 0.02


def test_other_numbers_of_passes_share_the_network(world: World) -> None:
    quick = world.with_sampler(1)
    assert quick.model is world.model and quick.sampler.steps == 1
    assert (np.stack(run(quick)) != np.stack(run(world))).any()
    with pytest.raises(ValueError, match="steps must be from 1 to 1000, got 0"):
        world.with_sampler(0)


def test_starts_and_actions_that_do_not_fit_are_refused(world: World) -> None:
    frames, actions = world.contexts.frames[0], world.contexts.actions[0]
    with pytest.raises(ValueError, match=r"uint8 \[k, 8, 12, 3\] with k >= 1, got float64"):
        world.start(frames.astype(np.float64), actions, 0)
    with pytest.raises(ValueError, match=r"got uint8 \[0, 8, 12, 3\]"):
        world.start(frames[:0], actions[:0], 0)
    with pytest.raises(ValueError, match=r"one action between frames, \[2\], got \[1\]"):
        world.start(frames, actions[:1], 0)
    with pytest.raises(ValueError, match="from 0 to 2, got"):
        world.start(frames, np.array([0, 3]), 0)
    with pytest.raises(ValueError, match="non-negative seeds"):
        world.start(frames, actions, -1)
    state = world.start(frames, actions, 0)
    with pytest.raises(ValueError, match=r"actions must be from 0 to 2, got \[3\]"):
        world.step(state, 3)
    with pytest.raises(ValueError, match=r"need actions \[1\], integers from 0 to 2"):
        world.step(state, float("nan"))  # type: ignore[arg-type]
    assert state.frames == [3]  # nothing half-changed
