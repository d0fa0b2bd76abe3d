"""Playing live: steps are made by another thread while this one looks at the keys."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs import WorldEnv
from envs.game import Game
from envs.keymap import action_for
from envs.pilot import Pilot
from envs.player import REFRESH, Player
from envs.screen import Inputs
from envs.sessions import keys_of
from envs.stage import Stage

KEYS = {"up": 1, "down": 2, "space": 3, "up+space": 4}


class Slowed(WorldEnv):
    """A world that is slower to draw: by `seconds`, or, once `gate` is set, until it is let. Notes its steps."""

    seconds, gate = 0.0, None

    def __init__(self, *args, **kwargs):
        self.begun, self.ended, self.actions = [], [], []
        self.drawing = threading.Event()
        super().__init__(*args, **kwargs)

    def step(self, action):
        self.begun.append(time.perf_counter())
        self.actions.append(action)
        result = super().step(action)
        self.ended.append(time.perf_counter())
        return result

    def _draw(self, actions):
        self.drawing.set()
        time.sleep(self.seconds)
        if self.gate is not None:
            assert self.gate.acquire(timeout=20)
        return super()._draw(actions)


class TimedScreen:
    """Hands out one input per look and looks as often as it is told to; a function among them is called instead."""

    def __init__(self, looks):
        self.looks, self.polls, self.shown, self.frames, self.lines = list(looks), [], [], [], []

    def poll(self):
        while self.looks and callable(self.looks[0]):
            self.looks.pop(0)()
        self.polls.append(time.perf_counter())
        return self.looks.pop(0) if self.looks else Inputs(closed=True)

    def show(self, scene):
        self.shown.append(time.perf_counter())
        self.frames.append(scene.frame.copy())
        self.lines.append(list(scene.lines))

    def tick(self, fps):
        time.sleep(1 / fps)

    def close(self):
        pass


class Tape:
    """Episodes as they are recorded."""

    def __init__(self):
        self.episodes = []

    def begin(self, branch):
        assert all(episode.last is not None for episode in self.episodes)
        self.episodes.append(SimpleNamespace(seed=branch.seed, steps=[], input_ms=[], added=[], last=None))
        for step, moment in enumerate(branch.moments):
            self.add(branch.picture(step), moment)

    def add(self, before, moment):
        assert self.episodes[-1].last is None
        self.episodes[-1].steps.append(SimpleNamespace(frame=before, **vars(moment)))
        self.episodes[-1].input_ms.append(moment.input_ms)
        self.episodes[-1].added.append(time.perf_counter())

    def end(self, branch):
        self.episodes[-1].last = branch.picture(len(branch))

    @property
    def actions(self):
        return [step.action for episode in self.episodes for step in episode.steps]


def tap(key):
    return Inputs(held=(key,), pressed=(key,))


def hold(*keys):
    return Inputs(held=keys)


def by_keys(frame, inputs):
    return action_for(inputs.held, KEYS, 0)


def play(env, looks, fps=30.0, steps=None, choose=by_keys):
    screen, tape = TimedScreen(looks), Tape()
    player = player_of(env, screen, choose, tape, fps=fps, live=True)
    return SimpleNamespace(screen=screen, tape=tape, player=player, report=player.run(steps))


def player_of(env, screen, choose, tape=None, **kwargs):
    game = Game(Stage(env), lambda: tape)
    game.recording = tape is not None
    return Player(game, screen, [Pilot("person", choose)], keys_of(env), **kwargs)


def assert_reproduced(tape, folder):
    """Every episode, played again step by step, has the frames, rewards and ends of the tape, bit for bit."""
    twin = WorldEnv(folder)
    for episode in tape.episodes:
        frame, _ = twin.reset(seed=episode.seed)
        for step in episode.steps:
            assert (step.frame == frame).all()
            frame, reward, terminated, _, _ = twin.step(step.action)
            assert (step.reward, step.terminated) == (reward, terminated)
        assert (episode.last == frame).all()


@pytest.fixture
def gated(small_world):
    """A world whose every step waits until it is let, and what lets it."""
    env = Slowed(small_world)
    env.gate = threading.Semaphore(0)
    yield env
    env.close()


def let(env, steps=1):
    return lambda: env.gate.release(steps)


def drawing(env):
    """Wait until a step has begun."""

    def wait():
        assert env.drawing.wait(20)
        env.drawing.clear()

    return wait


def looks(number, inputs=Inputs()):  # noqa: B008  (it is frozen)
    return [inputs] * number


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("foreframe-step")]


def test_keys_are_read_and_pictures_shown_while_a_step_is_drawn(gated, small_world):
    during = [drawing(gated), *looks(5), let(gated)]
    played = play(gated, [Inputs(), *during, *during, drawing(gated), let(gated, 9)])
    for begun, ended in list(zip(gated.begun, gated.ended, strict=True))[:2]:
        assert sum(begun < poll < ended for poll in played.screen.polls) >= 4
        assert sum(begun < shown < ended for shown in played.screen.shown) >= 4
    assert_reproduced(played.tape, small_world)


@pytest.mark.parametrize("fps", [10.0, 15.0, 25.0, 50.0, 60.0, 100.0])
def test_a_world_in_time_makes_a_step_whenever_one_is_due(small_world, monkeypatch, fps):
    env, screen, times = Slowed(small_world), TimedScreen(looks(60)), [100.0]
    made_at = []
    monkeypatch.setattr("envs.player.time", SimpleNamespace(perf_counter=lambda: times[-1]))
    player = player_of(env, screen, by_keys, fps=fps, live=True)

    def tick(looks_per_second):
        while len(player._queue) and not player._queue.ready:
            time.sleep(0.001)
        made_at.extend(times[-1:] * (len(env.actions) - len(made_at)))
        times.append(times[-1] + 1 / looks_per_second)

    screen.tick = tick
    player.run()
    assert len(times) == 61
    look = 1 / max(REFRESH, fps)
    for n, made in enumerate(made_at):
        assert 100 + n / fps - 1e-6 <= made <= 100 + n / fps + look + 1e-6
    assert len(made_at) == round(60 * look * fps)


def test_a_slow_world_makes_the_newest_action(gated):
    played = play(gated, [
        hold("up"), drawing(gated), *looks(5, hold("up")), hold("down"), hold("space"), hold("down"), hold("space"),
        let(gated), drawing(gated), *looks(5), let(gated, 9), *looks(3),
    ])  # fmt: skip
    assert played.tape.actions[:2] == [KEYS["up"], KEYS["space"]]
    assert played.tape.actions == gated.actions
    assert played.report.replaced == 4
    assert len(played.report.latencies_ms) == len(gated.actions)


@pytest.mark.parametrize("at", range(0, 12, 2))
def test_a_tap_between_two_steps_acts_on_the_next_one_alone(small_world, at):
    played = play(WorldEnv(small_world), [*looks(at), tap("up"), *looks(22)], fps=10)
    assert played.tape.actions.count(KEYS["up"]) == 1
    assert set(played.tape.actions) == {0, KEYS["up"]}


def test_a_tap_while_another_step_waits_is_not_lost(gated):
    played = play(gated, [
        Inputs(), drawing(gated), *looks(4), tap("up"), *looks(4), let(gated), drawing(gated), *looks(4),
        let(gated, 9), *looks(3),
    ])  # fmt: skip
    assert played.tape.actions[:3] == [0, KEYS["up"], 0]


@pytest.mark.parametrize(
    ("taps", "actions"),
    [
        ([tap("up"), tap("space")], [KEYS["up+space"], 0]),
        ([tap("up"), tap("down")], [KEYS["down"], 0]),
        ([tap("up"), hold("down"), hold("down")], [KEYS["up"], KEYS["down"]]),
        ([tap("down"), tap("up"), Inputs(), tap("down")], [KEYS["down"], 0]),
    ],
)
def test_keys_tapped_together_are_a_chord_and_otherwise_the_last_counts(gated, taps, actions):
    played = play(gated, [
        Inputs(), drawing(gated), *taps, *looks(5, hold(*set(taps[-1].held) - set(taps[-1].pressed))),
        let(gated), drawing(gated), *looks(5, hold(*set(taps[-1].held) - set(taps[-1].pressed))),
        let(gated), drawing(gated), let(gated, 9),
    ])  # fmt: skip
    assert played.tape.actions[1:3] == actions


def test_pausing_waits_for_the_step_under_way_and_drops_the_one_that_waits(gated):
    shown = []
    played = play(gated, [
        Inputs(), drawing(gated), *looks(5, hold("up")), tap("p"), *looks(2), let(gated, 20), *looks(15),
        lambda: shown.append(len(gated.actions)), *looks(2),
    ])  # fmt: skip
    assert shown == [1] and played.tape.actions == gated.actions == [0]
    assert "paused" in played.screen.lines[-1][3]
    assert (played.screen.frames[-1] == played.tape.episodes[0].last).all()


def test_every_n_makes_one_step_also_while_another_is_under_way(gated):
    counts = []

    def count():
        counts.append(len(gated.actions))

    played = play(gated, [
        tap("p"), *looks(5), count, tap("n"), drawing(gated), hold("up"), tap("n"), *looks(5, hold("up")), count,
        let(gated, 20), *looks(15, hold("up")), count, tap("p"), *looks(10), count,
    ])  # fmt: skip
    assert counts[:3] == [0, 1, 2]
    assert counts[3] > 2
    assert played.tape.actions == gated.actions
    assert played.tape.actions[:2] == [0, KEYS["up"]]


@pytest.mark.parametrize("stop", [tap("r"), tap("q"), Inputs(closed=True)])
def test_what_is_under_way_is_recorded_when_the_episode_is_left(gated, small_world, stop):
    played = play(gated, [Inputs(), drawing(gated), *looks(5, hold("up")), let(gated, 20), stop])
    first = played.tape.episodes[0]
    assert [step.action for step in first.steps] in ([0], [0, KEYS["up"]])  # the second may have begun by then
    assert played.tape.actions == gated.actions
    assert len(played.tape.episodes) == len(played.report.scores) == 1 + (stop.pressed == ("r",))
    assert_reproduced(played.tape, small_world)


def test_a_step_asked_for_before_the_end_was_seen_is_not_made(ending_world):
    env = Slowed(str(ending_world))
    env.gate = threading.Semaphore(0)
    played = play(env, [Inputs(), drawing(env), *looks(5), let(env, 9), *looks(5), tap("r"), *looks(20)])
    assert [len(episode.steps) for episode in played.tape.episodes] == [1, 1]
    assert "game over" in played.screen.lines[-1][3]
    assert_reproduced(played.tape, str(ending_world))


def test_so_many_steps_and_no_more(small_world):
    env = Slowed(small_world)
    env.seconds = 0.02
    played = play(env, looks(2000), fps=100, steps=7)
    assert len(played.report.latencies_ms) == len(env.actions) == 7


def test_steps_guessed_in_idle_time_are_the_same(small_world):
    held = looks(2000, hold("up"))
    guessed = WorldEnv(small_world, engine={"lookahead": "repeat"})
    ahead = play(guessed, held, fps=20, steps=20)
    plain = play(WorldEnv(small_world), held, fps=100, steps=20)
    steps = zip(ahead.tape.episodes[0].steps, plain.tape.episodes[0].steps, strict=True)
    assert all((a.frame == b.frame).all() and a.reward == b.reward for a, b in steps)
    assert guessed.stats().hits > 10
    guessed.close()


def test_input_ms_counts_from_reading_the_keys_to_showing_the_frame(gated):
    played = play(gated, [
        Inputs(), drawing(gated), *looks(3), tap("up"), *looks(5), let(gated), drawing(gated), *looks(5), let(gated, 9),
        *looks(5),
    ])  # fmt: skip
    episode, polls = played.tape.episodes[0], played.screen.polls
    assert episode.steps[1].action == KEYS["up"]
    assert episode.input_ms[1] <= 1000 * (episode.added[1] - polls[4])
    assert episode.input_ms[1] >= 1000 * (polls[14] - polls[5])
    assert 1000 * (polls[9] - polls[1]) <= episode.input_ms[0] <= 1000 * (episode.added[0] - polls[0])
    for step, input_ms in zip(episode.steps, episode.input_ms, strict=True):
        assert input_ms >= step.latency_ms


def test_what_a_step_raises_ends_the_play(small_world):
    with pytest.raises(ValueError, match="action must be an integer"):
        play(WorldEnv(small_world), looks(100), choose=lambda *_: 99)


@st.composite
def sessions(draw):
    """Looks of a restless person: keys held for a while or tapped, pauses, single steps, new episodes."""
    session = []
    for _ in range(draw(st.integers(1, 12))):
        held = tuple(draw(st.lists(st.sampled_from(["up", "down", "space"]), max_size=2, unique=True)))
        pressed = draw(st.lists(st.sampled_from([*held, "p", "n", "n", "r", "up", "down"]), max_size=2, unique=True))
        session.append(Inputs((*held, *(key for key in pressed if key not in held)), tuple(pressed)))
        session += looks(draw(st.integers(0, 3)), Inputs(held))
    return session


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(session=sessions(), fps=st.sampled_from([20.0, 60.0, 200.0]), seconds=st.sampled_from([0.0, 0.01, 0.04]))
def test_the_tape_is_what_the_world_made_whatever_a_person_does(mortal_world, session, fps, seconds):
    env = Slowed(mortal_world)
    env.seconds = seconds
    played = play(env, session, fps=fps)
    assert played.report.quit
    assert played.tape.actions == env.actions
    assert len(played.report.latencies_ms) == len(env.actions)
    assert len(played.report.scores) == len(played.tape.episodes)
    assert [episode.seed for episode in played.tape.episodes] == list(range(len(played.tape.episodes)))
    assert all(begun >= played.screen.polls[0] + n / fps for n, begun in enumerate(env.begun))
    assert_reproduced(played.tape, mortal_world)


def test_a_script_does_the_same_however_long_steps_take(small_world):
    tapes = []
    for seconds in (0.0, 0.02):
        env, tape, rng = Slowed(small_world), Tape(), np.random.default_rng(3)
        env.seconds = seconds
        screen = TimedScreen(looks(1000))
        screen.tick = lambda fps: None
        player = player_of(env, screen, lambda frame, inputs, rng=rng: int(rng.integers(6)), tape, fps=15)
        assert player.run(steps=25).replaced == 0
        assert len(screen.polls) == 25
        tapes.append(tape)
    one, other = ([(step.frame.tobytes(), step.action, step.reward) for step in tape.episodes[0].steps]
                  for tape in tapes)  # fmt: skip
    assert one == other
    assert_reproduced(tapes[0], small_world)
