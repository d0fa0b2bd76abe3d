"""Every command that README and docs show has settings that exist, every file they link is there, their python runs."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from envs import shipped_worlds
from recorders import settings
from recorders.importing import with_from

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python3? (-m [\w.]+|[\w/]+\.py)((?: +[\w.+@]+=[^\s`]*)*)")
SCRIPTS = {"play.py": ("play", "play")}
"""scripts with settings of their own: module and name of its settings"""


def commands() -> list[tuple[str, str]]:
    """(page, command) of everything that looks like a call of python, cut off before its comment."""
    found = []
    for page in PAGES:
        text = re.sub(r"(?<=\S)\n(?=\S)", " ", page.read_text(encoding="utf-8"))  # one that is broken over lines
        found += [(page.name, match[0].strip("`,. ")) for match in COMMAND.finditer(text)]
    return found


def test_pages_show_commands():
    assert len(commands()) > 50


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_commands_settings_exist(page, command):
    what, *words = shlex.split(command)[1:]
    what = words.pop(0) if what == "-m" else what
    if any("<" in word or "..." in word for word in words):
        pytest.skip("a pattern, not a command")
    if what.startswith(("examples/", "tests/", "benchmarks/", "docs/")):
        assert (ROOT / what).is_file(), f"{page}: {command}"
        return
    module, name = SCRIPTS.get(what) or (what, what.rpartition(".")[2])
    if name in ("pytest", "venv", "pip"):
        return
    importlib.import_module("recorders.importing" if name == "import" else module)
    if f"{name}.yaml" not in ConfigStore.instance().list("") or not words:
        return  # without settings; or named alone, without those it needs
    GlobalHydra.instance().clear()
    with initialize(version_base="1.3", config_path=None):
        config = settings(compose(config_name=name, overrides=with_from(words)))
    for word in words:
        assert hasattr(config, word.lstrip("+").partition("=")[0].partition(".")[0].replace("from", "source"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links {target}"


@pytest.mark.skipif("Pong-v0" not in shipped_worlds(), reason="the pages step Pong-v0, which is not shipped yet")
@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")],
                         ids=lambda page: page.name)
def test_python_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.skipif("Pong-v0" not in shipped_worlds(), reason="the figures show Pong-v0, which is not shipped yet")
def test_the_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    subprocess.run([sys.executable, str(ROOT / "docs/figures.py"), str(tmp_path)], check=True, timeout=300,
                   env={**os.environ, "PYTHONPATH": str(ROOT)})
    shown = {path.name for path in tmp_path.iterdir()}
    assert shown == set(re.findall(r"media/(\w+\.png)", (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")))
