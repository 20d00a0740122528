PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: env report serve figures test lint docs bench
.DEFAULT_GOAL := report

env: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	@echo "Installing into .venv: 2 GB, with a torch for NVIDIA cards 6.4 GB; a few minutes, and pip is silent unless something is wrong."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

report: .venv/.complete
	$(BIN)/steerscope report

serve: .venv/.complete
	$(BIN)/steerscope serve

figures: export GOMP_SPINCOUNT = 20000
figures: .venv/.complete
	for script in analyses/[!_]*.py; do $(BIN)/python $$script || exit 1; done

test: .venv/.complete
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

lint: .venv/.complete
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.complete
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file docs/mkdocs.yml

bench: .venv/.complete benchmarks/.venv/.complete
	$(BIN)/python benchmarks/grid.py
	$(BIN)/python benchmarks/score.py
	$(BIN)/python benchmarks/extract.py
	$(BIN)/python benchmarks/eigengap.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/weights.py

benchmarks/.venv/.complete: benchmarks/requirements.txt
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/python -m pip install --quiet --upgrade pip
	benchmarks/.venv/bin/python -m pip install --quiet torch==2.13.0
	benchmarks/.venv/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt
	touch $@
