# Everything runs from a virtual environment that the first target creates. PYTHON is the interpreter that creates it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOWERING_VENV ?= .venv-lowering
OLDEST_VENV ?= .venv-oldest
JOBS ?= 2

.PHONY: demo test lint types docs tests heavy standin docs-serve docs-reference encoder-table test-lowering test-oldest clean

demo: $(VENV)/.demo  ## Compile a real sentence encoder and search with it
	$(BIN)/neuronkit demo

test: lint types docs tests  ## Everything that must hold

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

tests: $(VENV)/.dev
	$(BIN)/pytest -n $(JOBS) --no-loadscope-reorder --durations 20 --durations-min 10

docs: $(VENV)/.dev  ## Build the documentation into build/site; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-serve: $(VENV)/.dev  ## Show the documentation at http://127.0.0.1:8000 while it is written
	$(BIN)/python -m mkdocs serve

docs-reference: $(VENV)/.dev  ## Rewrite docs/reference from the code
	$(BIN)/python -m tools.reference

heavy: $(VENV)/.dev  ## Full-size exactness suites, and what the default suite leaves out for its time: minutes to hours
	$(BIN)/pytest -m heavy

standin: $(VENV)/.dev  ## Every encoder and pipeline on the stand-in for Neuron: a few minutes
	$(BIN)/pytest -n $(JOBS) -m standin tests/neuron

encoder-table: $(VENV)/.dev  ## Compile every encoder of every task again and rewrite docs/encoders.md: half an hour
	$(BIN)/python -m tests.plugins.encoder_table $(ARCHITECTURES)

test-lowering: $(LOWERING_VENV)/.lowering  ## Lower every plugin's graphs through torch-xla, run them on XLA's CPU device, rewrite docs/lowering.md: several GB
	$(LOWERING_VENV)/bin/python -m pytest tests/lowering/test_lowering.py
	$(LOWERING_VENV)/bin/python -m tests.lowering.table $(PLUGINS)

test-oldest: $(OLDEST_VENV)/.oldest  ## The suite with the oldest torch, transformers, diffusers and their like that pyproject.toml admits: several GB
	$(OLDEST_VENV)/bin/pytest -n $(JOBS) --no-loadscope-reorder

$(OLDEST_VENV)/.oldest: pyproject.toml $(VENV)/.dev
	$(PYTHON) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/pip install --quiet --upgrade pip
	$(OLDEST_VENV)/bin/pip install --quiet $$($(BIN)/python -m tools.oldest torch transformers diffusers peft sentence-transformers) --editable ".[dev]"
	touch $@

$(LOWERING_VENV)/.lowering: pyproject.toml
	$(PYTHON) -m venv $(LOWERING_VENV)
	$(LOWERING_VENV)/bin/pip install --quiet --upgrade pip
	$(LOWERING_VENV)/bin/pip install --quiet "torch==2.9.0" "torch_xla==2.9.0" pytest-xdist --editable ".[diffusion,testing]"
	touch $@

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) $(LOWERING_VENV) $(OLDEST_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis demo-artifact
