# The commands of the project. `make up` and `make test` install what they need into this checkout (.venv,
# agent/target) and say so when they can't. `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AGENT := agent/target/release/eo-agent
CARGO_FLAGS ?= --locked
# A test that stands still for 25 minutes ends the suite with the stacks of all threads.
SLOW_OPTIONS := -v --durations 25 --timeout 600 -o faulthandler_timeout=1500 -o faulthandler_exit_on_timeout=true

.PHONY: help up demo test test-slow lint fuzz sanitize agent-deb agent-image bench accuracy lock clean prerequisites

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

prerequisites:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: Python 3.11 or newer is needed, $(PYTHON) is not that. Next: install it, or name it: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) lacks venv. Next: install your distribution's python3-venv." >&2; exit 2; }
	@command -v cargo >/dev/null || { \
	  echo "make: cargo is needed to build the agent. Next: install a Rust toolchain (rustup, or your distribution's cargo >= 1.85)." >&2; exit 2; }
	@command -v cc >/dev/null || { \
	  echo "make: a C compiler is needed by some crates. Next: install gcc or clang." >&2; exit 2; }

$(VENV)/.installed: requirements.txt pyproject.toml | prerequisites
	@echo "make: installing Python packages into $(VENV) (about a minute, 1 GB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "make: installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(AGENT): $(shell find agent/src schemas -type f 2>/dev/null) agent/Cargo.toml agent/Cargo.lock | prerequisites
	@echo "make: building the agent (a few minutes the first time) ..."
	@cd agent && cargo build --release --quiet $(CARGO_FLAGS)
	@touch $@

up: $(VENV)/.installed $(AGENT) ## Start everything on this machine and print the page's address
	@$(BIN)/eo up

demo: $(VENV)/.installed $(AGENT) ## The same with the demo workloads under real load
	@$(BIN)/eo up --workloads examples/demo/eo.workloads.yaml --data-dir .eo/demo

test: $(VENV)/.installed-dev $(AGENT) ## Unit, property and contract tests, Python and Rust
	@$(BIN)/python -m pytest -m "not slow and not browser"
	@cd agent && cargo test --quiet $(CARGO_FLAGS)

test-slow: $(VENV)/.installed-dev $(AGENT) ## Whole flows on real servers, and the page in a real browser
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { echo "make: installing chromium for the browser test ..."; apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }; } \
	  || echo "make: no chromium; the browser tests skip (in CI they fail)"
	@{ command -v clang && command -v musl-gcc; } >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { echo "make: installing clang and musl for the unwinding test ..."; apt-get update -qq; \
	    apt-get install -y -qq clang musl-tools >/dev/null; }; } \
	  || echo "make: no clang or musl; the unwinding test leaves their programs out (in CI it fails)"
	@$(BIN)/python -m pytest -m "slow and not browser" $(SLOW_OPTIONS)
	@# In a process of their own: Playwright leaves an event loop running, in which no other test could start one.
	@$(BIN)/python -m pytest -m browser $(SLOW_OPTIONS)

lint: $(VENV)/.installed-dev ## Linters and types, warnings are errors
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy && $(BIN)/lint-imports
	@cd agent && cargo fmt --check && cargo clippy --quiet --all-targets $(CARGO_FLAGS) -- -D warnings

fuzz: | prerequisites ## Damaged input for every parser of the agent: make fuzz SECONDS=60 (per target)
	@agent/fuzz/run $(or $(SECONDS),60)

sanitize: | prerequisites ## The agent's tests under AddressSanitizer
	@agent/sanitize

agent-deb: $(AGENT) ## Debian package of the agent in dist/
	@deploy/agent/build-deb.sh

agent-image: $(AGENT) ## OCI image of the agent in dist/ (takes buildah)
	@deploy/agent/build-image.sh

bench: $(VENV)/.installed-dev $(AGENT) ## Short benchmarks; docs in benchmarks/README.md
	@$(BIN)/python -m benchmarks.run --short

accuracy: $(VENV)/.installed-dev ## Every table of docs/accuracy.md made again (three quarters of an hour on 2 quiet cores, 10 GB of disk)
	@$(BIN)/python -m benchmarks.accuracy

lock: $(VENV)/.installed ## Lock the dependencies again (hashes, no index address)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --extra demo pyproject.toml requirements-build.in -o requirements.txt
	@$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: ## Remove what was built; data in .eo stays
	rm -rf $(VENV) agent/target agent/fuzz/target
