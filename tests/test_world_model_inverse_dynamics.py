"""Actions read off pictures: of a game of one square, and which of the real games' actions are the same."""

import numpy as np
import pytest
import torch

from recorders import action_meanings, game_for, make_game
from world_model import Actions
from world_model.action_kinds import ActionKinds
from world_model.inverse_dynamics import (
    InverseDynamics,
    Play,
    action_kinds,
    control_figures,
    learn,
    play,
    profiles_of,
    recovered,
)
from world_model.scenarios import collect_scenarios

KINDS = ActionKinds(Actions(3), ["stay", "left", "right"])


def square(places: np.ndarray) -> np.ndarray:
    """Pictures uint8 [..., 16, 24, 3] of a square at columns [...]."""
    frames = np.full((*places.shape, 16, 24, 3), 40, np.uint8)
    for at in np.ndindex(places.shape):
        frames[at][5:9, places[at] : places[at] + 3] = (220, 60, 60)
    return frames


def walk(steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Actions [T] (stay, left, right) and the column [T] after each; the square goes round."""
    actions = np.random.default_rng(seed).integers(0, 3, steps)
    return actions, np.cumsum(np.array([0, -2, 2])[actions]) % 21


@pytest.fixture(scope="module")
def model() -> InverseDynamics:
    actions, places = walk(500, 0)
    return learn(Play(profiles_of(square(places)), actions, np.arange(500) == 0), KINDS, 250, progress=False)


def test_actions_are_read_off_pictures(model: InverseDynamics) -> None:
    actions, places = walk(200, 1)
    frames = square(places)[None]
    right = recovered(model, frames[:, :2], frames[:, 2:], actions[None, 2:])
    assert right.shape == (1, 197) and right.mean() > 0.95


def test_a_world_that_does_not_obey_is_found_out(model: InverseDynamics) -> None:
    (actions, places), (_, others) = walk(200, 1), walk(200, 2)
    real, drawn = square(places)[None], square(others)[None]
    still = np.repeat(real[:, 2:3], 198, 1)
    told = actions[None, 2:]
    found = [recovered(model, real[:, :2], frames, told) for frames in (real[:, 2:], drawn[:, 2:], still)]
    assert found[0].mean() > 0.95 and found[1].mean() < 0.5 and found[2].mean() < 0.5
    going = np.ones_like(found[0])
    figures = control_figures(found[0], found[1], found[2], going, 0.4)
    assert figures["ratio"]["value"] < 0.6 and figures["real"]["value"] > 0.95
    assert control_figures(found[0], found[0], found[2], going, 0.4)["ratio"]["value"] == 1


def test_what_follows_a_games_end_is_not_learned_from() -> None:
    actions, places = walk(60, 0)
    begins = np.arange(60) % 5 == 0  # games of five frames: one or two usable actions in each
    model = learn(Play(profiles_of(square(places)), actions, begins), KINDS, 3, progress=False)
    assert all(torch.isfinite(weights).all() for weights in model.parameters())


def test_learning_leaves_the_callers_random_numbers_alone() -> None:
    actions, places = walk(60, 0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    learn(Play(profiles_of(square(places)), actions, np.arange(60) == 0), KINDS, 2, progress=False)
    assert (torch.get_rng_state() == before).all()


@pytest.mark.parametrize(("game_id", "kinds"), [
    ("ALE/Pong-v5", [0, 0, 1, 2, 1, 2]),  # fire does nothing
    ("ALE/Breakout-v5", [0, 0, 1, 2]),  # fire does something only where there is no ball
])  # fmt: skip
def test_actions_that_do_the_same_are_one_kind(game_id: str, kinds: list[int]) -> None:
    game = make_game(game_for(game_id))
    meanings = action_meanings(game)
    scenarios = collect_scenarios(game, game_id, meanings, count=8, context=4, horizon=8, seed=50, progress=False)
    assert action_kinds(game, [s.snapshot for s in scenarios], len(meanings)).tolist() == kinds
    assert action_kinds(game, [], 3).tolist() == [0, 1, 2]


def test_real_play_marks_where_games_begin() -> None:
    game = make_game(game_for("CartPole-v1"))
    played = play(game, "CartPole-v1", ["0", "1"], 60, seed=3, progress=False)
    assert played.begins[0] and played.begins.sum() >= 2 and len(played.profiles[0]) == 60
    assert played.profiles[0].shape == (60, 3, 80) and played.profiles[1].shape == (60, 3, 120)


def test_vectors_are_read_by_bands() -> None:
    kinds = ActionKinds(Actions(0, (-1.0, 0.0), (1.0, 3.0)), ["STEER", "GAS"])
    actions = np.array([[[-1, 0], [1, 3]], [[0, 1.5], [-0.9, 2.9]]], np.float32)
    assert kinds.count == 9 and kinds.of(actions).tolist() == [[0, 8], [4, 6]]
    assert kinds.names[8] == ["STEER high GAS high"] and kinds.names[5] == ["STEER high GAS middle"]
    many = ActionKinds(Actions(0, (0.0,) * 9, (1.0,) * 9), list("abcdefghi"))
    assert many.count == 64 and many.of(np.full((2, 9), 0.9)).tolist() == [63, 63]
    merged = ActionKinds(Actions(3), ["a", "b", "c"], np.array([0, 1, 0]))
    assert merged.count == 2 and merged.names == [["a", "c"], ["b"]] and merged.of(np.array([2, 1])).tolist() == [0, 1]
