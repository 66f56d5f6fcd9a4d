.PHONY: demo test lint docs-check bench clean
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS := constraints.txt

help:
	@echo "make demo       the main job end to end on drawn tissue"
	@echo "make test       the test suite"
	@echo "make lint       style and types"
	@echo "make docs-check run the README's commands"
	@echo "make bench      print the tables of docs/benchmarks.md"

$(BIN)/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/plain: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --constraint $(CONSTRAINTS)
	@touch $@

.venv/page: .venv/plain
	$(BIN)/python -m pip install --quiet --editable '.[web]' --constraint $(CONSTRAINTS)
	-@$(BIN)/python scripts/page_assets.py --if-missing
	@touch $@

# pip compiles on one core; this is done on all. Some packages carry templates that are no Python: no reason to stop.
.venv/dev: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]' --constraint $(CONSTRAINTS)
	-@$(BIN)/python -W ignore -m compileall -qq -j 0 $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	-@$(BIN)/python scripts/page_assets.py --tests --if-missing
	@touch $@

demo: .venv/page
	$(BIN)/histoseek demo --out demo

# Two tests or two pages run at once: more threads in each of them would only wait for one another.
test docs-check: export OMP_NUM_THREADS = 1
test docs-check: export OPENBLAS_NUM_THREADS = 1

test: .venv/dev
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs-check: .venv/dev
	$(BIN)/python scripts/docs_check.py README.md docs/*.md

# Each line prints tables of docs/benchmarks.md, in the order of that page.
bench: .venv/dev
	$(BIN)/python -m pip install --quiet --editable '.[bench]' --constraint $(CONSTRAINTS)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/embed.py
	$(BIN)/python benchmarks/side_by_side.py
	if $(BIN)/python -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then $(BIN)/python benchmarks/gpu.py; fi
	$(BIN)/python benchmarks/slides.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/near_duplicates.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/metric_libraries.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/manifests.py
	rm -rf .venv/size && $(PYTHON) -m venv .venv/size && .venv/size/bin/python -m pip install --quiet . --constraint $(CONSTRAINTS)
	du -sm .venv/size/lib && rm -rf .venv/size

clean:
	rm -rf .venv demo real dist build
