from hypothesis import given
from hypothesis import strategies as st

from envs.keymap import action_for, gymnasium_keys, noop_action

PONG = {"up": 2, "w": 2, "down": 3, "s": 3, "space": 1, "up+space": 4}


def test_no_key_means_noop():
    assert action_for([], PONG, noop=0) == 0
    assert action_for(["left"], PONG, noop=0) == 0


def test_the_longest_chord_wins():
    assert action_for(["space", "up"], PONG, noop=0) == 4


def test_of_two_opposite_keys_the_later_wins():
    assert action_for(["up", "down"], PONG, noop=0) == 3
    assert action_for(["down", "up"], PONG, noop=0) == 2


@given(st.lists(st.sampled_from(["up", "w", "down", "s", "space", "left", "x"]), unique=True))
def test_every_combination_gives_an_action_of_the_world(held):
    assert action_for(held, PONG, noop=0) in {0, 1, 2, 3, 4}


def test_noop_is_found_by_name():
    assert noop_action(["FIRE", "NOOP"]) == 1
    assert noop_action(["LEFT", "RIGHT"]) == 0


def test_gymnasiums_player_gets_sorted_key_codes():
    pygame_up = 1073741906
    table = gymnasium_keys(PONG, noop=0)
    assert table[(pygame_up,)] == 2
    assert table[(32, pygame_up)] == 4
    assert table[()] == 0
