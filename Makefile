# Two commands do all: `make report` (the main job) and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=

.PHONY: report test lab bench lint unit notebooks golden frames clean
.DEFAULT_GOAL := report

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

report: $(STAMP)  ## run all notebooks on the recordings and write a report
	$(BIN)/labkit run $(ARGS)

test: lint unit notebooks  ## all checks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile

notebooks: $(STAMP)  ## run the notebooks again and compare them with their committed outputs
	$(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=120 -p no:cacheprovider notebooks

lab: $(STAMP)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(STAMP)  ## measure what the README and the notes state
	$(BIN)/python tests/bench.py

golden: $(STAMP)  ## run the notebooks and store their outputs in place
	$(BIN)/labkit refresh

frames: $(STAMP)  ## write labkit/FRAMES.md from the declarations
	$(BIN)/python -m labkit.frames

clean:
	rm -rf $(VENV) runs
