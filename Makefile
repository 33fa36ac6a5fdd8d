# `make demo` shows Astrid at work, `make test` shows that it holds; both need no more than Python 3.11 and make.
# Everything is installed into .venv, from the lock, by hash, as built wheels; again only when the lock or pyproject.toml changed.

SUITED = import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
FIND = for p in python3 python3.13 python3.12 python3.14 python3.11 python; do $$p -c "$(SUITED)" 2>/dev/null && command -v $$p && break; done
PYTHON ?= $(shell $(FIND))
NONE = Astrid needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv). Name one: make PYTHON=...
RUN = .venv/bin/python -m
INSTALL = $(RUN) pip install --disable-pip-version-check -qq --only-binary :all: --require-hashes -r
COMPILE = .venv-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --only-binary :all: --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"
CORE = $(wildcard tests/core tests/machines)
MADE = .venv .venv-lock .venv-peers build dist .coverage .hypothesis .pytest_cache .ruff_cache
TIME = 5m
SESSIONS = 2000
.DEFAULT_GOAL = test
.PHONY: demo test lint types contracts coverage fuzz chains simulate planted crash bench lock clean

demo: .venv/ready            ; @.venv/bin/astrid demo
test: .venv/ready            ; @$(RUN) pytest -q
lint: .venv/ready-dev        ; @.venv/bin/ruff check -q && .venv/bin/ruff format -q --check
types: .venv/ready-dev       ; @.venv/bin/pyright --pythonpath .venv/bin/python
contracts: .venv/ready-dev   ; @.venv/bin/lint-imports --no-cache
coverage: .venv/ready-dev    ; @$(RUN) coverage run --source=astrid.core -m pytest -q $(CORE) && $(RUN) coverage report --fail-under=100
fuzz: .venv/ready-fuzz       ; @$(RUN) fuzz --time $(TIME)
chains: .venv/ready          ; @$(RUN) fuzz.million_chains
simulate: .venv/ready        ; @$(RUN) tests.simulation --sessions $(SESSIONS)
planted: .venv/ready         ; @$(RUN) tests.planted
crash: .venv/ready           ; @$(RUN) tests.crash
bench: .venv/ready .venv-peers/ready ; @$(RUN) bench
lock: .venv-lock/bin/uv      ; @$(COMPILE) pyproject.toml --extra test -o requirements.lock && $(COMPILE) pyproject.toml --extra dev -o requirements-dev.lock && $(COMPILE) pyproject.toml --extra test --extra fuzz -o requirements-fuzz.lock && $(COMPILE) bench/peers/requirements.in -o bench/peers/requirements.lock
clean:                       ; @rm -rf $(MADE) && find src tests fuzz bench -name __pycache__ -prune -exec rm -rf {} +

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "$(NONE)" >&2; exit 1; }
	@echo "Installing into .venv, once"
	@"$(PYTHON)" -m venv --clear .venv && $(INSTALL) requirements.lock
	@$(RUN) pip install --disable-pip-version-check -qq --no-deps --no-build-isolation -e . && touch $@

.venv/ready-dev: .venv/ready requirements-dev.lock
	@$(INSTALL) requirements-dev.lock && touch $@

.venv/ready-fuzz: .venv/ready requirements-fuzz.lock
	@$(INSTALL) requirements-fuzz.lock && touch $@

# Whom Astrid is compared with, in an environment of their own.
.venv-peers/ready: bench/peers/requirements.lock
	@echo "Installing the peers into .venv-peers, once"
	@"$(PYTHON)" -m venv --clear .venv-peers && .venv-peers/bin/pip install --disable-pip-version-check -qq --only-binary :all: --require-hashes -r $< && touch $@

.venv-lock/bin/uv:
	@"$(PYTHON)" -m venv --clear .venv-lock && .venv-lock/bin/pip install -qq uv==0.13.9
