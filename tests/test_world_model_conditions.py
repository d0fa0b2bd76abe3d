"""Worlds under conditions: what frames are told, switches in the middle of a rollout, and clips that hold some."""

import json
import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from small_worlds import save_small_world

from recorders import ZarrRecorder, open_recording
from recorders.merge import MergeConfig, merge
from world_model import Contexts, World, WorldError, WorldState, load_world, save_world
from world_model.action_dropout import drop_actions
from world_model.actions import Actions
from world_model.calibrate import CalibrateConfig, calibrate
from world_model.clips import ClipSource
from world_model.conditioning import Conditioning
from world_model.distill import DistillConfig, fitting_clips
from world_model.heldout import shown_episodes, split
from world_model.model import WorldModel
from world_model.model_config import WorldModelConfig
from world_model.objective import Objective
from world_model.optimizer import OptimizerConfig
from world_model.sampler import SamplerConfig
from world_model.state import StateError
from world_model.switching import SWITCHES, cut, set_condition
from world_model.train import draw_contexts, train
from world_model.train_config import TrainConfig
from world_model.trainer_config import TrainerConfig

KINDS = [Actions(4, conditions=3), Actions(0, (-1.0, 0.0), (1.0, 2.0), conditions=3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_world(tmp_path_factory.mktemp("worlds") / "Two-v0", conditions=("day", "night"))


@pytest.fixture
def world(folder: Path) -> World:
    return load_world(folder, dtype="fp32")


def begin(world: World, clip: int = 0, steps: int = 5, condition: int | str | None = None) -> WorldState:
    state = world.start(world.contexts.frames[clip], world.contexts.actions[clip], 7, condition=condition)
    for action in range(steps):
        world.step(state, action % 6)
    return state


@pytest.mark.parametrize("kind", KINDS, ids=["discrete", "continuous"])
def test_what_is_told_holds_the_action_and_the_condition(kind: Actions) -> None:
    actions = torch.zeros(2, 5, *kind.shape, dtype=kind.dtype) + 1
    under = torch.tensor([[0, 1, 1, 2, 2], [2, 2, 0, 0, 1]])
    told = kind.told(actions, under)
    assert told.shape == (2, 5, *kind.told_shape)
    assert torch.equal(kind.taken(told), actions) and torch.equal(kind.condition(told), under)
    hidden = drop_actions(told, kind, 1.0, 0.0, torch.Generator())
    assert torch.equal(kind.condition(hidden), under) and kind.possible(hidden)
    padded = kind.pad(told, before=2, after=1)
    assert kind.condition(padded).tolist() == [[-1, -1, 0, 1, 1, 2, 2, 2], [-1, -1, 2, 2, 0, 0, 1, 1]]
    assert torch.equal(padded[:, 2:-1], told) and kind.possible(padded)
    told[0, 0, -1] = 3
    assert not kind.possible(told)


@pytest.mark.parametrize("kind", KINDS, ids=["discrete", "continuous"])
def test_a_condition_reaches_the_frames_of_its_own_segment_alone(kind: Actions) -> None:
    torch.manual_seed(0)
    embed = Conditioning(kind, 8, memory=2)
    for weights in embed.parameters():
        torch.nn.init.normal_(weights)
    actions, levels = torch.ones(1, 8, *kind.shape, dtype=kind.dtype), torch.rand(1, 6)
    first = kind.told(actions, torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1]]))
    second = kind.told(actions, torch.tensor([[0, 0, 0, 0, 0, 2, 2, 2]]))
    changed = (embed(levels, first) != embed(levels, second)).any(-1)[0]
    assert changed.tolist() == [False, False, False, True, True, True]  # the first two actions are memory


def test_a_condition_changes_the_very_next_frame_and_nothing_that_was_committed(world: World) -> None:
    state, other = begin(world), begin(world)
    kept = [ring.k.clone() for ring in state.cache.rings]
    assert set_condition(world, state, [0], "night") == [0] and state.conditions == [1]
    assert all(torch.equal(ring.k, k) for ring, k in zip(state.cache.rings, kept, strict=True))
    assert (world.step(state, 1)[0] != world.step(other, 1)[0]).any()
    assert set_condition(world, state, [0], 1) == []


def test_a_flush_leaves_the_sinks_and_the_last_frame(world: World) -> None:
    state, sinks = begin(world, steps=9), world.model.config.sinks
    last = [ring.k[0, ring.positions()[0].argmax()].clone() for ring in state.cache.rings]
    first = [ring.k[0, :sinks].clone() for ring in state.cache.rings]
    set_condition(world, state, [0], "night", "flush")
    for ring, newest, sink in zip(state.cache.rings, last, first, strict=True):
        assert ring.count.tolist() == [sinks + 1]
        assert torch.equal(ring.k[0, sinks], newest) and torch.equal(ring.k[0, :sinks], sink)
    assert world.step(state, 2)[0].shape == world.observation_shape


def test_recached_keys_are_those_of_a_fresh_pass_under_the_new_condition(folder: Path) -> None:
    world = load_world(folder, dtype="fp32")
    state, fresh = begin(world, steps=0, condition="day"), begin(world, steps=0, condition="night")
    before = [ring.k.clone() for ring in state.cache.rings]
    set_condition(world, state, [0], "night", "recache")
    for ring, wanted, old in zip(state.cache.rings, fresh.cache.rings, before, strict=True):
        own, count = world.model.config.sinks, int(wanted.count[0])
        assert int(ring.count[0]) == count
        assert torch.allclose(ring.k[0, own:count], wanted.k[0, own:count], atol=1e-5)
        assert torch.allclose(ring.v[0, own:count], wanted.v[0, own:count], atol=1e-5)
        assert not torch.allclose(ring.v[0, own:count], wanted.v[0, own:count] * 0, atol=1e-3)
        assert torch.equal(ring.k[0, :own], old[0, :own])


def test_recached_rollouts_hold_their_window(world: World) -> None:
    state = begin(world, steps=9)
    counts = [ring.count.clamp(max=ring.capacity).tolist() for ring in state.cache.rings]
    set_condition(world, state, [0], "night", "recache")
    assert [ring.count.tolist() for ring in state.cache.rings] == counts
    world.step(state, 1)


@pytest.mark.parametrize(("still", "history"), [(0, 2), (60, 2), (60, 0)])
def test_after_a_cut_nothing_of_the_past_is_left(tmp_path: Path, still: int, history: int) -> None:
    folder = save_small_world(tmp_path / "Two-v0", conditions=("day", "night"), history=history)
    world = load_world(folder, dtype="fp32").with_sampler(still=still)
    one, other = begin(world, clip=0, condition=1), begin(world, clip=1, condition=1)
    assert (world.step(one.clone(), 1)[0] != world.step(other.clone(), 1)[0]).any()
    for state in (one, other):
        cut(world, state, [0])
    drawn = [[world.step(state, action)[0] for action in (1, 3, 0)] for state in (one, other)]
    assert np.array_equal(*drawn)


@pytest.mark.parametrize("switch", SWITCHES)
def test_one_rollout_of_a_batch_is_switched_as_it_would_be_alone(world: World, switch: str) -> None:
    clips = world.contexts
    batch = world.start_batch(clips.frames[:3], clips.actions[:3], [1, 2, 3], conditions=[0, 0, 0])
    for action in (0, 1, 2, 3, 4):
        world.step_batch(batch, np.full(3, action))
    alone, untouched = batch.take([1]), batch.take([0, 2])
    set_condition(world, batch, [1], "night", switch)
    set_condition(world, alone, [0], "night", switch)
    assert batch.conditions == [0, 1, 0]
    for action in (5, 0, 1):
        whole = world.step_batch(batch, np.full(3, action))[0].astype(int)
        assert np.abs(whole[[1]] - world.step_batch(alone, np.array([action]))[0]).max() <= 1
        assert np.abs(whole[[0, 2]] - world.step_batch(untouched, np.full(2, action))[0]).max() <= 1


def test_states_carry_their_conditions(world: World, tmp_path: Path) -> None:
    state = WorldState.join([begin(world, condition=1), begin(world, clip=2, condition=0)])
    assert state.conditions == [1, 0] and state.take([1, 0]).conditions == [0, 1]
    state.save(tmp_path / "state")
    again = WorldState.load(tmp_path / "state", world)
    assert again.conditions == [1, 0] and state.clone().conditions == [1, 0]
    frames = [world.step_batch(s, np.array([1, 2]))[0] for s in (state, again)]
    assert np.array_equal(*frames)


def test_conditions_that_a_world_has_not_are_refused(world: World, small_world: str, tmp_path: Path) -> None:
    state = begin(world)
    for name in ("dusk", 2, -1, True, 0.5):
        with pytest.raises(ValueError, match=r"condition must be one of \['day', 'night'\] or its number"):
            set_condition(world, state, [0], name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="switch must be one of"):
        set_condition(world, state, [0], 1, "forget")
    with pytest.raises(ValueError, match="one condition only, number 0"):
        load_world(small_world).under("day")
    with pytest.raises(ValueError, match="different names"):
        WorldModelConfig(conditions=["day", "day"])
    state.conditions = [5]
    state.save(tmp_path / "state")
    with pytest.raises(StateError, match=r"under the conditions \[5\]"):
        WorldState.load(tmp_path / "state", world)


def record(path: Path, name: str, count: int, colour: int, episodes: int = 3) -> Path:
    """Episodes of 20 frames of one colour, of a game of so many actions."""
    meanings = ["NOOP", "LEFT", "RIGHT"][:count]
    game = {"id": name, "fps": 10, "action_space": {"n": count}, "action_meanings": meanings, "keys": {name: 1}}
    pictures, rng = gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8), np.random.default_rng(colour)
    extras = {"lives": "int16"} if count == 3 else {}
    with ZarrRecorder(path, pictures, gymnasium.spaces.Discrete(count), extras=extras,
                      meta={"game": game, "behaviours": [name]}) as writer:
        for episode in range(episodes):
            writer.begin(seed=episode)
            for step in range(20):
                frame, said = np.full((8, 12, 3), colour, np.uint8), {"lives": 5} if extras else {}
                writer.add(frame, int(rng.integers(count)), 1.0, step == 19, False, **said)
            writer.end(np.full((8, 12, 3), colour, np.uint8))
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    inputs = [str(record(path / "dark", "Dark", 2, 30)), str(record(path / "light", "Light", 3, 200))]
    merge(MergeConfig(inputs=inputs, conditions=["dark", "light"], out=str(path / "both")))
    return path / "both"


def test_recordings_of_different_games_become_one_under_conditions(both: Path) -> None:
    recording = open_recording(both)
    assert recording.meta["conditions"] == ["dark", "light"] and recording.meta["behaviours"] == ["Dark", "Light"]
    assert recording.meta["game"]["id"] == "Dark + Light" and recording.meta["game"]["keys"] == {"Light": 1, "Dark": 1}
    assert recording.action_space == gymnasium.spaces.Discrete(3) and len(recording.episodes) == 6
    for episode in recording.episodes:
        clip = recording.read(episode)
        light = int(clip.observations[0].max() == 200)
        assert set(clip.extras["condition"].tolist()) == {light} and set(clip.extras["lives"].tolist()) == {5 * light}


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "a", "A", 2, 30)
    record(tmp_path / "b", "B", 3, 30)
    inputs = [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(ValueError, match="must name each of the 2 inputs"):
        merge(MergeConfig(inputs=inputs, conditions=["a"], out=str(tmp_path / "out")))
    with pytest.raises(ValueError, match="conditions="):
        merge(MergeConfig(inputs=inputs, out=str(tmp_path / "out")))
    game = {"id": "C", "fps": 20, "action_space": {"n": 2}, "action_meanings": ["NOOP", "LEFT"], "keys": {}}
    pictures = gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8)
    for name, change in (("other", {"action_meanings": ["JUMP", "LEFT"]}), ("fast", {})):
        with ZarrRecorder(tmp_path / name, pictures, gymnasium.spaces.Discrete(2), meta={"game": game | change}) as it:
            it.begin(seed=0)
            it.end(np.zeros((8, 12, 3), np.uint8))
    for name, message in (("other", "the ones are the first of the others"), ("fast", "steps a second")):
        with pytest.raises(ValueError, match=message):
            merge(MergeConfig(inputs=[str(tmp_path / name), inputs[1]], conditions=["c", "b"], out=str(tmp_path / "o")))
    assert not (tmp_path / "out").exists()


def source(both: Path, **shares: float) -> ClipSource:
    recording = open_recording(both)
    return ClipSource(recording, recording.episodes, [0.0, 1.0], Actions(3, conditions=2), progress=False, **shares)  # type: ignore[arg-type]


def test_actions_of_the_same_number_and_other_names_do_not_go_together(tmp_path: Path) -> None:
    inputs = []
    for name, meanings in (("a", ["NOOP", "LEFT"]), ("b", ["NOOP", "UP"])):
        game = {"id": name, "fps": 20, "action_space": {"n": 2}, "action_meanings": meanings, "keys": {}}
        pictures = gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8)
        with ZarrRecorder(tmp_path / name, pictures, gymnasium.spaces.Discrete(2), meta={"game": game}) as it:
            it.begin(seed=0)
            it.end(np.zeros((8, 12, 3), np.uint8))
        inputs.append(str(tmp_path / name))
    with pytest.raises(ValueError, match="the ones are the first of the others"):
        merge(MergeConfig(inputs=inputs, conditions=["a", "b"], out=str(tmp_path / "out")))


def test_every_episode_is_learned_from_and_every_game_shown(tmp_path: Path) -> None:
    """Also where games take turns, and where one has many episodes more."""
    parts = [record(tmp_path / name, "Dark" if level < 99 else "Light", 2, level)
             for name, level in (("a", 30), ("b", 200), ("c", 31))]
    merge(MergeConfig(inputs=[str(part) for part in parts], conditions=["dark", "light", "dark again"],
                      out=str(tmp_path / "all")))
    recording = open_recording(tmp_path / "all")
    training, heldout = split(recording.episodes, 0.05, [1, 1, 0, 0, 1, 1, 0, 0, 1][: len(recording.episodes)])
    for part in (training, heldout):
        assert [e.start for e in part] == sorted(e.start for e in part)
    clips = ClipSource(recording, training[::-1], [0.0, 1.0], Actions(2, conditions=3), progress=False, event_share=0.0)
    drawn = clips.batch(0, 300, 4).rows[:, -1]
    assert all(((drawn >= e.start) & (drawn < e.stop)).sum() > 0.3 * 300 / len(training) for e in training)
    shown = shown_episodes(recording, recording.episodes[:-1], recording.episodes[:1], 4)
    contexts = draw_contexts(clips, shown, 6, 4)
    assert sorted(contexts.conditions.tolist()) == [0, 0, 1, 1, 2, 2]


def test_cards_and_clips_that_cannot_be_are_named(folder: Path, tmp_path: Path) -> None:
    for name, value in (("memory", "endless"), ("switch", "drop")):
        spoiled = shutil.copytree(folder, tmp_path / name)
        card = json.loads((spoiled / "world.json").read_text())
        (spoiled / "world.json").write_text(json.dumps(card | {name: value}))
        with pytest.raises(WorldError, match=rf"world.json has impossible .*: {name} must be one of"):
            load_world(spoiled)
    world = load_world(folder)
    clips = Contexts(world.contexts.frames, world.contexts.actions, np.full(5, 7))
    save_world(tmp_path / "seven", world.model, world.sampler, world.card, clips)
    with pytest.raises(WorldError, match="holds clips under condition 7, the world has 2"):
        load_world(tmp_path / "seven")


def test_what_cannot_be_done_with_several_games_says_so(folder: Path, both: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only worlds of one game are calibrated"):
        calibrate(CalibrateConfig(world=str(folder), data=str(both), out=str(tmp_path / "out")))
    with pytest.raises(ValueError, match=r"under the conditions \['dark', 'light'\], the world .* \['day', 'night'\]"):
        fitting_clips(load_world(folder), DistillConfig(world=str(folder), data=str(both), out=str(tmp_path / "d")))


def test_frames_after_a_switch_are_no_difficulties(both: Path) -> None:
    clips = source(both, switch_share=1.0, event_share=0.0).batch(3, 20, 8)
    model = WorldModel(WorldModelConfig(height=8, width=12, patch=[4, 4], dim=16, heads=2, layers=2, num_actions=3,
                                        conditions=["dark", "light"]))
    objective = Objective(model, source(both), SamplerConfig(), TrainerConfig())
    found, under = objective._just_switched(clips, 3), clips.actions[..., -1]
    for b in range(20):
        first = (under[b, 1:] != under[b, :-1]).nonzero().flatten().tolist()
        assert found[b].nonzero().flatten().tolist() == [t for f in first for t in range(f, min(f + 3, 7))]


def test_clips_go_on_under_another_condition(both: Path) -> None:
    clips = source(both, switch_share=0.6, event_share=0.0).batch(3, 200, 8)
    under = clips.actions[..., -1]
    light = clips.frames.flatten(2).amax(-1) == 200
    assert torch.equal(under == 1, light)
    changes = (under[:, 1:] != under[:, :-1]).sum(1)
    assert set(changes.tolist()) == {0, 1} and 0.4 < changes.float().mean() < 0.8
    assert (clips.rewards[:, 1:][under[:, 1:] != under[:, :-1]] == 0).all()
    plain = source(both, event_share=0.0).batch(3, 200, 8)
    assert (plain.actions[..., -1] == plain.actions[:, :1, -1]).all()


def test_a_world_of_two_games_is_trained_and_holds_out_episodes_of_both(both: Path, tmp_path: Path) -> None:
    trainer = TrainerConfig(steps=150, average=0.5, batch=4, frames=4, moments=2, workers=0, precision="fp32",
                            switch_share=0.3, openings=3, own_after=1.0,
                            optimizer=OptimizerConfig(warmup=5, lr=5e-3, matrix_lr=1e-2))
    model = WorldModelConfig(patch=[4, 4], dim=16, heads=2, layers=2, mlp_ratio=2, window=3, temporal_every=2,
                             channels=8)
    out = train(TrainConfig(data=str(both), out=str(tmp_path / "run"), device="cpu", contexts=4, model=model,
                            sampler=SamplerConfig(steps=1), trainer=trainer))
    world = load_world(out, dtype="fp32")
    assert world.conditions == ["dark", "light"] and sorted(world.contexts.conditions.tolist()) == [0, 0, 1, 1]
    assert ((world.contexts.frames[:, 0, 0, 0, 0] == 200) == world.contexts.conditions).all()
    means = world.model.scaler.mean + world.model.backdrops.pictures * world.model.config.pixel_scale
    assert abs(float(means[1, 0, 0, 0]) - 200 / 255) < 1e-3 and float(means[0, 0, 0, 0]) < 0.5
    levels = {}
    for name in world.conditions:
        state = world.under(name).start(world.contexts.frames[0], world.contexts.actions[0], 3)
        cut(world, state, [0])
        levels[name] = float(world.step(state, 1)[0].mean())
    assert levels["light"] > levels["dark"] + 40, levels  # drawn from nothing but the condition
