"""Worlds whose actions are vectors: learned, stepped, guessed, saved, and what cannot be an action refused."""

import itertools
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import foreframe
from recorders import ZarrRecorder, open_recording, space_card
from world_model import Actions, WorldModelConfig, WorldState, load_world
from world_model.conditioning import ActionVector, Conditioning
from world_model.optimizer import OptimizerConfig
from world_model.sampler import SamplerConfig
from world_model.train import actions_of, train
from world_model.train_config import TrainConfig
from world_model.trainer_config import TrainerConfig

SPACE = gymnasium.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 2], np.float32))


def square(place: float) -> np.ndarray:
    frame = np.full((8, 12, 3), 40, np.uint8)
    left = round(place)
    frame[2:6, left : left + 2] = (220, 60, 60)
    return frame


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of a square that goes as far as the first number of the action says, times the second."""
    path = tmp_path_factory.mktemp("data") / "pushed"
    game = {"id": "Pushed", "fps": 10, "action_space": space_card(SPACE), "action_meanings": ["WAY", "SPEED"],
            "keys": {}}
    rng, pictures = np.random.default_rng(0), gymnasium.spaces.Box(0, 255, (8, 12, 3), np.uint8)
    with ZarrRecorder(path, pictures, SPACE, meta={"game": game}) as writer:
        for episode in range(6):
            place = 5.0
            writer.begin(seed=episode)
            for step in range(40):
                action = rng.uniform(SPACE.low, SPACE.high).astype(np.float32)
                writer.add(square(place), action, 0.1 * float(action[0]), step == 39, False)
                place = float(np.clip(place + action[0] * action[1], 0, 10))
            writer.end(square(place))
    return path


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    trainer = TrainerConfig(steps=250, batch=6, frames=5, moments=8, noise_draws=1, undecided_share=0, own_share=0,
                            workers=0, precision="fp32", save_seconds=1e9, average=0.98,
                            optimizer=OptimizerConfig(matrix_lr=0.02, lr=0.01, warmup=10))  # fmt: skip
    model = WorldModelConfig(height=8, width=12, patch=[4, 4], dim=16, layers=2, heads=2, window=3, temporal_every=2,
                             channels=12, canvas=2, action_memory=1)  # fmt: skip
    out = tmp_path_factory.mktemp("run")
    return train(TrainConfig(data=str(data), out=str(out), heldout=0.2, contexts=5, device="cpu", trainer=trainer,
                             model=model, sampler=SamplerConfig(steps=2), name="Pushed-v0"))


def centre(frame: np.ndarray) -> float:
    red = frame[2:6, :, 0].astype(np.float64).sum(0) - 4 * 40
    return float((np.clip(red, 0, None) * np.arange(12)).sum() / max(np.clip(red, 0, None).sum(), 1e-9))


def test_a_recording_says_what_its_actions_are(data: Path) -> None:
    assert actions_of(open_recording(data)) == Actions(0, (-1.0, 0.0), (1.0, 2.0))


def test_it_obeys_vectors(folder: Path) -> None:
    world = load_world(folder, dtype="fp32")
    went = {}
    for push in (-2.0, 0.0, 2.0):
        ends = []
        for i in range(len(world.contexts)):
            state = world.start(world.contexts.frames[i], world.contexts.actions[i], seed=i)
            before = centre(world.contexts.frames[i][-1])
            frame, _, _ = world.step(state, np.array([np.sign(push), abs(push)], np.float32))
            ends.append(centre(frame) - before)
        went[push] = np.mean(ends)
    assert went[-2.0] < went[0.0] - 0.3 and went[2.0] > went[0.0] + 0.3, went


def test_the_environment_has_a_box_and_keeps_every_promise(folder: Path, tmp_path: Path) -> None:
    env = gymnasium.make(foreframe.ANY_WORLD, world=str(folder), disable_env_checker=True)
    assert env.action_space == SPACE
    env.reset(seed=3)
    actions = [SPACE.sample() for _ in range(6)]
    frames = [env.step(action)[0] for action in actions]
    env.reset(seed=3)
    half = [env.step(action)[0] for action in actions[:3]]
    env.unwrapped.snapshot().save(tmp_path / "state")
    state = WorldState.load(tmp_path / "state", env.unwrapped.world)
    env.unwrapped.restore(state)
    assert np.array_equal(half + [env.step(action)[0] for action in actions[3:]], frames)
    env.reset(seed=3)
    seen, *_ = env.unwrapped.rollout(np.stack(actions))
    assert np.array_equal(seen, frames)


def test_guessing_changes_nothing(folder: Path) -> None:
    plain, guessing = (gymnasium.make(foreframe.ANY_WORLD, world=str(folder), engine=engine, disable_env_checker=True)
                       for engine in (None, {"lookahead": "repeat"}))
    actions = [np.array([1, 1], np.float32)] * 4 + [np.array([-0.5, 2], np.float32)] * 4
    for env in (plain, guessing):
        env.reset(seed=1)
    for action in actions:
        assert np.array_equal(plain.step(action)[0], guessing.step(action)[0])
    assert guessing.unwrapped.stats().hits >= 4
    guessing.close()


def test_not_every_vector_can_be_drawn_ahead(folder: Path) -> None:
    with pytest.raises(ValueError, match="this world's are vectors: use repeat or policy"):
        gymnasium.make(foreframe.ANY_WORLD, world=str(folder), engine={"lookahead": "branch"})


def test_the_served_network_is_the_plain_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = load_world(folder, dtype="fp32")
    start = world.contexts.frames[:2], world.contexts.actions[:2], [0, 1]
    served, plain = world.start_batch(*start), world.start_batch(*start)
    assert world.serve(served.cache, served.cache.told) is not None
    rng = np.random.default_rng(0)
    actions = rng.uniform(SPACE.low, SPACE.high, (5, 2, 2)).astype(np.float32)
    ours = [world.step_batch(served, action)[0].astype(int) for action in actions]
    monkeypatch.setattr(world, "serve", lambda cache, known: None)
    theirs = [world.step_batch(plain, action)[0].astype(int) for action in actions]
    assert np.abs(np.array(ours) - np.array(theirs)).max() <= 1
    for a, b in zip(served.cache.rings, plain.cache.rings, strict=True):
        torch.testing.assert_close(a.k, b.k, rtol=1e-3, atol=1e-3)


def test_a_vector_of_them_is_each_of_them(folder: Path) -> None:
    envs = gymnasium.make_vec(foreframe.ANY_WORLD, num_envs=3, world=str(folder), dtype="fp32")
    single = gymnasium.make(foreframe.ANY_WORLD, world=str(folder), dtype="fp32", disable_env_checker=True)
    assert envs.single_action_space == SPACE and envs.action_space.shape == (3, 2)
    envs.reset(seed=5)
    single.reset(seed=6)
    for _ in range(4):
        actions = envs.action_space.sample()
        whole, alone = envs.step(actions), single.step(actions[1])
        assert np.abs(whole[0][1].astype(int) - alone[0]).max() <= 1
    envs.close()


@pytest.mark.parametrize(("action", "said"), [
    (1, r"need actions \[2\], \[2\] numbers from"), ([0.0], "need actions"), ([0.0, 3.0], "ClipAction clips them"),
    ([np.nan, 1.0], "ClipAction clips them"), (["a", "b"], "need actions"), ([np.inf, 1.0], "ClipAction"),
])  # fmt: skip
def test_what_is_no_action_is_refused(folder: Path, action: object, said: str) -> None:
    env = gymnasium.make(foreframe.ANY_WORLD, world=str(folder), disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        env.step(action)
    envs = gymnasium.make_vec(foreframe.ANY_WORLD, num_envs=2, world=str(folder))
    envs.reset(seed=0)
    with pytest.raises((ValueError, TypeError)):
        envs.step([action, action])
    envs.close()


@pytest.mark.parametrize("free", [0.0, 1.0])
def test_a_past_of_its_own_is_learned_from(data: Path, tmp_path: Path, free: float) -> None:
    trainer = TrainerConfig(steps=3, batch=2, frames=5, moments=2, own_after=0, own_share=1, free_share=free, workers=0,
                            precision="fp32", action_dropout=0.2, action_cut=0.2, astray=9.0)  # fmt: skip
    model = WorldModelConfig(height=8, width=12, patch=[4, 4], dim=16, layers=2, heads=2, window=3, temporal_every=2,
                             channels=4, canvas=2)  # fmt: skip
    train(TrainConfig(data=str(data), out=str(tmp_path), contexts=2, device="cpu", trainer=trainer, model=model))


def test_unknown_actions_say_one_thing_and_known_ones_another() -> None:
    torch.manual_seed(0)
    kind = Actions(0, (-1.0, 0.0), (1.0, 4.0))
    told = ActionVector(kind, 8)
    unknown = kind.unknown(1, 3)
    assert unknown.shape == (1, 3, 2) and torch.equal(told(unknown), told.unknown.expand(1, 3, 8))
    same = [told(torch.tensor([[value]])) for value in ([-1.0, 0.0], [1.0, 4.0], [0.0, 2.0])]
    assert not any(torch.allclose(a, b) for a, b in itertools.pairwise(same))
    padded = kind.pad(torch.zeros(1, 2, 2), before=1, after=2)
    assert padded.isnan().any(-1).tolist() == [[True, False, False, True, True]]
    whole = Conditioning(kind, 8, memory=2)
    with pytest.raises(ValueError, match="need the actions of 2 \\+ 1 frames, got 1"):
        whole(torch.zeros(1, 1), torch.zeros(1, 1, 2))


@pytest.mark.parametrize(("low", "high"), [([0.0], []), ([1.0], [1.0]), ([0.0], [float("inf")])])
def test_bounds_must_be_bounds(low: list[float], high: list[float]) -> None:
    with pytest.raises(ValueError, match="each low below its high"):
        WorldModelConfig(action_low=low, action_high=high)
