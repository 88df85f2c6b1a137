# Every target first brings .venv up to date (scripts/setup.sh), which is quick when nothing has changed.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench reproduction pins

help:  ## show these lines
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

setup:  ## make .venv, and name or install the system libraries that napari draws with
	@scripts/setup.sh

demo: setup  ## simulate a movie, classify it, and open it in napari where a screen is
	.venv/bin/cellinterp demo

test: setup  ## lint, types, layers, then all tests; ARGS="-k expression" goes to pytest
	@scripts/test.sh $(ARGS)

lint: setup  ## ruff, mypy and lint-imports only
	@LINT_ONLY=1 scripts/test.sh

format: setup  ## let ruff sort imports and lay out the code
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: setup  ## run the benchmarks and rewrite docs/benchmarks.md; ARGS=--quick for small ones
	@scripts/bench.sh $(ARGS)

reproduction: setup  ## train all schemes on the benchmark (hours) and write docs/reproduction.md
	.venv/bin/cellinterp reproduce --out docs/reproduction.md --run runs/reproduction --processes 2

pins:  ## rewrite requirements.txt from what .venv holds
	@scripts/pin.sh
