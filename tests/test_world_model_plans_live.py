"""Plans at work: frames in flight without their actions, scripts, keyframes; what each may and may not see."""

import warnings

import numpy as np
import pytest
import torch
from test_world_model_state import ACTIONS, begin, make_world, run

from world_model import Cancelled, Drawn, PlanConfig, PlanWarning, World, WorldState
from world_model.keyframes import _estimate, key_groups, visible_frames
from world_model.noise import batch_noise
from world_model.passes import Passes
from world_model.plans import ad_plan, live_levels
from world_model.sampler import flow_path, run_plan

pytestmark = pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
STEPS = 3


@pytest.fixture(scope="module", params=[0, 1])
def world(request: pytest.FixtureRequest) -> World:
    return make_world(sinks=request.param)


def step(world: World, state: WorldState, action: int, **how: object) -> np.ndarray:
    return world.step_tensors(state, torch.full((len(state),), action), **how).frames.numpy()


def frames_of(drawn: "list[Drawn]") -> np.ndarray:
    return np.stack([d.frames.numpy() for d in drawn], 1)


@pytest.mark.parametrize(("steps", "stagger"), [(3, 1), (3, 2), (3, 3), (3, 9), (5, 2), (8, 3), (1, 1)])
def test_live_rows_are_a_piece_of_the_whole_plan(steps: int, stagger: int) -> None:
    rows = live_levels(steps, stagger)
    stagger = min(stagger, steps)
    whole = ad_plan(40, steps, stagger).levels
    first, due = steps - stagger + 7 * stagger, 7  # the step that finishes frame 7
    assert (rows == whole[first : first + stagger + 1, due : due + rows.shape[1]]).all()
    assert (whole[first + stagger, due + rows.shape[1] :] == steps).all()  # nothing else has begun
    assert rows[0, 0] == stagger and rows[-1, 0] == 0


def test_impossible_live_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="stagger >= 1"):
        live_levels(3, 0)


def reference(world: World, state: WorldState, actions: list[int], stagger: int) -> np.ndarray:
    """The whole AD plan at once: every pass over all live frames, true actions only for what is due in this step."""
    frames = len(actions) + 4  # those in flight behind the last one
    x = torch.stack([batch_noise(state.seeds, [n + i for n in state.frames], world.observation_shape)
                     for i in range(frames)], 1)
    shown: list[np.ndarray] = []
    passes = 0

    def denoise(live: torch.Tensor, times: torch.Tensor, first: int) -> torch.Tensor:
        nonlocal passes
        due = max(0, passes - (STEPS - stagger)) // stagger  # this step's frame
        passes += 1
        known = [actions[first]] if first < len(actions) and passes > STEPS - stagger and first == due else []
        return Passes(world, state, torch.tensor([known] * len(state)).reshape(len(state), -1).long())(live, times, 0)

    def finish(clean: torch.Tensor, index: int) -> torch.Tensor:
        if index < len(actions):
            action = torch.full((len(state), 1), actions[index])
            shown.append(world.commit_drawn(state, clean, action).frames.numpy())
        return clean

    with torch.inference_mode():
        run_plan(ad_plan(frames, STEPS, stagger), flow_path(world.sampler), x, denoise, finish)
    return np.stack(shown, 1)


@pytest.mark.parametrize("stagger", [1, 2])
def test_stepping_with_frames_in_flight_is_the_ad_plan(world: World, stagger: int) -> None:
    state = begin(world, steps=2)
    expected = reference(world, state.clone(), ACTIONS, stagger)
    got = np.stack([step(world, state, a, stagger=stagger) for a in ACTIONS], 1)
    assert (got == expected).all()


def test_a_stagger_of_all_steps_is_one_frame_after_the_other(world: World) -> None:
    state = begin(world)
    got = np.stack([step(world, state, a, stagger=STEPS) for a in ACTIONS], 1)
    assert (got == run(world, begin(world))).all() and state.flight is None


@pytest.mark.parametrize("stagger", [1, 2])
def test_frames_in_flight_belong_to_the_state(world: World, stagger: int) -> None:
    state = begin(world)
    step(world, state, 1, stagger=stagger)
    assert state.flight is not None and state.flight.x.shape[1] == live_levels(STEPS, stagger).shape[1] - 1
    held = state.nbytes
    fork = state.clone()
    expected = np.stack([step(world, state, a, stagger=stagger) for a in ACTIONS], 1)
    assert (np.stack([step(world, fork, a, stagger=stagger) for a in ACTIONS], 1) == expected).all()
    assert state.nbytes == held


def test_frames_in_flight_at_other_levels_are_begun_anew(world: World, tmp_path) -> None:
    state = begin(world)
    step(world, state, 1, stagger=1)
    state.save(tmp_path / "state")
    other = world.with_sampler(shift=3.0)
    assert state.flight is not None
    here, anew = WorldState.load(tmp_path / "state", other), state.clone()
    anew.flight = None
    assert (step(other, here, 2, stagger=1) == step(other, anew, 2, stagger=1)).all()
    kept = WorldState.load(tmp_path / "state", world).flight
    assert kept is not None and kept.plan == state.flight.plan


def test_frames_in_flight_survive_files_and_batches(world: World, tmp_path) -> None:
    states = [begin(world, i, seed=i) for i in range(3)]
    for i, state in enumerate(states):
        for a in ACTIONS[: i + 1]:
            step(world, state, a, stagger=1)
    batch = WorldState.join(states)
    batch.save(tmp_path / "state")
    loaded = WorldState.load(tmp_path / "state", world)
    together = [step(world, batch, a, stagger=1) for a in ACTIONS]
    assert all((step(world, loaded, a, stagger=1) == frames).all() for a, frames in zip(ACTIONS, together, strict=True))
    for i, state in enumerate(states):
        alone = np.concatenate([step(world, state, a, stagger=1) for a in ACTIONS]).astype(int)
        assert np.abs(np.stack(together, 1)[i] - alone).max() <= 1


def test_a_frame_is_committed_under_its_true_action_only(world: World) -> None:
    """I4: whatever was in flight, the past that is kept is that of the frames and actions the caller saw."""
    state = begin(world)
    frames = [step(world, state, a, stagger=1)[0] for a in ACTIONS]
    clip = np.concatenate([world.contexts.frames[0], np.stack(frames)])
    again = world.start(clip, np.concatenate([world.contexts.actions[0], ACTIONS]), 5)
    for mine, its in zip(state.cache.rings, again.cache.rings, strict=True):
        order = [(ring.positions()[0].argsort(), ring) for ring in (mine, its)]
        first, second = (ring.k[0, slots] for slots, ring in order)
        assert torch.allclose(first, second, atol=1e-5)
    assert state.frames == again.frames


def test_a_step_can_be_given_up_and_taken_again(world: World) -> None:
    state, asked = begin(world, steps=1), []

    def keep_on() -> bool:
        asked.append(1)
        return len(asked) < 3

    with pytest.raises(Cancelled):
        step(world, state, 2, keep_on=keep_on)
    assert state.frames == [4] and len(asked) == 3
    assert (run(world, state) == run(world, begin(world, steps=1))).all()


@pytest.mark.parametrize("stagger", [None, 1, 2, 3])
def test_a_script_by_the_ad_plan_is_that_plan_with_known_actions(world: World, stagger: int | None) -> None:
    state = begin(world, steps=2)
    x = torch.stack([batch_noise(state.seeds, [n + i for n in state.frames], world.observation_shape)
                     for i in range(7)], 1)
    plan, shown, other = ad_plan(7, STEPS, stagger or 2), [], state.clone()

    def finish(clean: torch.Tensor, index: int) -> torch.Tensor:
        shown.append(world.commit_drawn(other, clean, torch.tensor([[ACTIONS[index]]])).frames.numpy())
        return clean

    def denoise(live: torch.Tensor, times: torch.Tensor, first: int) -> torch.Tensor:
        return Passes(world, other, torch.tensor([ACTIONS[first:]]))(live, times, 0)

    with torch.inference_mode():
        run_plan(plan, flow_path(world.sampler), x, denoise, finish)
    got = frames_of([*world.rollout(state, np.array([ACTIONS]), PlanConfig(kind="ad", stagger=stagger))])
    assert (got == np.stack(shown, 1)).all() and state.frames == [12] and state.flight is None


def test_a_script_one_frame_after_the_other_is_stepping(world: World) -> None:
    state = begin(world)
    drawn = [*world.rollout(state, np.array([ACTIONS]))]
    assert (frames_of(drawn) == run(world, begin(world))).all()
    assert drawn[0].rewards.shape == (1,) and drawn[0].terminated.dtype == torch.bool


@pytest.mark.parametrize("kind", ["ad", "rolling", "keyframes"])
def test_a_script_moves_the_state_frame_by_frame(world: World, kind: str) -> None:
    state, actions = begin(world), np.array([ACTIONS * 3])
    frames = []
    for i, drawn in enumerate(world.rollout(state, actions, PlanConfig(kind=kind, segment=9))):
        assert state.frames == [4 + i]
        frames.append(drawn.frames.numpy()[0])
    assert len(frames) == 21
    assert (state.cache.actions[0, -3:].numpy() == actions[0, -3:]).all()
    after = world.start(np.stack([*world.contexts.frames[0], *frames]),
                        np.concatenate([world.contexts.actions[0], actions[0]]), 5)
    assert np.abs(run(world, state).astype(int) - run(world, after)).max() <= 1


def test_rolling_lets_frames_see_later_ones_and_ad_does_not(world: World) -> None:
    def first_frames(kind: str, last: int) -> np.ndarray:
        actions = np.array([[0, 1, last]])
        how = PlanConfig(kind=kind, stagger=1 if kind == "ad" else None)
        return frames_of([*world.rollout(begin(world, steps=4), actions, how)])[:, :2]

    assert (first_frames("ad", 1) == first_frames("ad", 2)).all()
    assert (first_frames("rolling", 1) != first_frames("rolling", 2)).any()


def test_scripts_count_their_passes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"passes": 0}
    call = Passes.__call__

    def counted(self: Passes, *args: object) -> torch.Tensor:
        counts["passes"] += 1
        return call(self, *args)

    monkeypatch.setattr(Passes, "__call__", counted)
    for kind, stagger, expected in (("autoregressive", None, 7 * STEPS), ("ad", 2, STEPS + 6 * 2),
                                    ("rolling", None, STEPS + 6)):  # fmt: skip
        counts["passes"] = 0
        list(world.rollout(begin(world), np.array([ACTIONS]), PlanConfig(kind=kind, stagger=stagger)))
        assert counts["passes"] == expected, kind


@pytest.mark.parametrize("frames", [8, 9, 12, 48])
def test_keyframes_cover_a_segment_once_and_see_what_is_drawn(frames: int) -> None:
    groups = key_groups(frames)
    assert sorted(i for group in groups for i in group) == [*range(frames)]
    drawn: set[int] = set()
    for g, group in enumerate(groups):
        sees = set(visible_frames(groups, g))
        drawn |= set(group)
        assert set(group) <= sees <= drawn
    gap = groups[1]
    assert max(visible_frames(groups, 1)) == max(gap) + 2  # the keys after it, not those at the far end


def test_order_decides_what_a_frame_sees(world: World) -> None:
    state = begin(world, steps=3)
    torch.manual_seed(1)
    x, times = torch.randn(1, 8, 8, 12, 3), torch.linspace(0, 1, 8)
    actions = torch.zeros(1, 8, dtype=torch.int64)

    def estimate(x: torch.Tensor, seen: list[int]) -> torch.Tensor:
        sees = torch.zeros(8, dtype=torch.bool)
        sees[seen] = True
        with torch.inference_mode():
            return _estimate(world, state, x, times, actions, sees)

    changed = x.clone()
    changed[:, 6] += 1
    hidden = estimate(x, [0, 1, 2]), estimate(changed, [0, 1, 2])
    assert torch.equal(hidden[0][:, :6], hidden[1][:, :6])
    seen = estimate(x, [0, 1, 2, 6]), estimate(changed, [0, 1, 2, 6])
    assert not torch.equal(seen[0][:, 3], seen[1][:, 3])
    alone = estimate(x[:, :1].expand(-1, 8, -1, -1, -1).clone(), [])  # frame 0 as the live world would draw it
    with torch.inference_mode():
        live = Passes(world, state, actions[:, :1])(x[:, :1], times[:1], 0)
    assert torch.allclose(alone[:, 0], live[:, 0], atol=1e-5)


def test_plans_that_cannot_be_are_refused_with_the_reason(world: World) -> None:
    for wrong, why in (({"kind": "magic"}, "autoregressive"), ({"stagger": 2}, "leave stagger out"),
                       ({"kind": "keyframes", "segment": 4}, "8 to 48")):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            PlanConfig(**wrong)
    for kind in ("rolling", "keyframes"):
        with pytest.raises(ValueError, match="actions must be known"):
            PlanConfig(kind=kind).check_live(3)
    with pytest.raises(ValueError, match="from 1 to the sampler's 3 steps"):
        PlanConfig(kind="ad", stagger=4).check_live(3)
    state = begin(world)
    for actions in (np.zeros((2, 3), int), np.zeros(3, int), np.array([[3]]), np.array([[0.5]])):
        with pytest.raises(ValueError, match="actions"):
            world.rollout(state, actions)
    assert state.frames == [3]


def test_biased_plans_warn_with_the_measured_bias() -> None:
    with pytest.warns(PlanWarning, match=r"0\.975"):
        PlanConfig(kind="ad", stagger=1).check_live(3)
    with pytest.warns(PlanWarning, match="trained causally"):
        PlanConfig(kind="keyframes").check_script(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PlanConfig(kind="ad", stagger=2).check_live(3)
        PlanConfig().check_script(3)
