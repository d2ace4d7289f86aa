# HematoVision: `make book` gives the book, `make test` runs every test. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help book test lab check bench model model-abroad lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) scripts/install.py

book: $(READY)  ## run the chain on the demo and build the book into _build/html
	@$(BIN)/hv run --profile demo --run demo
	@$(BIN)/hv book --run demo

test: $(READY)  ## run all tests
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

check: $(READY)  ## lint, format, the doors between rooms and, where the book is built, its links
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/ruff format --check .
	@if [ -f _build/html/index.html ]; then $(BIN)/python -m hv_utils.chain.book _build/html; \
	  else echo "no book to check the links of: make book"; fi

bench: $(READY)  ## time this project against the usual ways, side by side
	@$(BIN)/python scripts/bench.py

model: $(READY)  ## train the home model anew on ARCHIVE=the real set's zip; 70 minutes
	@test -n "$(ARCHIVE)" || { echo "make: expected the real data: make model ARCHIVE=blood-cells.zip"; exit 1; }
	@$(BIN)/hv run --profile native --archive "$(ARCHIVE)" --until prediction
	@$(BIN)/python scripts/ship_model.py runs/native

model-abroad: $(READY)  ## train the model for other laboratories' cells: KAGGLE=zip PBC=zip; 2 hours
	@test -n "$(KAGGLE)$(PBC)" || { echo "make: expected the real data: make model-abroad KAGGLE=blood-cells.zip PBC=PBC_dataset.zip"; exit 1; }
	@$(BIN)/python scripts/train_travelling.py --kaggle "$(KAGGLE)" --pbc "$(PBC)" --record results/travelling
	@$(BIN)/python scripts/ship_model.py runs/travelling --name travelling

lock:  ## renew requirements.lock from pyproject.toml
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --extra dev --extra explain --extra serve --extra scale --extra slides \
	  --no-emit-index-url --no-header --generate-hashes pyproject.toml -o requirements.lock

clean:  ## remove the book and the runs; keep the environment and the unpacked data
	@rm -rf _build runs build .pytest_cache .ruff_cache
