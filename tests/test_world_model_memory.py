"""Cache policies: each keeps what it says, never more bytes than the window, and while nothing has left equals it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from envs import WorldEnv
from kernels import RingCache
from world_model import Contexts, PlanConfig, SamplerConfig, StateError, World, WorldModel, WorldModelConfig, WorldState
from world_model.memory import Memory
from world_model.memory_policies import ALPHAS, POLICIES, RINGS, Coarse, Ema, Participative
from world_model.switching import set_condition

OTHERS = [name for name in POLICIES if name not in RINGS]
P, HEADS, WIDTH = 4, 2, 8


def make_world(policy: str = "window", window: int = 9, sinks: int = 0) -> World:
    torch.manual_seed(0)
    config = WorldModelConfig(height=8, width=8, patch=[4, 4], dim=32, layers=2, heads=2, num_actions=3, window=window,
                              temporal_every=1, sinks=sinks, conditions=["a", "b"])
    model = WorldModel(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    rng = np.random.default_rng(0)
    contexts = Contexts(rng.integers(0, 256, (4, 3, 8, 8, 3), np.uint8), rng.integers(0, 3, (4, 2)))
    card = {"fps": 10, "actions": {"meanings": ["A", "B", "C"]}}
    return World(model, SamplerConfig(steps=2), card, contexts, "w").with_memory(policy)


def begin(world: World, clip: int = 0) -> WorldState:
    return world.start(world.contexts.frames[clip], world.contexts.actions[clip], 5)


def run(world: World, state: WorldState, steps: int) -> np.ndarray:
    return np.stack([world.step_batch(state, np.full(len(state), i % 3))[0] for i in range(steps)])


def frames(count: int, seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Keys, values and queries of one rollout's frames."""
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randn(3, 1, P, HEADS, WIDTH, generator=generator)) for _ in range(count)]  # type: ignore[misc]


def participative(sinks: int = 1, between: int = 2, recent: int = 3) -> Participative:
    return Participative(1, sinks, between * P, recent, P, HEADS, WIDTH, torch.zeros(()), 16)


@pytest.mark.parametrize("policy", POLICIES)
def test_while_nothing_has_left_all_are_the_window(policy: str) -> None:
    window, other = make_world(window=16), make_world(policy, window=16)
    drawn = [run(world, begin(world), 4).astype(int) for world in (window, other)]
    assert np.abs(drawn[0] - drawn[1]).max() <= 1  # other products, other rounding
    assert np.ptp(drawn[0]) > 20


@pytest.mark.parametrize("policy", POLICIES)
def test_bytes_and_cost_do_not_grow_and_are_never_more_than_the_windows(policy: str) -> None:
    world = make_world(policy)
    budget = sum(ring.nbytes for ring in begin(make_world()).cache.rings)
    state, rng = begin(world), np.random.default_rng(1)
    sizes = set()
    for _ in range(60):
        world.step(state, int(rng.integers(3)))
        sizes.add((sum(ring.nbytes for ring in state.cache.rings), state.nbytes))
        for ring in state.cache.rings:
            assert torch.isfinite(ring.k).all()
            if isinstance(ring, Memory):
                horizon = world.model.config.window - 1 + world.model.config.sinks
                assert ring._away(0).max() <= horizon == ring.horizon and ring.sound()
                endless = ring.clone()
                endless.horizon = 10**6
                if policy != "coarse":  # whose frames are more than those that they take the place of
                    assert endless._away(0).max() <= horizon
    assert len(sizes) == 1 and sizes.pop()[0] <= budget


@pytest.mark.parametrize("policy", OTHERS)
def test_attention_is_that_to_the_tokens_it_names(policy: str) -> None:
    world = make_world(policy)
    state = begin(world)
    run(world, state, 20)
    ring, tables = state.cache.rings[0], world.model.rotation.distance(torch.device("cpu"))
    assert isinstance(ring, Memory)
    q, k, v = torch.randn(3, 1, 2 * ring.P, 2, 16)
    got, away, bias = ring.attend(q, k, v, tables), ring._away(0), ring.bias()
    for f in range(2):
        for h in range(2):
            seen = [(int(d) + f, ring.k[0, i, h], ring.v[0, i, h], 0.0 if bias is None else float(bias[i]))
                    for i, d in enumerate(away) if d > 0]
            seen += [(f - i // ring.P, k[0, i, h], v[0, i, h], 0.0) for i in range((f + 1) * ring.P)]
            query = q[0, f * ring.P, h]
            turned = [query * tables[0][d] + query.roll(8) * tables[1][d] for d, *_ in seen]
            scores = torch.stack([t @ key / 4 + more for t, (_, key, _, more) in zip(turned, seen, strict=True)])
            wanted = scores.softmax(0) @ torch.stack([value for *_, value, _ in seen])
            assert torch.allclose(got[0, f * ring.P, h], wanted, atol=1e-5)


def test_participative_keeps_what_brute_force_ranks_highest() -> None:
    memory, made = participative(), frames(12)
    for k, v, q in made:
        memory.append(k, v, q)
    kept: list[tuple[Tensor, Tensor]] = []  # the same, token by token
    for t in range(4, 12):
        leaving = [(made[t - 3][0][0, i], made[t - 3][1][0, i]) for i in range(P)]
        asked = made[t][2][0]
        pool = kept + leaving
        scores = [sum(float((key[h] * asked[r, h]).sum()) for h in range(HEADS) for r in range(P)) for key, _ in pool]
        best = sorted(range(len(pool)), key=lambda i: -scores[i])[: 2 * P]
        kept = [pool[i] for i in sorted(best)]
    first = memory.sinks * P
    assert torch.equal(memory.k[0, first : first + 2 * P], torch.stack([key for key, _ in kept]))
    assert torch.equal(memory.v[0, first : first + 2 * P], torch.stack([value for _, value in kept]))
    assert memory._away(0).view(-1, P)[:, 0].tolist() == [6, 5, 4, 3, 2, 1]  # nothing is missing between


@torch.inference_mode()
def test_deep_sinks_stay_right_behind_the_tail() -> None:
    ring = begin(make_world("deep_sink")).cache.rings[0]
    assert isinstance(ring, RingCache) and (ring.sinks, ring.capacity) == (4, 8)
    for k, v, _ in [tuple(torch.randn(3, 1, 4, 2, 16)) for _ in range(20)]:
        ring.append(k, v)
    assert ring.positions()[0, :4].tolist() == [0, 1, 2, 3] and sorted(ring.positions()[0, 4:].tolist()) == [4, 5, 6, 7]


def test_ema_frames_are_exponential_averages_of_what_left() -> None:
    memory, made = Ema(1, 1, 2 * P, 2, P, HEADS, WIDTH, torch.zeros(()), 16), frames(9)
    for k, v, q in made:
        memory.append(k, v, q)
    for i, alpha in enumerate(ALPHAS):
        wanted = made[1][0][0]
        for t in range(2, 7):
            wanted = (1 - alpha) * wanted + alpha * made[t][0][0]
        assert torch.allclose(memory.k[0, (1 + i) * P : (2 + i) * P], wanted, atol=1e-6)
    assert memory._away(0).view(-1, P)[:, 0].tolist() == [5, 4, 3, 2, 1]


@torch.inference_mode()
def test_coarse_tokens_are_means_and_count_as_many() -> None:
    world = make_world("coarse")
    ring = begin(world).cache.rings[0]
    assert isinstance(ring, Coarse) and ring.each == 1 and ring.middle == 8  # one token stands for a frame of four
    plain = torch.randn(1, 1, 2, 16).expand(1, 4, 2, 16)  # the same vector in every place, rotated to it
    cos, sin = world.model.rotation.place(torch.device("cpu"))
    turned = plain * cos[None, :, None] + plain.roll(8, -1) * sin[None, :, None]
    for _ in range(20):
        ring.append(turned, plain, plain)
    assert int(ring.filled[0]) == 8 and torch.allclose(ring.v[0, 4:12], plain[0, :1].expand(8, 2, 16), atol=1e-6)
    assert torch.allclose(ring.k[0, 4:12].norm(dim=-1), plain[0, 0].norm(dim=-1).expand(8, 2), atol=1e-5)
    assert ring.bias()[4:12].tolist() == pytest.approx([math.log(4)] * 8) and not ring.bias()[:4].any()
    assert ring._away(0)[4:12].tolist() == [min(ring.recent + 8 - i, ring.horizon) for i in range(8)]


@pytest.mark.parametrize("policy", OTHERS)
def test_forks_batches_and_files_carry_it(policy: str, tmp_path: Path) -> None:
    world = make_world(policy)
    states = [begin(world, clip) for clip in (0, 1)]
    run(world, states[0], 17)
    run(world, states[1], 4)
    fork, batch = states[0].clone(), WorldState.join(states)
    states[0].save(tmp_path / "state")
    batched, alone = run(world, batch, 6).astype(int), run(world, states[0], 6)
    assert np.abs(batched[:, 0] - alone[:, 0]).max() <= 1
    assert np.array_equal(run(world, fork, 6), alone)
    assert np.array_equal(run(world, WorldState.load(tmp_path / "state", world), 6), alone)
    with pytest.raises(StateError, match="remembers by the policy"):
        WorldState.load(tmp_path / "state", make_world())
    with pytest.raises(StateError, match="by the policy window, the state by"):
        make_world().step(fork, 1)


@torch.inference_mode()
def equal_to_a_fresh_pass(world: World, state: WorldState) -> None:
    """The last frames' keys are those that one pass over these makes under the state's condition, nothing before."""
    cache, config, rings = state.cache, world.model.config, [ring.clone() for ring in state.cache.rings]
    for ring in rings:
        ring.keep_last(0)
    frames, end = cache.rings[0].recent, cache.past.shape[1]  # type: ignore[union-attr]
    told = world.actions.told(world.actions.taken(cache.actions), torch.tensor(state.conditions))
    x, before = cache.past[:, end - frames :], cache.past[:, end - frames - config.history : end - frames]
    fresh: list[tuple[Tensor, ...]] = []
    world.model.think_cached(x, before, torch.zeros(1, frames), told[:, -config.action_memory - frames :], rings, fresh)
    for ring, (k, *_) in zip(cache.rings, fresh, strict=True):
        assert torch.allclose(ring.k[0, -k.shape[1] :], k[0], atol=1e-4)


@pytest.mark.parametrize("switch", ["flush", "recache"])
@pytest.mark.parametrize("policy", OTHERS)
def test_they_are_flushed_and_made_again(policy: str, switch: str) -> None:
    world = make_world(policy)
    state = begin(world)
    run(world, state, 20)
    ring = state.cache.rings[0]
    last = ring.k[0, -ring.P :].clone()
    set_condition(world, state, [0], "b", switch)
    ring = state.cache.rings[0]
    frames_seen = int((ring._away(0) > 0).sum()) // ring.P  # type: ignore[union-attr]
    if switch == "flush":
        start = ring._start_of_recent  # type: ignore[union-attr]
        assert frames_seen == ring.sinks + 1 and torch.equal(ring.k[0, start : start + ring.P], last)
    else:
        assert frames_seen == ring.capacity
        equal_to_a_fresh_pass(world, state)
    run(world, state, 3)


def test_policies_that_cannot_be_are_refused(small_world: str) -> None:
    with pytest.raises(ValueError, match="memory must be one of"):
        make_world("endless")
    for policy in ("participative", "ema", "coarse"):
        with pytest.raises(ValueError, match="no room for the last frame"):
            begin(make_world(policy, window=3))
    with pytest.raises(ValueError, match="memory must be one of"):
        WorldEnv(small_world, engine={"memory": "endless"})
    script = np.zeros((1, 12), np.int64)
    world = make_world("ema")
    with pytest.raises(ValueError, match="keyframes reads a window"):
        next(world.rollout(begin(world), script, PlanConfig(kind="keyframes")))


def test_environments_step_and_record_with_them(small_world: str) -> None:
    env = WorldEnv(small_world, engine={"memory": "sink"})
    env.reset(seed=0)
    env.step(1)
    assert env.recording_card()["env"]["kwargs"]["engine"] == {"memory": "sink"}
