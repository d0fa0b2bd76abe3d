"""The table of AR-VAEs."""

from dataclasses import replace
from pathlib import Path

import pytest
from test_world_model_train_vae import config

from benchmarks.tokenizers import TokenizersConfig, run
from world_model.train_vae import train_vae


def test_a_line_for_each(data: Path, tmp_path: Path) -> None:
    folder = train_vae(config(data, tmp_path / "run", steps=1))
    asked = TokenizersConfig(vaes=[str(folder), str(folder)], data=str(data), cache=str(tmp_path / "run" / "cache"),
                             frames=40, clips=2)  # fmt: skip
    lines = run(asked)
    assert len(lines) == 5 and all(line.count("|") == 10 for line in lines[1:])
    assert f"| {folder} | 4 x 4 | 0.0 M |" in lines[3]


def test_episodes_it_was_trained_on_do_not_count(data: Path, tmp_path: Path) -> None:
    folder = train_vae(replace(config(data, tmp_path / "run", steps=1), heldout=0.0))
    with pytest.raises(ValueError, match="held out no episode"):
        run(TokenizersConfig(vaes=[str(folder)], data=str(data), cache=str(tmp_path / "run" / "cache"), frames=40))


def test_without_any_there_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="need vaes="):
        TokenizersConfig(data="x", cache="y")
