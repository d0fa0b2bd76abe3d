"""Conditions and cuts of environments: chosen at reset, changed in the middle, guessed around, recorded, replayed."""

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from small_worlds import save_small_world

import foreframe
from envs import WorldEnv, WorldVectorEnv
from envs.bindings import bindings_for
from envs.controls import Controls
from envs.game import Game
from envs.pilot import person
from envs.stage import Stage
from envs.starts import Start
from envs.tape import RecordingTape
from envs.timeline import Timeline
from recorders import RecordEpisodes, RecordVectorEpisodes, open_recording, resimulate
from world_model import Contexts, Engine, EngineConfig, WorldError, load_world, save_world

SCRIPT = [0, 1, 2, 3, 4, 5, 0, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_small_world(tmp_path_factory.mktemp("worlds") / "Two-v0", conditions=("day", "night")))


def played(env: WorldEnv, switch_at: int = 3) -> np.ndarray:
    """Frames of an episode that is switched, and cut two steps later."""
    frames = [env.reset(seed=4, options={"condition": "day"})[0]]
    for t, action in enumerate(SCRIPT):
        if t == switch_at:
            env.set_condition("night")
        if t == switch_at + 2:
            env.cut()
        frames.append(env.step(action)[0])
    return np.stack(frames)


def test_episodes_begin_under_the_condition_that_was_asked_for(folder: str) -> None:
    env = WorldEnv(folder)
    assert env.conditions == ["day", "night"] and env.condition == 0
    seen = set()
    for seed in range(12):
        info = env.reset(seed=seed)[1]
        assert env.condition == info["context"] % 2 == ["day", "night"].index(info["condition"])
        seen.add(info["condition"])
        for name in env.conditions:
            assert env.reset(seed=seed, options={"condition": name})[1]["condition"] == name
    assert seen == {"day", "night"}
    night = WorldEnv(folder, condition="night")
    assert {night.reset(seed=s)[1]["condition"] for s in range(5)} == {"night"}
    assert gymnasium.make("foreframe/World-v0", world=folder, condition=1).unwrapped.start_condition == 1


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
@pytest.mark.parametrize("switch", ["keep", "flush", "recache", "cut"])
@pytest.mark.parametrize("engine", [{"lookahead": "repeat", "ahead": 3}, {"lookahead": "branch"}])
def test_guessing_ahead_changes_nothing(folder: str, switch: str, engine: dict[str, Any]) -> None:
    plain, ahead = WorldEnv(folder, switch=switch), WorldEnv(folder, switch=switch, engine=engine)
    difference = np.abs(played(plain).astype(int) - played(ahead))
    assert difference.max() <= (engine["lookahead"] == "branch")  # rows of a batch round otherwise
    ahead.close()


def test_a_staggered_plan_begins_its_frames_anew(folder: str) -> None:
    env = WorldEnv(folder, passes=3, engine={"plan": "ad", "stagger": 1})
    with pytest.warns(match="stagger"):
        frames = played(env)
    assert frames.shape[0] == len(SCRIPT) + 1 and env.snapshot().flight is not None


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
def test_frames_in_flight_of_other_rows_stay(folder: str) -> None:
    def drawn(change: str) -> np.ndarray:
        envs = WorldVectorEnv(folder, num_envs=3, condition="day", passes=3, engine={"plan": "ad", "stagger": 1})
        frames = [envs.reset(seed=1)[0]]
        for t, action in enumerate(SCRIPT[:6]):
            if t == 3 and change:
                getattr(envs, change)(*(["night"] if change == "set_condition" else []), rows=[1])
            frames.append(envs.step([action] * 3)[0])
        return np.stack(frames)

    plain = drawn("")
    for change in ("set_condition", "cut"):
        other = drawn(change)
        assert np.array_equal(other[:, [0, 2]], plain[:, [0, 2]]) and (other[4:, 1] != plain[4:, 1]).any()


@pytest.mark.parametrize("switch", ["keep", "flush", "recache", "cut"])
def test_there_and_back_before_a_step_is_nothing(folder: str, tmp_path: Path, switch: str) -> None:
    env = RecordEpisodes(WorldEnv(folder, switch=switch, condition="day"), tmp_path / "data")
    plain = WorldEnv(folder, condition="day")
    assert np.array_equal(env.reset(seed=4)[0], plain.reset(seed=4)[0])
    for t, action in enumerate(SCRIPT):
        if t == 3:
            for name in ("night", "day", "night", "day"):
                env.unwrapped.set_condition(name)
        assert np.array_equal(env.step(action)[0], plain.step(action)[0])
    env.close()
    recording = open_recording(tmp_path / "data")
    again = gymnasium.make(recording.meta["env"]["id"], **recording.meta["env"]["kwargs"])
    assert resimulate(recording, recording.episodes[0], again).difference is None


@pytest.mark.filterwarnings("ignore::world_model.PlanWarning")
@pytest.mark.parametrize("calls", [
    "night 2 day 3", "2 3", "2 night 3 day cut", "cut night 2", "2 cut 3", "night cut day", "cut 2 night 3 day",
])  # fmt: skip
def test_whatever_is_asked_between_two_steps_is_what_is_replayed(folder: str, tmp_path: Path, calls: str) -> None:
    inner = WorldEnv(folder, switch="flush", condition="day", passes=3, engine={"plan": "ad", "stagger": 1})
    env = RecordEpisodes(inner, tmp_path / "data")
    env.reset(seed=4)
    for t, action in enumerate(SCRIPT):
        if t == 3:
            for call in calls.split():
                if call == "cut":
                    inner.cut()
                else:
                    inner.set_passes(int(call)) if call.isdigit() else inner.set_condition(call)
        env.step(action)
    env.close()
    recording = open_recording(tmp_path / "data")
    again = gymnasium.make(recording.meta["env"]["id"], **recording.meta["env"]["kwargs"])
    assert resimulate(recording, recording.episodes[0], again).difference is None


def test_a_script_between_two_switches_is_not_undone(folder: str) -> None:
    env = WorldEnv(folder, condition="day", switch="flush")
    env.reset(seed=4)
    env.set_condition("night")
    frames = env.rollout(SCRIPT)[0]
    assert np.array_equal(env.snapshot().pictures[0, -1].numpy(), frames[-1])
    env.set_condition("day")
    state = env.snapshot()
    assert np.array_equal(state.pictures[0, -1].numpy(), frames[-1]) and state.conditions == [0]


def test_rows_that_are_put_elsewhere_are_not_switched_back(folder: str) -> None:
    envs = WorldVectorEnv(folder, num_envs=2, condition="day", switch="flush")
    alone = WorldEnv(folder, condition="day", switch="flush")
    envs.reset(seed=[1, 2])
    alone.reset(seed=7)
    for action in SCRIPT[:4]:
        alone.step(action)
    envs.set_condition("night")
    envs.restore(alone.snapshot(), rows=[0])
    envs.set_condition("day", rows=[1])
    plain = WorldEnv(folder, condition="day")
    plain.reset(seed=2)
    drawn = envs.step([1, 1])[0]
    assert np.abs(drawn[0].astype(int) - alone.step(1)[0]).max() <= 1
    assert np.abs(drawn[1].astype(int) - plain.step(1)[0]).max() <= 1


def test_a_world_of_several_games_has_no_teacher(folder: str, tmp_path: Path) -> None:
    two = shutil.copytree(folder, tmp_path / "Both-v0")
    card = json.loads((two / "world.json").read_text())
    card["game"] = {"id": "A + B", "conditions": {"day": {"id": "A"}, "night": {"id": "B"}}}
    (two / "world.json").write_text(json.dumps(card))
    with pytest.raises(WorldError, match="holds day, night: no real game is all of them"):
        foreframe.make_teacher(str(two))


def test_a_policy_that_a_card_names_is_noted_in_recordings(folder: str, tmp_path: Path) -> None:
    sinks = shutil.copytree(folder, tmp_path / "Sinks-v0")
    card = json.loads((sinks / "world.json").read_text())
    (sinks / "world.json").write_text(json.dumps(card | {"memory": "sink"}))
    assert WorldEnv(str(sinks)).recording_card()["env"]["kwargs"]["engine"] == {"memory": "sink"}
    assert WorldEnv(str(sinks), engine={"memory": "window"}).recording_card()["env"]["kwargs"]["engine"] == {
        "memory": "window"}
    assert "engine" not in WorldEnv(folder).recording_card()["env"]["kwargs"]
    assert Engine(load_world(folder), EngineConfig(memory="sink")).world.memory == "sink"


def test_an_episode_that_follows_by_itself_needs_a_clip_too(folder: str, tmp_path: Path) -> None:
    day = shutil.copytree(folder, tmp_path / "Day-v0")
    world = load_world(folder)
    clips = Contexts(world.contexts.frames, world.contexts.actions, np.zeros(5, np.int64))
    save_world(day, world.model, world.sampler, world.card, clips)
    with pytest.raises(ValueError, match="no shipped clip is under night: begin at frames of your own"):
        Start(condition=1).begin(load_world(day), np.random.default_rng(0), 1)


@pytest.mark.parametrize("switch", ["keep", "flush", "recache", "cut"])
def test_recordings_are_replayed_with_their_conditions_and_cuts(folder: str, tmp_path: Path, switch: str) -> None:
    env = RecordEpisodes(WorldEnv(folder, switch=switch), tmp_path / "data")
    env.reset(seed=4)
    for t, action in enumerate(SCRIPT):
        if t == 3:
            env.unwrapped.set_condition(1 - env.unwrapped.condition)
        if t == 5:
            env.unwrapped.cut()
        env.step(action)
    env.close()
    recording = open_recording(tmp_path / "data")
    clip = recording.read(recording.episodes[0])
    assert clip.extras["cuts"].tolist() == [0] * 5 + [1] * 3
    assert len(set(clip.extras["condition"][:3].tolist())) == len(set(clip.extras["condition"][3:].tolist())) == 1
    again = gymnasium.make(recording.meta["env"]["id"], **recording.meta["env"]["kwargs"])
    replay = resimulate(recording, recording.episodes[0], again)
    assert replay.difference is None and replay.steps == len(SCRIPT)


def test_rows_of_a_vector_are_switched_and_recorded_apart(folder: str, tmp_path: Path) -> None:
    envs = RecordVectorEpisodes(WorldVectorEnv(folder, num_envs=3, condition="day"), tmp_path / "data")
    envs.reset(seed=1)
    inner = envs.unwrapped
    for t, action in enumerate(SCRIPT[:4]):
        if t == 2:
            inner.set_condition("night", rows=[1])
            inner.cut(rows=[2])
        envs.step([action] * 3)
    assert inner.condition.tolist() == [0, 1, 0] and inner.cuts.tolist() == [0, 0, 1]
    envs.close()
    recording = open_recording(tmp_path / "data")
    conditions = sorted(recording.read(e).extras["condition"].tolist() for e in recording.episodes)
    assert conditions == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert sorted(recording.read(e).extras["cuts"].tolist() for e in recording.episodes)[-1] == [0, 0, 1, 1]


def test_snapshots_remember_both(folder: str) -> None:
    env = WorldEnv(folder)
    env.reset(seed=0, options={"condition": "day"})
    before = env.snapshot()
    env.set_condition("night")
    env.cut()
    after = env.snapshot()
    env.restore(before)
    assert (env.condition, env.cuts) == (0, 0)
    env.restore(after)
    assert (env.condition, env.cuts) == (1, 1)
    env.reset(seed=0)
    assert env.cuts == 0


def test_a_player_switches_goes_back_and_records(folder: str, tmp_path: Path) -> None:
    env = WorldEnv(folder, switch="flush")
    game = Game(Stage(env), lambda: RecordingTape(tmp_path / "data", env))
    keys = bindings_for({"a": 1}, env.get_action_meanings(), 0)
    controls = Controls(game, [person(keys)], keys, 15)
    game.timeline = Timeline(4)
    controls.begin()
    controls.do("record")

    def play(*actions: int) -> None:
        for action in actions:
            outcome = game.make(action, 1, controls.condition)
            assert outcome is not None
            game.take(action, outcome, actor=0, passes=1, latency_ms=1.0, input_ms=1.0)

    first = env.conditions[env.condition]
    assert controls.status().startswith(first)
    play(1, 2, 3)
    controls.do("condition")
    second = env.conditions[1 - env.conditions.index(first)]
    assert second in controls.message and controls.status().startswith(second)
    play(4, 5, 0, 1, 2)
    shown = game.branch.picture(6)
    game.look(6)
    controls.go_on()
    assert (game.frame == shown).all() and controls.condition is None and env.conditions[env.condition] == second
    play(3)
    game.look(2)
    controls.go_on()
    assert env.conditions[env.condition] == first
    play(3, 3)
    game.close()
    recording = open_recording(tmp_path / "data")
    for episode in recording.episodes:
        again = WorldEnv(**recording.meta["env"]["kwargs"])
        assert resimulate(recording, episode, again).difference is None
    assert [len(set(recording.read(e).extras["condition"].tolist())) for e in recording.episodes] == [2, 2, 1]


def test_what_makes_no_sense_is_refused(folder: str, small_world: str) -> None:
    env = WorldEnv(folder)
    for call in (lambda: env.set_condition("night"), env.cut):
        with pytest.raises(ResetNeeded):
            call()
    env.reset(seed=0)
    for options, message in (
        ({"condition": "dusk"}, "condition must be one of"),
        ({"context": 0, "condition": "night"}, "clip 0 is under day"),
        ({"condition": "day", "state": env.snapshot()}, "which has its own"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)
    env.cut()
    with pytest.raises(ValueError, match="cuts can only become more"):
        env.set_cuts(0)
    with pytest.raises(ValueError, match="rows must be different places"):
        env.set_condition(1, rows=[1])
    for kwargs, message in (({"condition": 3}, "condition must be"), ({"switch": "drop"}, "switch must be")):
        with pytest.raises(ValueError, match=message):
            WorldEnv(folder, **kwargs)
    plain = WorldEnv(small_world)
    plain.reset(seed=0)
    plain.set_condition(0)
    with pytest.raises(ValueError, match="one condition only"):
        plain.set_condition(1)
