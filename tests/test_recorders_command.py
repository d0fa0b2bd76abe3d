"""What command lines do with words that are no settings, and with Ctrl-C."""

import sys
from dataclasses import dataclass

import pytest
from hydra.core.config_store import ConfigStore

from recorders import Command, command, settings


@dataclass(kw_only=True)
class Bake(Command):
    """Settings to test with."""

    path: str = "oven"
    loaves: int = 1


ConfigStore.instance().store(name="bake", node=Bake)
baked = []


def main(cfg):
    if settings(cfg).loaves > 9:
        raise KeyboardInterrupt
    baked.append(settings(cfg).loaves)


main.__module__ = "__main__"  # as when it is run
bake = command("bake")(main)


def start(monkeypatch, *words):
    baked.clear()
    monkeypatch.setattr(sys, "argv", ["bake", *words])
    bake()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data/mine", "bake: expected name=value, e.g. path=..., got 'data/mine'"),
        ("loafs=3", "bake: there is no setting 'loafs', only path, loaves"),
        ("loafs.a=3", "bake: there is no setting 'loafs.a', only path, loaves"),
    ],
)
def test_a_word_that_is_no_setting_is_named_in_one_line(monkeypatch, capsys, word, message):
    with pytest.raises(SystemExit) as end:
        start(monkeypatch, "loaves=2", word)
    assert end.value.code == 2 and not baked
    assert capsys.readouterr().err == f"{message}; --help lists the settings\n"


@pytest.mark.parametrize(("words", "loaves"), [((), 1), (("loaves=3",), 3), (("hydra.verbose=false", "++loaves=4"), 4)])
def test_settings_are_read(monkeypatch, words, loaves):
    start(monkeypatch, *words)
    assert baked == [loaves]


def test_help_lists_the_settings(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        start(monkeypatch, "--help")
        sys.exit(0)
    assert "loaves: 1" in capsys.readouterr().out


def test_an_interruption_is_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        start(monkeypatch, "loaves=10")
    assert end.value.code == 130
    assert capsys.readouterr().err == "bake: interrupted; what had been saved is there\n"
