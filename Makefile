# Everything a developer runs. Written for GNU make 3.81 and later, and any POSIX shell.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test faults mutants check format bench bench-intake pins clean
.DELETE_ON_ERROR:

BIN := .venv/bin
# The newest file wins: the environment is made again only when what it is made of changed.
READY := .venv/ready
# A name may stand on the PATH and still not run, or lack `venv`: each is tried before it is taken.
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Make .venv with everything claimpath needs, from hashed pins
	@echo "Ready: $(BIN)/claimpath" >&2

demo: $(READY) ## Run it all on embedded servers, live (ARGS="--once --claims 2000 --seed 7 --json")
	@exec $(BIN)/claimpath demo $(ARGS)

test: $(READY) ## Run every test on a real Kafka and PostgreSQL (ARGS="-k lifecycle"; ARGS="-n 0" in one process)
	@exec $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: $(READY) ## The long fault campaign, hours, and its page of results (ARGS="faults --faults 60 --seed 7")
	@exec $(BIN)/python -m tests.faults $(ARGS)

mutants: $(READY) ## Seed faults into a copy, one by one: each must turn a named test red (ARGS="--list")
	@exec $(BIN)/python -m tests.mutants $(ARGS)

check: $(READY) ## Check format, lint, types, imports and tidiness
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy events services infra tests
	@$(BIN)/python -m pytest -q tests/test_tidy.py

format: $(READY) ## Format the code and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) ## Measure the whole path beside COPY and one ORM session per event
	@exec $(BIN)/python -m tests.bench $(ARGS)

bench-intake: $(READY) ## Measure `claimpath intake` on files of 100,000 claims: speed and memory
	@exec $(BIN)/python -m tests.bench.intake $(ARGS)

pins: ## Resolve both requirement files again (needs uv; ARGS="--upgrade")
	@command -v uv >/dev/null || { echo "make pins needs uv on the PATH." >&2; exit 1; }
	@uv pip compile pyproject.toml --group build -o infra/requirements.txt $(PIN) $(ARGS)
	@uv pip compile pyproject.toml --group build --all-extras -c infra/requirements.txt \
	    -o infra/requirements-dev.txt $(PIN) $(ARGS)
PIN := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-config

clean: ## Remove .venv, caches and build output (data of `claimpath stack` stays)
	@rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage htmlcov dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Standard output belongs to the command that was asked for; all that is said here goes to standard error.
$(READY): pyproject.toml infra/requirements-dev.txt
	@python=; if ! $(BIN)/python -c '$(USABLE)' 2>/dev/null; then \
	    for name in $(PYTHON) $(PYTHONS); do \
	        if "$$name" -c '$(USABLE)' 2>/dev/null; then python="$$name"; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "claimpath needs Python 3.11 or newer with its venv module; tried: $(PYTHON) $(PYTHONS)." >&2; \
	        echo "Install it (Debian: apt install python3 python3-venv), or name one: make setup PYTHON=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    echo "Making .venv with $$python ..." >&2; \
	    "$$python" -m venv --clear .venv >&2 || exit 1; \
	fi
	@echo "Installing the pinned packages, about 100 MB the first time ..." >&2
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r infra/requirements-dev.txt >&2
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation --no-deps -e . >&2
	@touch $@
