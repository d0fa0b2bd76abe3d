"""A game: going back in time, branches, recordings of them, the real game beside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs import WorldEnv
from envs.game import Game
from envs.slots import Slots
from envs.stage import Stage
from envs.tape import RecordingTape
from envs.timeline import Timeline
from recorders import RecordEpisodes, RecordingError, open_recording
from recorders.replay import ReplayConfig, replay
from world_model import StateError


@pytest.fixture
def env(small_world):
    return WorldEnv(small_world)


def game_of(env, tape=None, every=4):
    game = Game(Stage(env), tape)
    game.timeline = Timeline(every)
    return game


def advance(game, *actions, passes=1):
    for action in actions:
        game.take(action, game.make(action, passes), actor=0, passes=passes, latency_ms=1.0, input_ms=2.0)


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
    with pytest.raises(IndexError, match=r"no branch has the number 3; there are \[1, 2\]"):
        game.select(3)


def test_states_are_let_go_of_when_they_take_too_much_and_all_can_still_be_gone_back_to(env, small_world):
    game = game_of(env, every=2)
    game.begin(2)
    pictures_take = 30 * 600
    game.timeline.memory = 4.5 * env.snapshot().nbytes + pictures_take
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
    assert game.over and game.make(1, 1) is None
    game.look(0)
    assert not game.over
    game.go_on()
    advance(game, 2)
    assert len(game.timeline.branches) == 2 and game.over
    game.select(1)
    assert game.over and game.make(1, 1) is None


def test_recorded_branches_are_whole_episodes_that_replay_bit_for_bit(env, tmp_path, capsys):
    folder = tmp_path / "mine"
    game = game_of(env, lambda: RecordingTape(folder, env))
    game.begin(3)
    advance(game, 1, 2, 3)
    game.record(True)  # in the middle: all of it is recorded
    advance(game, 1)
    advance(game, 2, 2, passes=3)
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
    game, slots = game_of(env, lambda: RecordingTape(tmp_path / "mine", env)), Slots(tmp_path, env)
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


class Broken:
    """A recorder that fails when told to."""

    def __init__(self):
        self.fails, self.calls = set(), []

    def _do(self, name, *what):
        if name in self.fails:
            raise RecordingError(f"{name} failed")
        self.calls.append((name, *what))

    def begin(self, branch):
        self._do("begin", len(branch))

    def add(self, before, moment):
        self._do("add", moment.action)

    def end(self, branch):
        self._do("end")

    def close(self):
        self._do("close")


def test_what_cannot_be_recorded_ends_the_recording_and_not_the_game(env):
    tape = Broken()
    game = game_of(env, lambda: tape)
    game.begin(0)
    advance(game, 1)
    tape.fails = {"begin"}
    with pytest.raises(RecordingError, match="begin failed"):
        game.record(True)
    assert not game.recording
    advance(game, 2)
    tape.fails = set()
    game.record(True)
    tape.fails = {"add"}
    advance(game, 3, 1)
    assert game.trouble == "recording has ended: add failed" and not game.recording
    assert len(game.branch) == 4 and tape.calls[-2:] == [("begin", 2), ("end",)]
    tape.fails = {"end"}
    game.recording, tape.calls = True, []
    advance(game, 1)
    with pytest.raises(RecordingError, match="end failed"):
        game.begin(1)
    assert game.branch.number == 1  # the episode goes on
    tape.fails = set()
    advance(game, 2)
    assert [call for call in tape.calls if call[0] == "begin"] == [("begin", 4), ("begin", 5)]
    game.close()
    assert tape.calls[-2:] == [("end",), ("close",)]


def test_a_tape_ends_with_the_picture_after_the_last_step_it_has(env, tmp_path, monkeypatch):
    tape = RecordingTape(tmp_path / "mine", env)
    game = game_of(env, lambda: tape)
    game.begin(0)
    game.record(True)
    advance(game, 1, 2)
    add = tape._recorder.add
    monkeypatch.setattr(tape._recorder, "add", lambda *a, **k: (_ for _ in ()).throw(RecordingError("disk full")))
    advance(game, 3)
    monkeypatch.setattr(tape._recorder, "add", add)
    game.close()
    assert open_recording(tmp_path / "mine").episodes[0].steps == 2
    assert replay(ReplayConfig(path=str(tmp_path / "mine")))


def test_frames_that_do_not_come_out_again_are_not_gone_on_from(env):
    game = game_of(env)
    game.begin(0)
    advance(game, 1, 2, 3)
    game.branch.moments[1] = replace(game.branch.moments[1], action=3)  # as if it had been another machine
    game.look(2)
    with pytest.raises(StateError, match="frame 2 of branch 1 does not come out again"):
        game.go_on()
    advance(game, 1)
    assert len(game.timeline.branches) == 1 and len(game.branch) == 4


def test_whole_branches_are_let_go_of_when_states_are_not_enough(env):
    game = game_of(env)
    game.timeline.memory = 0
    for seed in range(4):
        game.begin(seed)
        advance(game, 1)
    assert [branch.number for branch in game.timeline.branches] == [4]
    with pytest.raises(IndexError, match="no branch has the number 1"):
        game.select(1)


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
def test_frames_in_flight_and_changed_passes_come_back_too(small_world, tmp_path):
    env = WorldEnv(small_world, passes=4, engine={"plan": "ad", "stagger": 1})
    game = game_of(env, lambda: RecordingTape(tmp_path / "mine", env))
    game.begin(0)
    game.record(True)
    for passes in (4, 3, 4, 2):
        advance(game, 1, 2, 3, passes=passes)
    for step in (11, 7, 5, 4, 2):
        game.select(1)
        game.look(step)
        game.go_on()
        advance(game, 1, passes=3)
    game.close()
    assert replay(ReplayConfig(path=str(tmp_path / "mine")))


def test_wrappers_record_and_replay_changed_passes_and_branches_of_them(env, tmp_path, capsys):
    recorded = RecordEpisodes(env, tmp_path / "mine")
    recorded.reset(seed=2)
    for step in range(6):
        env.set_passes(1 + step // 2)
        recorded.step(step % 3)
    recorded.close()
    assert open_recording(tmp_path / "mine").extra("passes")[:6].tolist() == [1, 1, 2, 2, 3, 3]
    assert replay(ReplayConfig(path=str(tmp_path / "mine")))
    replay(ReplayConfig(path=str(tmp_path / "mine"), branch=4, actions=[1, 2], out=str(tmp_path / "branch")))
    assert replay(ReplayConfig(path=str(tmp_path / "branch")))
    assert "1 of 1 episodes are the same, bit for bit (6 steps compared)" in capsys.readouterr().out
