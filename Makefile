# Each target makes its own environment on a fresh machine; PYTHON names the interpreter to make it with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: search test test-slow check bench quality fidelity ablation search-efficiency clean

search: $(READY)
	$(BIN)/nas search

# A process a core, four at most: each takes half a gigabyte.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python experiments/benchmarks/propagation.py --out results/benchmarks/propagation.json
	$(BIN)/python experiments/benchmarks/training.py --scale --memory --out results/benchmarks/training.json
	$(BIN)/python experiments/benchmarks/evaluation.py --out results/benchmarks/evaluation.json
	$(BIN)/python experiments/benchmarks/generation.py --out results/benchmarks/generation.json
	$(BIN)/python experiments/benchmarks/fold_in.py --out results/benchmarks/fold_in.json
	$(BIN)/python experiments/benchmarks/serving.py --out results/benchmarks/serving.json

# The data of all but ml-100k has to be in data/; see the files in experiments/.
quality: $(READY)
	for name in ml-100k ml-latest-small ml-1m gowalla; do $(BIN)/nas search $$name || exit 1; done
	$(BIN)/python experiments/benchmarks/quality.py results/ml-100k results/ml-latest-small results/ml-1m results/gowalla

# How far the supernet of a finished `make search` ranks as training does: a quarter of an hour.
fidelity: $(READY)
	$(BIN)/nas fidelity results/ml-100k --n 50 --seeds 2
	$(BIN)/python experiments/benchmarks/fidelity.py results/ml-100k

# What lifts the agreement, judged by other architectures.
ablation: $(READY)
	$(BIN)/python experiments/benchmarks/supernet_ablation.py results/ml-100k

# What searches find in equal time: seven methods, five seeds, ten minutes each, six hours in all.
search-efficiency: $(READY)
	$(BIN)/python experiments/benchmarks/search_efficiency.py --plot results/search-efficiency/ml-100k-600/plot.html

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "nas needs Python 3.11 or newer: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
