# One environment in .venv, made from constraints.txt; `make` alone lists the targets.
PYTHON ?= python3
comma := ,
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
GPU := $(shell command -v nvidia-smi 2>/dev/null)
EXTRAS := embedded,lab,dev$(if $(GPU),$(comma)gpu)
BIN := .venv/bin
STAMP := .venv/made-by-make
ANSWERS := import sys, urllib.request as request; request.urlopen(sys.argv[1] + "/torch/", timeout=3)
LIBRARY := '^[0-9][0-9]_.*\.ipynb$$'  # the pages in recipes/ and walkthroughs/ train for minutes: `make walkthroughs` runs those

# Tests run in WORKERS processes; more threads than cores in all is slower, not faster.
WORKERS ?= 2
THREADS := $(shell $(PYTHON) -c "import os; print(max(1, (os.cpu_count() or 2) // $(WORKERS)))" 2>/dev/null || echo 1)

.DEFAULT_GOAL := help
.PHONY: help env demo test test-notebooks test-python walkthroughs check export clean-notebooks lint lab clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## */  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'

env: $(STAMP)  ## create .venv with everything the workbench needs (once; minutes)

$(STAMP): constraints.txt settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 env" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@# Linux without an NVIDIA GPU: PyTorch's CPU index, if it answers within 3 s; else what pip finds by its own settings.
	@index=; if [ "$$(uname -s)" = Linux ] && [ -z "$(GPU)" ] && $(PYTHON) -c '$(ANSWERS)' $(TORCH_INDEX) 2>/dev/null; then index="--extra-index-url $(TORCH_INDEX)"; fi; \
	set -x; $(BIN)/python -m pip install --quiet -c constraints.txt $$index -e '.[$(EXTRAS)]'
	@touch $@

demo: env  ## run the main job: recipe to verdict, on the embedded model and data
	$(BIN)/ftwb notebook nbs/recipes/finetune.ipynb

test: env  ## notebook tests, then pytest
	@$(MAKE) --no-print-directory test-notebooks
	@$(MAKE) --no-print-directory test-python

test-notebooks: env  ## the examples and assertions in nbs/
	OMP_NUM_THREADS=$(THREADS) $(BIN)/nbdev-test --n-workers $(WORKERS) --file-re $(LIBRARY) --skip-folder-re '^([_.].*|recipes|walkthroughs|pretrain|runs)$$'

test-python: env  ## tests/: edge cases, faults, end-to-end runs
	@# Browsers, kills and clocks share these cores: what fails beside others has to pass alone, once more, or it fails.
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations 25 || { echo "Once more, alone, what failed:"; OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

walkthroughs: env  ## the pages in nbs/walkthroughs and nbs/recipes from top to bottom, by papermill (PAGES="02 chat" for some)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python .ci/run_notebooks.py --workers $(WORKERS) $(PAGES)

check: env  ## what to run before a commit: export, clean, tests, lint, and no difference left
	@$(MAKE) --no-print-directory export clean-notebooks
	@left=$$(git status --porcelain -- nbs finetune_wb); [ -z "$$left" ] || { echo "Not committed (or changed by export and clean):"; echo "$$left"; exit 1; }
	@$(MAKE) --no-print-directory lint test

export: env  ## write finetune_wb/ from nbs/
	$(BIN)/nbdev-export

clean-notebooks: env  ## strip widgets, stderr, execution counts and metadata from nbs/
	$(BIN)/python .ci/clean_outputs.py
	$(BIN)/nbdev-clean

lint: env  ## ruff on everything hand-written
	$(BIN)/ruff check nbs tests benchmarks setup.py .ci

lab: env  ## JupyterLab on the workbench notebook, for this machine only (LAB_ARGS=--allow-root in a container)
	FTWB_RUNS="$${FTWB_RUNS:-$(CURDIR)/runs}" $(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" $(LAB_ARGS) nbs/workbench.ipynb

clean:  ## remove what was built; runs/ and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find nbs finetune_wb tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
