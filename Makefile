# Every target does its own set-up, once, and again when pyproject.toml or constraints.txt change.
# ARGS passes arguments on (make serve ARGS="--port 9000"), GPU=1 installs the CUDA build of PyTorch, PYTHON=... names the interpreter.

.DEFAULT_GOAL := help
.PHONY: help serve test check format bench fuzz soak clean

RUN := .venv/bin/python -m
SETUP := pyproject.toml constraints.txt .ci/install

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

serve: .venv/.installed ## open the server at http://127.0.0.1:8080
	.venv/bin/reenact serve $(ARGS)

# Threads of PyTorch that spin while they wait take the two cores from whatever runs beside them: the browser, the server, another engine.
test bench fuzz soak: export GOMP_SPINCOUNT = 0
# As `reenact` itself has it. Once a benchmark waited for a thread of OpenBLAS that was gone, for ever.
test bench fuzz soak: export OPENBLAS_NUM_THREADS = 1

# What measures rates and delays has both cores to itself, at the end.
test: .venv/.installed-dev ## run every test; ARGS="tests/unit -k word" for some
	@.ci/system-packages test
ifeq ($(ARGS),)
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone" tests/unit tests/fuzz tests/e2e
	$(RUN) pytest -m alone tests/e2e
else
	$(RUN) pytest $(ARGS)
endif

check: .venv/.installed-dev ## lint, format and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: .venv/.installed-dev ## put the sources into the one format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

bench: .venv/.installed-dev ## how fast, as ratios to a reference run beside it; one JSON line last
	$(RUN) tests.benchmark $(ARGS)

fuzz: .venv/.installed-dev ## 10,000 damaged inputs of each kind; an hour. ARGS="--count 1000 offers" for less
	$(RUN) tests.fuzz $(ARGS)

soak: .venv/.installed-dev ## an hour of use and an hour of faults; ARGS="--minutes 2" for less
	@.ci/system-packages test
	$(RUN) tests.soak $(ARGS)

clean: ## remove what can be made again
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info

.venv/.installed: $(SETUP)
	@.ci/system-packages serve
	.ci/install
	@touch $@

.venv/.installed-dev: $(SETUP)
	@.ci/system-packages serve
	.ci/install dev
	@touch .venv/.installed $@
