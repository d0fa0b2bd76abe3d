# Every target works on a fresh machine: the first one builds .venv from constraints.txt, later ones reuse it.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: setup play world test check bench

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt $(TORCH)
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

play: setup
	$(RUN) play.py $(ARGS)

world: setup
	examples/make_world.sh $(GAME) $(ARGS)

test: setup
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: setup
	$(RUN) -m ruff check .
	$(RUN) -m mypy

bench: setup
	$(RUN) -m benchmarks.step $(ARGS)
