"""What keys do: the world's, the player's, one's own."""

import pytest

from envs.bindings import COMMANDS, MEANINGS, PAD, bindings_for

PONG = {"up": 2, "w": 2, "down": 3, "s": 3, "space": 1, "up+space": 4}
NAMES = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]


def bound(own=None, keys=PONG):
    return bindings_for(keys, NAMES, 0, own)


def test_every_command_has_a_meaning_and_a_key():
    assert set(COMMANDS.values()) == set(MEANINGS)
    assert all(stands in COMMANDS or stands in ("up", "down", "left", "right", "space") for stands in PAD.values())


def test_a_key_of_the_world_is_no_command():
    assert bound().command("p") == "pause"
    assert bound().command("x") is None
    used = bound(keys={"p": 1, "left+h": 2})
    assert used.command("p") is used.command("h") is None
    assert used.action(["p"]) == 1
    assert used.key_of("help") == "F1"


def test_own_keys_come_before_the_cards_and_the_players():
    own = bound({"j": "left", "up+j": "RIGHTFIRE", "tab": "pause", "w": "nothing", "q": "nothing"})
    assert own.action(["j"]) == 3
    assert own.action(["up", "j"]) == 4
    assert own.action(["w"]) == 0
    assert own.command("tab") == "pause"
    assert own.command("q") is None
    assert own.command("escape") == "quit"
    assert COMMANDS["tab"] == "branch"  # nobody else's keys have changed


@pytest.mark.parametrize(("own", "message"), [
    ({"j": "lefd"}, "key 'j' is bound to 'lefd', which nothing here is called: did you mean left"),
    ({"a+b": "pause"}, "a chord can only be bound to an action"),
])  # fmt: skip
def test_what_nothing_is_called_is_refused(own, message):
    with pytest.raises(ValueError, match=message):
        bound(own)


def test_a_gamepad_plays_as_the_keys_it_stands_for():
    assert bound().action(["pad up", "pad 0"]) == 4
    assert bound().command("pad 1") == "rewind"
    assert bound().holds(["up", "pad 1"], "rewind")
    assert bound({"pad 1": "left"}).action(["pad 1"]) == 3
    assert bound({"pad 1": "left"}).command("pad 1") is None


def test_the_page_lists_every_action_and_every_command():
    page = bound().page(NAMES)
    assert "up+space: rightfire" in page and "P: pause, and go on" in page and "F1, H: this list" in page
    assert len(page) == len(PONG) + len(MEANINGS)
    assert bound().line().startswith("up w down s space: play  P pause  Backspace rewind")


def test_buttons_bound_by_hand_no_longer_stand_for_keys():
    own = bound({"pad 1": "nothing", "pad 2+pad 3": "FIRE"})
    assert own.command("pad 1") is None and own.command("pad 2") is None
    assert own.action(["pad 2", "pad 3"]) == 1
    assert own.command("pad 4") == "branch"
