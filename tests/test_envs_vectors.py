"""A world whose actions are vectors, played: keys push, sticks push as far as they go, all of it saved and replayed."""

import numpy as np
import pytest
from small_worlds import BOUNDS, save_small_world
from test_envs_player import ScriptedScreen

from envs import WorldEnv
from envs.bindings import bindings_for
from envs.game import Game
from envs.pilot import Pilot, person, script
from envs.player import Player
from envs.saved_game import read_game, write_game
from envs.screen import Inputs
from envs.sessions import keys_of
from envs.stage import Stage
from envs.tape import RecordingTape
from envs.wish import Wish
from recorders import open_recording, resimulate
from world_model import Actions

KIND = Actions(0, tuple(BOUNDS[0]), tuple(BOUNDS[1]))
CAR = {"left": [-1, 0, 0], "right": [1, 0, 0], "up": [0, 1, 0], "down": [0, 0, 0.8], "up+down": [0, -0.5, 0]}


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    return str(save_small_world(tmp_path_factory.mktemp("small") / "Driven-v0", driven=True))


@pytest.fixture
def env(driven):
    return WorldEnv(driven)


def bound(own=None):
    return bindings_for(CAR, ["STEER", "GAS", "BRAKE"], KIND.rest, own, KIND)


def test_what_is_held_adds_up_and_stays_within_bounds():
    keys = bound()
    assert keys.action([]) == (0, 0, 0)
    assert keys.action(["left", "up"]) == (-1, 1, 0)
    assert keys.action(["left", "right"]) == (0, 0, 0)
    assert keys.action(["up", "down"]) == (0, 0.5, 0.8)
    strong = bindings_for({"a": [-9, 0, 0], "b": [-9, 0, 0]}, ["X", "Y", "Z"], KIND.rest, None, KIND)
    assert strong.action(["a", "b"]) == (-1, 0, 0)


def test_a_stick_pushes_as_far_as_it_goes():
    keys = bound()
    assert keys.action((), {"pad left": 0.25}) == (-0.25, 0, 0)
    assert keys.action(("up",), {"pad right": 0.5}) == (0.5, 1, 0)
    assert keys.action(("pad left",), {"pad left": 0.75}) == (-0.75, 0, 0)  # it counts as a key, too
    assert keys.action(("pad up",)) == (0, 1, 0)  # a cross has no strength


def test_rest_is_within_bounds():
    assert Actions(0, (0.5, -2.0, -1.0), (1.0, -1.0, 1.0)).rest == (0.5, -1.0, 0.0)


def test_own_keys_push_a_number_to_its_end():
    keys = bound({"j": "steer -", "l": "Steer +", "up": "nothing"})
    assert keys.action(["j"]) == (-1, 0, 0) and keys.action(["l"]) == (1, 0, 0) and keys.action(["up"]) == (0, 0, 0)
    page = keys.page(["STEER", "GAS", "BRAKE"])
    assert "j: steer -1" in page and "down: brake +0.8" in page
    with pytest.raises(ValueError, match=r"expected one of .*'steer -', 'steer \+', 'gas -'"):
        bound({"j": "fly"})


def test_a_wish_remembers_how_far_sticks_are():
    wish = Wish().then(Inputs(("up",), ("up",), strengths={"pad left": 0.4}), 1.0)
    assert wish.inputs().strengths == {"pad left": 0.4}


def played(env, *inputs, tape=None, pilots=None):
    bindings = keys_of(env)
    screen = ScriptedScreen(*inputs)
    game = Game(Stage(env), (lambda: tape) if tape else None)
    game.recording = tape is not None
    Player(game, screen, pilots or [person(bindings)], bindings, fps=15).run()
    return game


def test_play_is_recorded_and_replays_bit_for_bit(env, driven, tmp_path):
    held = [Inputs(), Inputs(held=("left", "up")), Inputs(strengths={"pad right": 0.3}), Inputs(held=("down",))]
    tape = RecordingTape(tmp_path / "drive", env)
    game = played(env, *held, tape=tape)
    done = [moment.action for moment in game.timeline.branches[0].moments]
    assert done[:4] == [(0, 0, 0), (-1, 1, 0), (0.3, 0, 0), (0, 0, 0.8)][: len(done)] and len(done) >= 3
    tape.close()  # what was ended is written in the background
    recording = open_recording(tmp_path / "drive")
    clip = recording.read(0)
    assert clip.actions.dtype == np.float32 and np.allclose(clip.actions, done)
    replay = resimulate(recording, recording.episodes[0], WorldEnv(driven))
    assert replay.difference is None and replay.steps == len(done)


def test_a_script_drives_and_a_saved_game_keeps_its_actions(env, tmp_path):
    game = played(env, *[Inputs()] * 6, pilots=[script(env, seed=0), person(keys_of(env))])
    branch = game.timeline.branches[0]
    assert len(branch.moments) >= 4
    assert all(len(moment.action) == 3 for moment in branch.moments)
    write_game(tmp_path / "slot", branch, {len(branch): env.snapshot()}, 1)
    again, _ = read_game(tmp_path / "slot", env.world)
    assert [moment.action for moment in again.moments] == [moment.action for moment in branch.moments]


def test_an_agent_that_leaves_the_bounds_gives_control_back(env):
    wild = Pilot("agent", lambda frame, inputs: (5.0, 0.0, 0.0))
    bindings = keys_of(env)
    game = Game(Stage(env))
    screen = ScriptedScreen(Inputs(), Inputs(pressed=("t",)), Inputs(), Inputs())
    Player(game, screen, [person(bindings), wild], bindings, fps=15).run()
    assert any("control is yours" in line for lines in screen.lines for line in lines)


def test_gymnasiums_own_player_finds_the_keys(env):
    table = env.get_keys_to_action()
    assert table[()] == (0.0, 0.0, 0.0) and (-1.0, 0.0, 0.0) in table.values()
