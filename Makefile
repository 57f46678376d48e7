# Everything that a person does here goes through these commands; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BENCH_PYTHON ?= $(shell command -v python3.13 || echo $(PYTHON))
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

VENV := .venv
BENCH_VENV := .venv-bench
PY := $(VENV)/bin/python
BENCH_PY := $(BENCH_VENV)/bin/python
# `make build RELEASE=1` compiles as a release does: minutes of linking, the full speed.
PROFILE := $(if $(RELEASE),release,quick)
BUILT := $(VENV)/.built-$(PROFILE)
BENCH_BUILT := $(BENCH_VENV)/.built
RUST_SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find crates -name '*.rs' -o -name Cargo.toml 2>/dev/null)
# A venv is no activated shell: maturin is told which one to install into.
IN_VENV := env -u CONDA_PREFIX VIRTUAL_ENV=$(CURDIR)/$(VENV)
# Rust's tests of the native classes embed an interpreter: the one that the venv is of, whose library only they must find.
ASK = $(PY) -c 'import sys, sysconfig; print($(1))'
EMBED = PYO3_PYTHON=$$($(call ASK,sys._base_executable)) PYTHONHOME=$$($(call ASK,sys.base_prefix))
EMBED_RUNNER = --config "target.'cfg(unix)'.runner = ['env', 'LD_LIBRARY_PATH=$$($(call ASK,sysconfig.get_config_var("LIBDIR")))']"

.PHONY: help
help: ## list these commands
	@echo "make COMMAND [VARIABLE=value ...]"; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  PYTHON=python3.13    the interpreter to use (CPython 3.11 or newer; now: $(PYTHON))"
	@echo "  RELEASE=1            compile with full optimisation"
	@echo "  APP=file.py ARGS=... your own program, for 'make run'"
	@echo "  ONLY=\"names\"         some benchmarks or test files, for 'make bench' and 'make conformance'"

.PHONY: python
python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here. Install CPython 3.11 or newer, or name it: make $(or $(MAKECMDGOALS),run) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys, platform; ok = sys.version_info >= (3, 11) and platform.python_implementation() == "CPython"; sys.exit(0 if ok else "rasyncio needs CPython 3.11 or newer, and $(PYTHON) is %s %s. Name another one: make $(or $(MAKECMDGOALS),run) PYTHON=python3.13" % (platform.python_implementation(), platform.python_version()))'

# Recreates the environment when it belongs to another interpreter, and installs what changed.
.PHONY: environment
environment: python
	@$(PYTHON) tools/environment.py --cargo $(VENV) tools/requirements.txt tests/requirements.txt

$(BUILT): $(RUST_SOURCES) | environment
	@echo "Compiling rasyncio ($(PROFILE) profile); the first time takes some minutes."
	@$(IN_VENV) $(VENV)/bin/maturin develop --profile $(PROFILE) --locked
	@rm -f $(VENV)/.built-*; touch $@

.PHONY: build
build: environment $(BUILT) ## compile rasyncio and install it into .venv

.PHONY: run
run: build ## run the example server and its clients on asyncio and on rasyncio, or APP=file.py ARGS="..."
ifdef APP
	@$(PY) -m rasyncio $(APP) $(ARGS)
else
	@$(PY) tools/side_by_side.py examples/serve_files.py $(ARGS)
endif

.PHONY: test
test: test-rust test-loom test-python test-dev test-suite ## run all tests: Rust's, our own in Python, and CPython's own for asyncio

.PHONY: test-rust
test-rust: environment
	@$(EMBED) cargo $(EMBED_RUNNER) test --locked --profile quick -p rasyncio-engine -p rasyncio-slots

# memcheck on the native classes' own tests, with an allocator that it can see through. Leaks are for tests/test_leaks.py.
MEMCHECK = --config "target.'cfg(unix)'.runner = ['env', 'LD_LIBRARY_PATH=$$($(call ASK,sysconfig.get_config_var("LIBDIR")))', \
	'PYTHONMALLOC=malloc', 'valgrind', '--quiet', '--error-exitcode=9', '--leak-check=no']"
.PHONY: valgrind
valgrind: build ## run the native classes' tests and a stress of every class under valgrind (minutes)
	@command -v valgrind >/dev/null || { echo "There is no valgrind here: apt-get install valgrind" >&2; exit 1; }
	@$(EMBED) cargo $(MEMCHECK) test --locked --profile quick -p rasyncio-slots --test native
	@PYTHONMALLOC=malloc valgrind --quiet --error-exitcode=9 --leak-check=no $(PY) tests/stress.py

.PHONY: soak
soak: build ## hold 10,000 connections on one loop for a minute, with random ends (ARGS="--connections 1000 --seconds 20")
	@$(PY) tests/soak.py $(ARGS)

# The inbox under every interleaving of its threads. Another target folder: the flag would have all else compiled again.
.PHONY: test-loom
test-loom:
	@RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-target}/loom \
		cargo test --locked --profile quick -p rasyncio-engine --test loom

# Status 5 is pytest's word for "no test was found", which is no failure while tests/ is young.
.PHONY: test-python
test-python: build
	@$(PY) -m pytest tests; status=$$?; [ $$status -eq 5 ] || exit $$status

# The same in development mode, on an allocator that sees what is used after it was freed. What measures, or runs tools and other
# projects that do not depend on the mode, is left to the run above.
.PHONY: test-dev
test-dev: build
	@PYTHONMALLOC=debug $(PY) -X dev -m pytest tests $(DEV_TESTS)

.PHONY: test-suite
test-suite: build
	@$(PY) conformance/run.py -j $(JOBS) --limit 30 --again --without-suite skip

.PHONY: conformance
conformance: build ## run CPython's own asyncio tests on rasyncio, with a table (ONLY="test_tasks ...")
	@mkdir -p build/conformance
	@$(PY) conformance/run.py -j $(JOBS) -o build/conformance/$$($(PY) -c 'import platform; print(platform.python_version())').json $(ONLY)

ECO_VENV := build/ecosystem/venv
.PHONY: ecosystem
ecosystem: build ## run the suites of aiohttp, anyio, uvicorn and hypercorn (ONLY="anyio ...", ARGS="--save"; needs the package index)
	@mkdir -p build/ecosystem
	@$(PYTHON) tools/environment.py $(ECO_VENV) ecosystem/requirements.txt
	@env -u CONDA_PREFIX VIRTUAL_ENV=$(CURDIR)/$(ECO_VENV) $(VENV)/bin/maturin develop --quiet --profile $(PROFILE) --locked
	@$(ECO_VENV)/bin/python ecosystem/run.py $(ONLY) $(ARGS)

.PHONY: bench
bench: $(BENCH_BUILT) ## compare the speed with asyncio, uvloop and other loops (ONLY="sleep0 ...", ARGS="--quick")
	@$(BENCH_PY) benches/run.py $(ONLY) $(ARGS)

.PHONY: wheel
wheel: environment ## build the wheel that people install, for PYTHON, into build/wheels (ARGS=--plain: without a profile)
	@$(PY) tools/build_wheel.py $(ARGS)

.PHONY: release
release: environment ## build wheels for all Pythons and systems, and the source, into dist (ARGS="--targets x86_64-gnu --plain")
	@$(PYTHON) tools/environment.py $(VENV) tools/zig/requirements.txt
	@$(PY) tools/release.py $(ARGS)

.PHONY: bench-network
bench-network: $(BENCH_BUILT) ## echo servers under a client that is not Python, beside a bare one (ONLY="read-64-1024 ...", ARGS="--quick")
	@$(BENCH_PY) benches/network.py $(ONLY) $(ARGS)

.PHONY: bench-servers
bench-servers: $(BENCH_BUILT) ## uvicorn and aiohttp under wrk, on asyncio, uvloop and rasyncio (ONLY=aiohttp, ARGS="--quick")
	@command -v wrk >/dev/null || { echo "There is no wrk here: apt-get install wrk" >&2; exit 1; }
	@$(BENCH_PY) benches/servers.py $(ONLY) $(ARGS)

# What is measured is the wheel that people install, in an environment of its own.
$(BENCH_BUILT): $(RUST_SOURCES) $(shell find python -name '*.py' 2>/dev/null) tools/train.py tools/build_wheel.py benches/requirements.txt | environment
	@$(BENCH_PYTHON) tools/environment.py --tolerate $(BENCH_VENV) benches/requirements.txt
	@$(PY) tools/build_wheel.py --interpreter $(BENCH_PY)
	@$(BENCH_PY) -m pip install --quiet --no-deps --force-reinstall build/wheels/*.whl
	@touch $@

.PHONY: check
check: environment ## check formatting, lints and the structure's invariants
	@status=0; \
	cargo fmt --all --check || { echo "-> cargo fmt --all"; status=1; }; \
	$(EMBED) cargo clippy --locked --workspace --all-targets -- -D warnings || status=1; \
	$(VENV)/bin/ruff check . || { echo "-> $(VENV)/bin/ruff check --fix ."; status=1; }; \
	$(VENV)/bin/ruff format --check . || { echo "-> $(VENV)/bin/ruff format ."; status=1; }; \
	$(PY) tools/check_structure.py || status=1; \
	$(PY) tools/status.py --check || status=1; \
	exit $$status

.PHONY: docs
docs: python ## build the site into build/site (ARGS=serve: show it, and build it anew on changes)
	@$(PYTHON) tools/environment.py .venv-docs tools/docs/requirements.txt
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs $(or $(ARGS),build --strict --quiet)

# Everybody's own environment is spared Node.js, which pyright runs on: its packages come on the first call.
.PHONY: stubs
stubs: build ## compare the stubs with rasyncio, and check typed programs (ARGS="--versions 3.11 3.15" for other Pythons)
	@$(PYTHON) tools/environment.py $(VENV) tools/stubs/requirements.txt
	@$(PY) tools/check_stubs.py $(ARGS)

.PHONY: status
status: environment ## write docs/status.md anew from the results under docs/results
	@$(PY) tools/status.py

.PHONY: clean
clean: ## remove the environments and everything that was built
	rm -rf $(VENV) $(BENCH_VENV) .venv-docs build $${CARGO_TARGET_DIR:-target} python/rasyncio/*.so .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
