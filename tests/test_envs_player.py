from itertools import pairwise

import numpy as np
import pytest

from envs import WorldEnv
from envs.game import Game
from envs.pilot import Pilot, person
from envs.player import Player
from envs.scene import Track
from envs.screen import Inputs
from envs.sessions import keys_of
from envs.slots import Slots
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
    assert "paused" in screen.lines[2][3]
    assert "paused" not in screen.lines[-1][3]


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
    assert "game over" in screen.lines[1][3]
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
    speed, times, game, *_, keys = screen.lines[-1]
    assert f"step p50 {np.median(report.latencies_ms[:-1]):.1f} p99" in times
    assert "keys to picture p50" in times
    assert "of 15 fps" in speed
    assert "reward" in game
    assert "score" in game
    assert keys.startswith("up w down s space: play")


BACK = Inputs(held=("backspace",))


def test_holding_backspace_goes_back_and_letting_go_plays_on_from_there(env, tiny_world):
    tape = Tape()
    up = Inputs(held=("up",))
    screen, report, _ = run(env, up, up, up, BACK, BACK, Inputs(), Inputs(), tape=tape)
    frames = screen.frames
    assert (frames[3] == frames[1]).all() and (frames[4] == frames[0]).all()  # the third step was left
    assert "back in time" in screen.lines[3][3] and "branch 2 leaves branch 1 at 1" in screen.lines[-1][4]
    assert len(screen.scenes[4].tracks) == 1 and screen.scenes[4].cursor == 1
    assert screen.scenes[-1].tracks == (Track(0, 3, False), Track(1, 2, True))
    action = env.world.card["actions"]["keys"]["up"]
    adds = [[("add", a) for a in actions] for actions in ([action] * 3, [action, 0, 0])]
    assert tape.events == [("begin", 0), *adds[0], ("end",), ("begin", 0), *adds[1], ("end",)]
    twin = WorldEnv(str(tiny_world))
    twin.reset(seed=0)
    expected = [twin.step(a)[0] for a in (action, 0, 0)]
    assert (frames[-1] == expected[-1]).all() and (frames[-2] == expected[-2]).all()
    assert len(report.latencies_ms) == 5


def test_while_paused_one_looks_back_and_forth_and_n_goes_on_from_there(env):
    forth = Inputs(held=("\\",))
    inputs = [Inputs(), Inputs(), Inputs(), key("p"), BACK, BACK, Inputs(), forth, Inputs(), key("n"), Inputs()]
    screen, report, player = run(env, *inputs)
    frames = screen.frames
    assert (frames[5] == frames[0]).all() and (frames[6] == frames[0]).all() and (frames[8] == frames[1]).all()
    assert len(player.game.timeline.branches) == 2 and len(player.game.branch) == 3
    assert len(report.latencies_ms) == 4


def test_tab_jumps_between_branches(env):
    screen, _, player = run(env, Inputs(), Inputs(), BACK, Inputs(), key("tab"), Inputs(), key("tab"))
    assert [len(branch) for branch in player.game.timeline.branches] == [4, 3]
    assert "branch 2 of 2" in screen.lines[-1][3]


def test_control_is_handed_over_and_taken_back_within_an_episode(env):
    seen = []
    tape = Tape()
    script = Pilot("script", lambda *_: 3, lambda: seen.append("forgets"))
    pilots = [person(keys_of(env)), script]
    screen, _, player = run(env, Inputs(), key("t"), Inputs(), key("t"), tape=tape, pilots=pilots)
    assert [event[1] for event in tape.events[1:-1]] == [0, 3, 3, 0]
    assert [moment.actor for moment in player.game.branch.moments] == [0, 1, 1, 0]
    assert seen == ["forgets"] and "script" in screen.lines[2][3] and "script plays" in screen.lines[1][4]


def test_recording_begins_with_the_whole_episode_and_ends_when_asked(env):
    tape = Tape()
    screen = ScriptedScreen(Inputs(), Inputs(), key("o"), Inputs(), key("o"), Inputs())
    game, bindings = Game(Stage(env), lambda: tape), keys_of(env)
    Player(game, screen, [person(bindings)], bindings, fps=15).run()
    assert tape.events == [("begin", 0), *[("add", 0)] * 4, ("end",)]
    assert "recording" in screen.lines[3][3] and "recording" not in screen.lines[-1][3]


def test_passes_and_speed_change_while_playing(env):
    screen, _, player = run(env, Inputs(), key(","), key("."), key("."), key("="), key("-"), key("-"))
    assert [moment.passes for moment in player.game.branch.moments] == [2, 1, 2, 3, 3, 3, 3]
    assert player.controls.fps == pytest.approx(15 * 1.25 * 0.8 * 0.8)
    assert "3 passes" in screen.lines[-1][3] and "of 12 fps" in screen.lines[-1][0]


def test_games_are_saved_and_loaded_by_key(env, tmp_path):
    screen, _, player = run(env, Inputs(), key("f5"), key("r"), key("f9"), Inputs(), slots=Slots(tmp_path, env))
    assert "saved: slot 1: seed 0, frame 1" in screen.lines[1][4] and "slot 1 loaded" in screen.lines[3][4]
    assert [len(branch) for branch in player.game.timeline.branches] == [2, 1, 3]
    assert (screen.frames[3] == screen.frames[1]).all()


def test_what_cannot_be_done_is_told_and_play_goes_on(env, tmp_path):
    screen, report, _ = run(env, Inputs(), key("f9"), key("o"), Inputs(), slots=Slots(tmp_path, env))
    assert "slot 1 is empty" in screen.lines[1][4] and "nowhere to record" in screen.lines[2][4]
    assert len(report.latencies_ms) == 4


def test_help_lists_the_keys_over_the_picture(env):
    screen, _, _ = run(env, key("f1"), Inputs(), key("h"), key("f11"))
    assert "F1, H: this list" in screen.scenes[1].page and not screen.scenes[2].page
    assert screen.full


def test_the_real_game_plays_beside_from_the_same_start(env):
    pytest.importorskip("ale_py")
    screen, _, player = run(env, Inputs(), key("c"), Inputs(held=("up",)), key("c"), key("c"), key("c"), BACK, Inputs())
    branch, shape = player.game.branch, env.world.observation_shape
    widths = [scene.frame.shape[1] // shape[1] for scene in screen.scenes]
    assert widths == [1, 2, 2, 3, 1, 1, 1, 1]
    origin = player.game.timeline.branches[1]
    assert (origin.picture(0) == origin.real_picture(0)).all()
    assert "real +0" in screen.lines[2][2]
    real = [origin.real_picture(step) for step in range(len(origin) + 1)]
    assert any((a != b).any() for a, b in pairwise(real))
    assert (branch.real_picture(4) == real[4]).all() and branch is not origin


def test_an_agent_that_fails_gives_control_back(env):
    def fails(frame, inputs):
        frame[:] = 0  # it may write into its copy
        raise KeyError("no weights")

    for choose in (fails, lambda *_: 99):
        agent = Pilot("agent", lambda frame, inputs, choose=choose: choose(frame.copy(), inputs))
        pilots = [person(keys_of(env)), agent]
        screen, report, player = run(env, Inputs(), key("t"), Inputs(held=("up",)), pilots=pilots)
        assert "agent failed, control is yours" in screen.lines[2][4] and len(report.latencies_ms) == 3
        assert [moment.actor for moment in player.game.branch.moments] == [0, 0, 0]


def test_tab_with_one_branch_changes_nothing(env):
    tape = Tape()
    screen, _, _ = run(env, Inputs(), key("tab"), Inputs(), tape=tape)
    assert [event[0] for event in tape.events] == ["begin", "add", "add", "add", "end"]
    assert "there is one branch" in screen.lines[1][4]
