import numpy as np
import pytest

from envs import WorldEnv
from envs.game import Game
from envs.pilot import Pilot, person
from envs.player import Player
from envs.screen import Inputs
from envs.sessions import keys_of
from envs.stage import Stage


class ScriptedScreen:
    """Hands out prepared inputs, one per look, and remembers what it was shown."""

    def __init__(self, *inputs):
        self.inputs = list(inputs)
        self.frames, self.lines, self.scenes, self.full = [], [], [], False

    def poll(self):
        return self.inputs.pop(0) if self.inputs else Inputs(closed=True)

    def show(self, scene):
        self.frames.append(scene.frame.copy())
        self.lines.append(list(scene.lines))
        self.scenes.append(scene)

    def fullscreen(self):
        self.full = not self.full

    def tick(self, fps):
        pass

    def close(self):
        pass


class Tape:
    def __init__(self):
        self.events = []

    def begin(self, branch):
        self.events += [("begin", branch.seed), *(("add", moment.action) for moment in branch.moments)]

    def add(self, before, moment):
        self.events.append(("add", moment.action))

    def end(self, branch):
        self.events.append(("end",))


@pytest.fixture
def env(tiny_world):
    return WorldEnv(str(tiny_world))


def run(env, *inputs, tape=None, pilots=None, **kwargs):
    screen, bindings = ScriptedScreen(*inputs), keys_of(env)
    game = Game(Stage(env), tape and (lambda: tape))
    game.recording = tape is not None
    player = Player(game, screen, pilots or [person(bindings)], bindings, fps=15, **kwargs)
    return screen, player.run(), player


def key(name):
    return Inputs(held=(name,), pressed=(name,))


def test_held_keys_become_actions(env):
    tape = Tape()
    run(env, Inputs(), Inputs(held=("up",)), Inputs(held=("s",)), tape=tape)
    keys = env.world.card["actions"]["keys"]
    assert tape.events == [("begin", 0), ("add", 0), ("add", keys["up"]), ("add", keys["s"]), ("end",)]


def test_what_is_shown_is_what_the_world_draws(env, tiny_world):
    screen, _, _ = run(env, Inputs(), Inputs(held=("up",)))
    twin = WorldEnv(str(tiny_world))
    twin.reset(seed=0)
    expected = [twin.step(0)[0], twin.step(env.world.card["actions"]["keys"]["up"])[0]]
    assert (np.stack(screen.frames) == np.stack(expected)).all()


def test_pause_stops_and_n_steps_once(env):
    screen, report, _ = run(env, Inputs(), key("p"), Inputs(), key("n"), Inputs(), key("p"), Inputs())
    assert len(report.latencies_ms) == 1 + 1 + 2
    assert (screen.frames[1] == screen.frames[2]).all()
    assert "paused" in screen.lines[2][1]
    assert "paused" not in screen.lines[-1][1]


def test_r_begins_an_episode_with_the_next_seed(env, tiny_world):
    tape = Tape()
    screen, report, _ = run(env, Inputs(), key("r"), Inputs(), seed=10, tape=tape)
    assert [event for event in tape.events if event[0] != "add"] == [("begin", 10), ("end",), ("begin", 11), ("end",)]
    assert len(report.scores) == 2
    twin = WorldEnv(str(tiny_world))
    twin.reset(seed=11)
    assert (screen.frames[1] == twin.step(0)[0]).all()


@pytest.mark.parametrize("inputs", [key("escape"), key("q"), Inputs(closed=True)])
def test_escape_q_and_the_windows_cross_quit(env, inputs):
    screen, report, _ = run(env, Inputs(), inputs, Inputs())
    assert report.quit
    assert len(screen.frames) == 1


def test_after_the_end_the_player_waits_for_r(ending_world):
    screen, report, player = run(WorldEnv(str(ending_world)), Inputs(), Inputs(), Inputs(), key("r"))
    assert len(report.latencies_ms) == 2
    assert "game over" in screen.lines[1][1]
    assert player.hud.step == 1


def test_a_script_goes_on_after_the_end(ending_world):
    env, screen = WorldEnv(str(ending_world)), ScriptedScreen(*[Inputs()] * 9)
    pilots = [Pilot("script", lambda *_: 0)]
    report = Player(Game(Stage(env)), screen, pilots, keys_of(env), fps=15, restart=True).run(steps=5)
    assert len(report.latencies_ms) == 5
    assert len(report.scores) == 5
    assert not report.quit


def test_the_hud_shows_latency_reward_score_and_keys(env):
    screen, report, _ = run(env, Inputs(), Inputs())
    speed, game, _, keys = screen.lines[-1]
    assert f"step p50 {np.median(report.latencies_ms[:-1]):.1f} p99" in speed
    assert "keys to picture p50" in speed
    assert "of 15 fps" in speed
    assert "reward" in game
    assert "score" in game
    assert keys.startswith("up w down s space: play")
