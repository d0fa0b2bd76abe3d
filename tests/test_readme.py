"""The README names files that exist; `test_docs.py` runs what it shows."""

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_files_the_readme_names_exist():
    text = README.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:envs|world_model|kernels|recorders)/[\w./]*|\w+\.py)`", text):
        assert (README.parent / path).exists(), f"README names {path}, which does not exist"
