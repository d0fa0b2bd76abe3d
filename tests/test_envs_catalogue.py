import re

import pytest

from envs import find_world, shipped_worlds
from world_model import WorldError


@pytest.fixture
def shelf(tmp_path):
    for name in ("Pong-v0", "Pong-v1", "Breakout-v0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "world.json").write_text("{}")
    (tmp_path / "half-written").mkdir()
    return tmp_path


def test_shipped_worlds_are_folders_with_a_card(shelf):
    assert shipped_worlds(shelf) == ["Breakout-v0", "Pong-v0", "Pong-v1"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [("Pong-v0", "Pong-v0"), ("pong-V0", "Pong-v0"), ("pong", "Pong-v1"), ("breakout", "Breakout-v0")],
)
def test_a_name_finds_its_world(shelf, asked, found):
    assert find_world(asked, shelf) == shelf / found


def test_a_folder_is_a_world_too(shelf):
    assert find_world(str(shelf / "Pong-v0"), shelf) == shelf / "Pong-v0"


def test_an_unknown_world_is_answered_with_the_nearest_first(shelf):
    expected = "no world 'brekout-v0': expected one of the shipped worlds (Breakout-v0, Pong-v0, Pong-v1)"
    with pytest.raises(WorldError, match=re.escape(expected)) as error:
        find_world("brekout-v0", shelf)
    assert "\n" not in str(error.value)


def test_an_empty_shelf_says_so(tmp_path):
    with pytest.raises(WorldError, match="none ships with this checkout"):
        find_world("Pong-v0", tmp_path)
