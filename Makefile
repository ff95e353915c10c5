# Each target sets up what it needs; Python 3.11 or newer, git and make are all that must be there.
# Options go through ARGS: make demo ARGS="--device cpu", make test ARGS="-k redis".

ARGS ?=
# Models stay in the clone, beside .venv.
export STOKER_CACHE_DIR ?= $(CURDIR)/.cache/stoker

.PHONY: help setup demo up test check judge soak chaos bench
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /make \1 \t/p' Makefile

setup: ## make .venv with all dependencies; done at once if it is there
	@sh scripts/setup.sh

demo: setup ## real models on real texts, and answers that are checked
	@.venv/bin/stoker demo $(ARGS)

up: setup ## Redis, a worker, a courier and Flower, until Ctrl-C
	@.venv/bin/stoker up $(ARGS)

test: setup ## all tests
	@sh scripts/test.sh $(ARGS)

bench: setup ## measure Stoker beside its peers; see docs/benchmarks.md
	@.venv/bin/python -m benchmarks $(ARGS)

check: setup ## style, types, layering, and all tests
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/python scripts/typecheck.py
	@.venv/bin/lint-imports
	@sh scripts/test.sh $(ARGS)

judge: setup ## what Celery documents of itself, asked of Stoker's transport, of kombu's, and of Stoker's tasks
	@.venv/bin/python -m pytest tests/celery $(ARGS)

soak: setup ## a million jobs through one worker, whose memory must not grow
	@.venv/bin/python -m benchmarks.soak $(ARGS)

chaos: setup ## kill workers and Redis, cut the network, and count what is lost: ARGS="--seed 7"
	@.venv/bin/python -m benchmarks.chaos $(ARGS)
