"""What the README shows, runs."""

import re
from pathlib import Path

import pytest

from envs import shipped_worlds

README = Path(__file__).resolve().parent.parent / "README.md"


def python_blocks(file: Path = README) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", file.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.skipif("Pong-v0" not in shipped_worlds(), reason="the README steps Pong-v0, which is not shipped yet")
def test_the_readmes_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    assert python_blocks()
    for block in python_blocks():
        exec(compile(block, str(README), "exec"), names)


@pytest.mark.skipif("Pong-v0" not in shipped_worlds(), reason="the example records Pong-v0, which is not shipped yet")
def test_the_recording_formats_first_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(python_blocks(README.parent / "docs/recording-format.md")[0], "example", "exec"), {})
    assert (tmp_path / "data/mine").is_dir()


@pytest.mark.skipif("Pong-v0" not in shipped_worlds(), reason="the examples step Pong-v0, which is not shipped yet")
def test_the_engines_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in python_blocks(README.parent / "docs/engine.md"):
        exec(compile(block, "docs/engine.md", "exec"), names)
    assert (tmp_path / "here.state").is_file()


def test_the_files_the_readme_names_exist():
    text = README.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:envs|world_model|kernels|recorders)/[\w./]*|\w+\.py)`", text):
        assert (README.parent / path).exists(), f"README names {path}, which does not exist"
