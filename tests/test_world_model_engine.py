"""The engine: whatever is guessed, forked, restored or put in whichever order, the frames are those of plain stepping.

Invariants I4 (nothing is seen or kept but under its true action), I5 (guessing changes nothing), I6, I7.
"""

import gc
import os
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_world_model_state import ACTIONS, begin, make_world

from world_model import Drawn, Engine, EngineConfig, StateError, World, WorldState
from world_model.graphs import StaticStep
from world_model.passes import Passes

WORLD = make_world(sinks=0)
MODES = ["off", "repeat", "policy"]


def policy(pictures: torch.Tensor) -> torch.Tensor:
    """Some function of what is seen."""
    return pictures[:, -1].long().sum((1, 2, 3)) % 3


def engine(mode: str = "off", ahead: int = 1, world: World = WORLD, **config: object) -> Engine:
    return Engine(world, EngineConfig(lookahead=mode, ahead=ahead, **config), policy)


def act(engine: Engine, *actions: int) -> Drawn:
    drawn = engine.step(torch.tensor(actions))
    engine.look_ahead()
    return drawn


def rest(engine: Engine) -> None:
    """Think until all guesses are drawn, however busy the machine is."""
    look, until = engine._look, time.monotonic() + 20
    while look is not None and look._wanted and look._error is None and len(look._ready) < look._ahead:
        assert time.monotonic() < until, "guesses never come"
        time.sleep(0.005)


def pictures(drawn: Drawn) -> np.ndarray:
    return drawn.frames.numpy()


def plain(state: WorldState, actions: list[int], world: World = WORLD) -> list[np.ndarray]:
    return [pictures(world.step_tensors(state, torch.full((len(state),), a))) for a in actions]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("idle", [0.0, 0.02])
def test_guessing_never_changes_a_frame(mode: str, ahead: int, idle: float) -> None:
    one = engine(mode, ahead)
    one.replace(begin(WORLD))
    actions = [1, 1, 1, 0, 0, 2, 2, 2, 2, 1, 0, 0]
    expected = plain(begin(WORLD), actions)
    for action, frame in zip(actions, expected, strict=True):
        assert (pictures(act(one, action)) == frame).all()
        time.sleep(idle)
    stats = one.stats()
    assert stats.steps == 12 and stats.hits + stats.misses <= 12
    if mode == "off":
        assert stats.hits == stats.discarded == 0
    one.close()


def test_a_repeated_action_is_found_drawn() -> None:
    one = engine("repeat", 2)
    one.replace(begin(WORLD))
    for action in [1, 1, 1, 1, 2, 2, 2, 2]:
        act(one, action)
        rest(one)
    stats = one.stats()
    assert stats.hits == 6 and stats.misses == 1 and stats.steps == 8  # the first one came before any guess
    assert stats.hit_rate == 6 / 8
    assert stats.discarded == 2  # two frames were there when the action changed
    assert stats.saved_ms > 0 and stats.saved_ms == stats.drawing_ms - stats.waiting_ms
    one.close()


def test_a_policy_that_is_followed_is_found_drawn() -> None:
    one = engine("policy")
    one.replace(begin(WORLD))
    one.look_ahead()
    for _ in range(6):
        rest(one)
        act(one, int(policy(one.state.pictures)[0]))
    assert one.stats().hits == 6
    one.set_policy(None)
    before = one.stats().hits
    act(one, 1)
    rest(one)
    act(one, 1)
    assert one.stats().hits == before
    one.close()


def test_every_action_of_a_branch_is_found_drawn_and_timing_changes_nothing() -> None:
    frames = []
    for idle in (0.0, 0.05):
        one = engine("branch")
        one.replace(begin(WORLD))
        one.look_ahead()
        drawn = []
        for action in ACTIONS:
            time.sleep(idle)
            drawn.append(pictures(act(one, action)))
        frames.append(np.stack(drawn))
        if idle:
            assert one.stats().hits == len(ACTIONS) and one.stats().discarded >= 2 * len(ACTIONS)
        one.close()
    assert (frames[0] == frames[1]).all()
    alone = np.stack(plain(begin(WORLD), ACTIONS)).astype(int)
    assert np.abs(frames[0] - alone).max() <= 1  # rows of a batch round otherwise


def test_a_right_guess_that_is_not_ready_is_waited_for() -> None:
    world = make_world(sinks=0)
    slow = world.step_tensors

    release, calls = threading.Event(), []

    def slowly(state: WorldState, actions: torch.Tensor, **how: object) -> Drawn:
        calls.append(how.get("keep_on") is not None)
        assert how.get("keep_on") is None or release.wait(20)
        return slow(state, actions, **how)

    world.step_tensors = slowly  # type: ignore[method-assign]
    one = engine("repeat", world=world)
    one.replace(begin(world))
    act(one, 1)
    while len(calls) < 2:
        time.sleep(0.01)
    threading.Timer(0.1, release.set).start()
    one.step(torch.tensor([1]))
    assert calls == [False, True] and one.stats().hits == 1 and one.stats().waiting_ms > 50
    one.close()


def test_a_wrong_guess_is_given_up_between_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, release, passes = threading.Event(), threading.Event(), []
    think = Passes.__call__

    def held(self: Passes, *args: object) -> torch.Tensor:
        estimate = think(self, *args)
        if threading.current_thread().name == "foreframe-lookahead":
            passes.append(1)
            entered.set()
            assert release.wait(20)
        return estimate

    monkeypatch.setattr(Passes, "__call__", held)
    one = engine("repeat")
    one.replace(begin(WORLD))
    act(one, 1)
    assert entered.wait(20)
    threading.Timer(0.05, release.set).start()
    assert (pictures(one.step(torch.tensor([2]))) == plain(begin(WORLD), [1, 2])[1]).all()
    assert len(passes) == 1 and one.stats().misses == 1
    one.close()


def test_memory_is_not_copied_at_every_miss() -> None:
    one = engine("repeat")
    one.replace(begin(WORLD))
    places = set()
    for action in [0, 1, 2] * 4:
        act(one, action)
        time.sleep(0.03)
        one.forget()
        places.add(one.state.cache.recent.data_ptr())
    assert len(places) <= 3
    one.close()


def test_a_slow_policy_is_not_waited_for() -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(pictures: torch.Tensor) -> torch.Tensor:
        asked.set()
        assert release.wait(20)
        return policy(pictures)

    one = engine("policy")
    one.set_policy(slow)
    one.replace(begin(WORLD))
    one.look_ahead()
    assert asked.wait(20)
    assert (pictures(one.step(torch.tensor([1]))) == plain(begin(WORLD), [1])[0]).all()  # while it still thinks
    release.set()
    one.close()


def test_an_engine_that_nobody_holds_ends_its_thread_without_waiting() -> None:
    """The garbage collector may come at any point, in any thread, with any lock held."""
    inside, release = threading.Event(), threading.Event()

    def blocked(pictures: torch.Tensor) -> torch.Tensor:
        inside.set()
        assert release.wait(20)
        return policy(pictures)

    one = engine("policy")
    one.set_policy(blocked)
    one.replace(begin(WORLD))
    one.look_ahead()
    assert inside.wait(20)
    look = one._look
    assert look is not None
    with look._changed:  # held by this thread; a finaliser that took it elsewhere would hang
        dropper = threading.Thread(target=lambda held: held.clear(), args=([one],))
        del one
        dropper.start()
        dropper.join(10)
        assert not dropper.is_alive()
    release.set()
    for _ in range(200):
        if not names():
            break
        time.sleep(0.05)
    assert not names()


OPERATIONS = st.lists(st.one_of(
    st.tuples(st.just("step"), st.lists(st.integers(0, 2), min_size=3, max_size=3)),
    st.tuples(st.just("repeat"), st.just(0)),
    st.tuples(st.just("reset"), st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
                                          st.integers(0, 3), st.integers(0, 9))),
    st.tuples(st.just("snapshot"), st.just(0)),
    st.tuples(st.just("restore"), st.integers(0, 5)),
    st.tuples(st.just("row"), st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 2))),
    st.tuples(st.just("fork"), st.integers(0, 2)),
    st.tuples(st.just("idle"), st.just(0)),
), max_size=14)  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"mode": "repeat", "ahead": 2}, {"mode": "policy"}, {"plan": "ad", "stagger": 2}])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=OPERATIONS)
def test_any_interleaving_draws_the_frames_of_the_plain_path(how: dict[str, object], operations: list) -> None:
    """Three rollouts: each is described by its start, seed and actions, and drawn again from them alone at the end."""
    stagger = how.get("stagger")
    one = engine(**how)
    told = [(i, i, ()) for i in range(3)]  # clip, seed, actions of each row
    one.replace(WorldState.join([begin(WORLD, clip, seed) for clip, seed, _ in told]))
    kept: list[tuple[WorldState, list]] = []
    seen: list[tuple[tuple, np.ndarray]] = []
    last = [0, 0, 0]
    for name, what in [*operations, ("step", [1, 1, 2])]:
        if name in ("step", "repeat"):
            last = what if name == "step" else last
            drawn = pictures(act(one, *last))
            told = [(clip, seed, (*actions, a)) for (clip, seed, actions), a in zip(told, last, strict=True)]
            seen += [(row, frame) for row, frame in zip(told, drawn, strict=True)]
        elif name == "reset":
            rows, clip, seed = what
            one.put(rows, begin(WORLD, clip, seed))
            told = [(clip, seed, ()) if i in rows else row for i, row in enumerate(told)]
        elif name == "snapshot":
            kept.append((one.state.clone(), list(told)))
        elif name == "restore" and kept:
            state, told = kept[what % len(kept)]
            one.replace(state.clone())
        elif name == "row" and kept:
            row, which, source = what
            state, before = kept[which % len(kept)]
            one.put([row], state.take([source]))
            told = [before[source] if i == row else now for i, now in enumerate(told)]
        elif name == "fork":
            for fork in one.state.fork(2):
                WORLD.step_tensors(fork, torch.tensor([what] * 3), stagger=stagger)
        elif name == "idle":
            time.sleep(0.01)
    one.close()
    for (clip, seed, actions), frame in seen:
        start = begin(WORLD, clip, seed)
        WORLD.take_off(start, stagger)
        state = WorldState.join([start] * 3)
        for action in actions:
            drawn = WORLD.step_tensors(state, torch.tensor([action] * 3), stagger=stagger)
        assert (pictures(drawn)[0] == frame).all()


def test_a_step_with_fixed_buffers_survives_snapshots_forks_and_resets() -> None:
    """What a CUDA graph needs, on a CPU: the engine's memory stays in place and nobody else sees it change."""
    one, other = engine(), engine()
    one._capture = StaticStep
    places: set[tuple[int, ...]] = set()
    kept: list[WorldState] = []
    for clip in (0, 1):
        for each in (one, other):
            each.replace(WorldState.join([begin(WORLD, clip, seed) for seed in range(3)]))
        for i, action in enumerate(ACTIONS):
            got, wanted = act(one, action, 0, 2), act(other, action, 0, 2)
            assert np.abs(pictures(got).astype(int) - pictures(wanted)).max() <= 1
            assert one.state.frames == other.state.frames
            places.add(tuple(x.data_ptr() for ring in one.state.cache.rings for x in (ring.k, ring.v)))
            if i == 2:
                kept += one.state.fork(2)
                frozen = kept[-1].pictures.clone()
                for each in (one, other):
                    each.put([1], begin(WORLD, 3, seed=7))
        assert torch.equal(kept[-1].pictures, frozen) and kept[-1].frames == [6, 6, 6]
        for each in (one, other):
            each.replace(kept[-1].clone())
        assert np.abs(pictures(act(one, 1, 1, 1)).astype(int) - pictures(act(other, 1, 1, 1))).max() <= 1
        assert kept[-1].frames == [6, 6, 6]
    assert len(places) == 1
    held = one.state.clone()
    list(one.rollout(np.array([[1, 2]] * 3))), list(other.rollout(np.array([[1, 2]] * 3)))  # own memory since
    assert one._static is not None and one._static.moved and held.frames == [7, 7, 7]
    assert np.abs(pictures(act(one, 1, 1, 1)).astype(int) - pictures(act(other, 1, 1, 1))).max() <= 1


def test_a_state_can_be_replaced_while_something_is_guessed() -> None:
    one = engine("repeat", 4)
    for clip in (0, 1, 2, 3):
        one.replace(begin(WORLD, clip, seed=clip))
        expected = plain(begin(WORLD, clip, seed=clip), [2, 2])
        assert (pictures(act(one, 2)) == expected[0]).all()
        assert (pictures(act(one, 2)) == expected[1]).all()
    one.close()


def test_states_that_do_not_fit_are_refused_and_nothing_changes() -> None:
    one = engine("branch")
    with pytest.raises(RuntimeError, match="replace"):
        _ = one.state
    one.replace(begin(WORLD))
    with pytest.raises(ValueError, match="one rollout"):
        one.replace(WorldState.join([begin(WORLD)] * 2))
    with pytest.raises(StateError, match="w2"):
        one.replace(begin(make_world("w2", 0)))
    assert one.state.frames == [3]
    one.close()


@pytest.mark.parametrize(("config", "why"), [
    ({"lookahead": "magic"}, "lookahead must be"), ({"ahead": 0}, "from 1 to 16"), ({"ahead": True}, "from 1 to 16"),
    ({"lookahead": "branch", "ahead": 2}, "one frame ahead"), ({"plan": "nothing"}, "plan must be"),
    ({"plan": "ad", "lookahead": "repeat"}, "frames of its own"), ({"stagger": 1}, "leave stagger out"),
    ({"plan": "ad", "stagger": 1.5}, "stagger must be an integer"), ({"segment": "a"}, "segment must be an integer"),
    ({"graphs": "no"}, "graphs must be"), ({"plan": "ad", "stagger": True}, "stagger must be an integer"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(config: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        EngineConfig.of(config)


def test_settings_come_as_plain_values_too() -> None:
    assert EngineConfig.of({"lookahead": "repeat", "ahead": 2}) == EngineConfig(lookahead="repeat", ahead=2)
    assert EngineConfig.of(None) == EngineConfig.of(EngineConfig()) == EngineConfig()
    with pytest.raises(ValueError, match=r"unknown engine settings \['look'\]"):
        EngineConfig.of({"look": 1})


def test_plans_of_scripts_cannot_step() -> None:
    one = engine(plan="rolling")
    one.replace(begin(WORLD))
    with pytest.raises(ValueError, match="rollout"):
        act(one, 1)
    with pytest.warns(UserWarning, match="trained causally"):
        frames = [*one.rollout(np.array([ACTIONS]))]
    assert len(frames) == len(ACTIONS) and one.state.frames == [10]


def test_what_a_policy_raises_reaches_the_caller_of_step() -> None:
    def broken(pictures: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such thing")

    one = engine("policy")
    one.set_policy(broken)
    one.replace(begin(WORLD))
    one.look_ahead()
    rest(one)
    with pytest.raises(KeyError, match="no such thing"):
        act(one, 1)
    one.look_ahead()
    rest(one)
    one.set_policy(lambda pictures: sys.exit("enough"))  # what the one before raised is forgotten
    assert (pictures(act(one, 1)) == plain(begin(WORLD), [1])[0]).all()
    rest(one)
    with pytest.raises(SystemExit, match="enough"):
        act(one, 1)
    one.replace(begin(WORLD))
    assert one.state.frames == [3]
    assert (pictures(act(one, 1)) == plain(begin(WORLD), [1])[0]).all()
    one.close()


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "lookahead" in thread.name]


def test_threads_end_with_the_engine_and_start_again() -> None:
    one = engine("repeat")
    one.replace(begin(WORLD))
    act(one, 1)
    assert names()
    one.close()
    assert not names()
    act(one, 1)
    assert names()
    del one
    gc.collect()
    for _ in range(200):
        if not names():
            break
        time.sleep(0.05)
    assert not names()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on_with_the_frames_of_its_parent() -> None:
    one = engine("repeat", 4)
    one.replace(begin(WORLD))
    act(one, 1)
    expected = plain(begin(WORLD), [1, 1, 2])[1:]
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)
        try:
            same = all((pictures(act(one, a)) == frame).all() for a, frame in zip([1, 2], expected, strict=True))
            os._exit(0 if same else 1)
        except BaseException:
            os._exit(2)
    for _ in range(200):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0
    assert all((pictures(act(one, a)) == frame).all() for a, frame in zip([1, 2], expected, strict=True))
    one.close()
