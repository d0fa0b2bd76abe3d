"""Imports point one way, and every package is the one of this checkout."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["kernels", "world_model", "envs", "recorders"]
OURS = {*PACKAGES, "play", "foreframe"}

ALLOWED = {
    "kernels": set(),
    "recorders": set(),
    "world_model": {"kernels", "recorders"},
    "envs": {"world_model", "recorders"},
    "play": {"envs", "world_model", "recorders"},
    "foreframe": {"envs"},
}


def files_of(name: str) -> list[Path]:
    return sorted((ROOT / name).rglob("*.py")) if name in PACKAGES else [ROOT / f"{name}.py"]


def absolute_imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(node.module or "")
    return found


@pytest.mark.parametrize("name", sorted(OURS))
def test_imports_point_one_way(name):
    for file in files_of(name):
        for module in absolute_imports(file):
            package = module.partition(".")[0]
            if package in OURS:
                where = file.relative_to(ROOT)
                assert package != name, f"{where}: import {module} relatively"
                assert package in ALLOWED[name], f"{where}: {name} may not import {module}"
                assert module == package, f"{where}: import from the root of {package}, not from {module}"


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_name_resolves_to_this_checkout(name):
    file = Path(importlib.import_module(name).__file__).resolve()
    assert file.is_relative_to(ROOT), f"{name} comes from {file}, which is in front of this checkout on sys.path"


@pytest.mark.parametrize("module", ["foreframe", "recorders"])
def test_a_light_module_loads_neither_torch_nor_pygame(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'pygame', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_windows_know_pygame():
    users = [file for name in OURS for file in files_of(name) if "pygame" in absolute_imports(file)]
    known = ["envs/gamepad.py", "envs/window.py", "recorders/playback.py"]
    assert sorted(str(file.relative_to(ROOT)) for file in users) == known


def test_no_file_is_named_after_nothing():
    names = {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert not [file for name in OURS for file in files_of(name) if file.name in names]
