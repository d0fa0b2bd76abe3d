"""A game: going back in time, branches, recordings of them, the real game beside."""

from pathlib import Path

import numpy as np
import pytest

from envs import WorldEnv
from envs.game import Game
from envs.slots import Slots
from envs.stage import Stage
from envs.tape import RecordingTape
from envs.timeline import Timeline
from recorders import open_recording
from recorders.replay import ReplayConfig, replay
from world_model import StateError


@pytest.fixture
def env(small_world):
    return WorldEnv(small_world)


def game_of(env, tape=None, every=4):
    game = Game(Stage(env), tape)
    game.timeline = Timeline(every)
    return game


def advance(game, *actions, passes=None):
    for action in actions:
        outcome = game.make(action)
        game.take(action, outcome, actor=0, passes=game.stage.env.passes, latency_ms=1.0, input_ms=2.0)


def pictures(branch):
    return np.stack([branch.picture(step) for step in range(len(branch) + 1)])


def drawn(folder, seed, actions):
    """Frames of the world itself, from the reset on."""
    env = WorldEnv(folder)
    frames = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]
    return np.stack(frames)


def test_a_branch_is_what_the_world_would_have_drawn(env, small_world):
    game = game_of(env)
    game.begin(5)
    first, other = [1, 2, 3, 1, 2, 3, 1, 2, 3, 1], [3, 3, 1]
    advance(game, *first)
    game.look(6)
    assert (game.frame == pictures(game.branch)[6]).all() and game.step == 6 and len(game.branch) == 10
    game.go_on()
    advance(game, *other)
    assert [branch.number for branch in game.timeline.branches] == [1, 2]
    old, new = game.timeline.branches
    assert (new.parent, new.left_at) == (1, 6)
    assert (pictures(old) == drawn(small_world, 5, first)).all()
    assert (pictures(new) == drawn(small_world, 5, first[:6] + other)).all()


def test_going_on_where_the_game_is_makes_no_branch(env, small_world):
    game = game_of(env)
    game.begin(0)
    advance(game, 1, 2, 3)
    game.look(1)
    game.look(9)
    game.go_on()
    advance(game, 1)
    assert len(game.timeline.branches) == 1
    assert (pictures(game.branch) == drawn(small_world, 0, [1, 2, 3, 1])).all()


def test_one_can_jump_between_branches_and_go_on_with_each(env, small_world):
    game = game_of(env)
    game.begin(1)
    advance(game, 1, 1, 1, 1, 1)
    game.look(2)
    game.go_on()
    advance(game, 2, 2)
    game.select(1)
    advance(game, 3)
    game.select(2)
    advance(game, 1)
    assert (pictures(game.timeline.branches[0]) == drawn(small_world, 1, [1, 1, 1, 1, 1, 3])).all()
    assert (pictures(game.timeline.branches[1]) == drawn(small_world, 1, [1, 1, 2, 2, 1])).all()
    with pytest.raises(IndexError, match="from 1 to 2, got 3"):
        game.select(3)


def test_states_are_let_go_of_when_they_take_too_much_and_all_can_still_be_gone_back_to(env, small_world):
    game = game_of(env, every=2)
    game.begin(2)
    game.timeline.memory = 4.5 * env.snapshot().nbytes
    actions = [1 + step % 3 for step in range(30)]
    advance(game, *actions)
    assert 2 < len(game.branch.states) <= 5 and 0 in game.branch.states
    expected = drawn(small_world, 2, actions)
    for step in (29, 13, 1, 0):
        game.select(1)
        game.look(step)
        game.go_on()
        assert (game.stage.env.snapshot().pictures[0, -1].numpy() == expected[step]).all()


def test_an_episode_that_is_over_is_gone_on_with_from_before_its_end(ending_world):
    game = game_of(WorldEnv(str(ending_world)))
    game.begin(0)
    advance(game, 1)
    assert game.over and game.make(1) is None
    game.look(0)
    assert not game.over
    game.go_on()
    advance(game, 2)
    assert len(game.timeline.branches) == 2 and game.over
    game.select(1)
    assert game.over and game.make(1) is None


def test_recorded_branches_are_whole_episodes_that_replay_bit_for_bit(env, tmp_path, capsys):
    folder = tmp_path / "mine"
    game = game_of(env, lambda: RecordingTape(folder, env, ["person", "script"]))
    game.begin(3)
    advance(game, 1, 2, 3)
    game.record(True)  # in the middle: all of it is recorded
    advance(game, 1)
    env.set_passes(3)
    advance(game, 2, 2)
    game.look(2)
    game.go_on()
    advance(game, 3, 3)
    game.select(1)
    advance(game, 1)
    game.begin(4)
    game.record(False)
    advance(game, 1)
    game.close()
    recording = open_recording(folder)
    taken = [recording.actions[e.start : e.stop - 1].tolist() for e in recording.episodes]
    assert taken == [[1, 2, 3, 1, 2, 2], [1, 2, 3, 3], [1, 2, 3, 1, 2, 2, 1], []]
    ids = [episode.id for episode in recording.episodes]
    assert [episode.meta.get("branch_of") for episode in recording.episodes] == [
        None, {"episode": ids[0], "step": 2}, {"episode": ids[0], "step": 6}, None]  # fmt: skip
    assert recording.episodes[0].meta["input_ms"] == {"p50": 2.0, "p99": 2.0}
    assert replay(ReplayConfig(path=str(folder)))
    assert "4 of 4 episodes are the same, bit for bit (17 steps compared)" in capsys.readouterr().out


def test_a_saved_game_goes_on_elsewhere_as_it_would_have_here(env, small_world, tmp_path):
    game, slots = game_of(env), Slots(tmp_path / "saves", env)
    game.begin(6)
    advance(game, *[1, 2, 3] * 4)
    assert slots.describe(2) == "slot 2: empty"
    assert slots.save(2, game).startswith("saved: slot 2: seed 6, frame 12, score ")
    advance(game, 1, 1)
    elsewhere = WorldEnv(small_world)
    other = game_of(elsewhere)
    other.begin(0)
    other.adopt(Slots(tmp_path / "saves", elsewhere).load(2))
    advance(other, 1, 1)
    assert (pictures(other.branch) == pictures(game.branch)).all()
    other.look(5)
    other.go_on()
    advance(other, 2)
    assert (pictures(other.branch) == drawn(small_world, 6, [1, 2, 3, 1, 2, 2])).all()


def test_a_loaded_game_is_recorded_from_its_reset_on(env, tmp_path):
    game, slots = game_of(env, lambda: RecordingTape(tmp_path / "mine", env, ["person"])), Slots(tmp_path, env)
    game.begin(6)
    advance(game, 1, 2, 3)
    slots.save(1, game)
    game.begin(7)
    game.recording = True
    game.adopt(slots.load(1))
    advance(game, 3)
    game.close()
    assert open_recording(tmp_path / "mine").actions[:4].tolist() == [1, 2, 3, 3]
    assert replay(ReplayConfig(path=str(tmp_path / "mine")))


def test_slots_that_are_empty_damaged_or_of_another_world_are_refused(env, mortal_world, tmp_path):
    game, slots = game_of(env), Slots(tmp_path, env)
    with pytest.raises(StateError, match="slot 1 is empty"):
        slots.load(1)
    game.begin(0)
    slots.save(1, game)
    with pytest.raises(StateError, match="play it with the world it was saved in"):
        Slots(tmp_path, WorldEnv(mortal_world)).load(1)
    whole = (tmp_path / "slot-1.npz").read_bytes()
    (tmp_path / "slot-1.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateError, match="no saved game, or damaged"):
        slots.load(1)
    assert "damaged" in slots.describe(1)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["slot-1.npz"]  # nothing half written
