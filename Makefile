# Two commands: `make serve` and `make test`. Everything they install lands in .venv.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
PORT ?= 3000
CONSOLE_PORT ?= 8070
VENV := .venv
BIN := $(VENV)/bin
RUN := PYTHONPATH=. $(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export BENTOML_DO_NOT_TRACK := True
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
RUNS ?= 200000
MINUTES ?= 2
NAME ?= text_pattern
EXAMPLE := .work/examples/$(NAME)/venv
# Image and infrastructure have targets of their own.
TESTS := --ignore=tests/infra --ignore=tests/image

.PHONY: help serve example example-champion setup demo console test test-all nightly coverage check train year acceptance fuzz bench \
  loadtest soak simulate infra-test rehearse image-test ci wheel release load-staging lock clean

help:  ## show this list
	@awk '/^##@ /{printf "\n%s\n", substr($$0, 5)} \
	  match($$0, /^[a-z-]+:.*## /){split($$0, part, ":.*## "); printf "  %-16s %s\n", part[1], part[2]}' \
	  $(MAKEFILE_LIST)

##@ Use
serve: $(VENV)/.serving  ## serve the shipped model on PORT (default 3000)
	DIGITS_PORT=$(PORT) PYTHONPATH=. exec $(BIN)/python -m serving

setup: $(VENV)/.all  ## install everything into .venv

demo: $(VENV)/.all  ## service, console and reports with a made-up month of mail; touches no other data
	PYTHONPATH=. exec $(BIN)/python -m monitoring.studies.demo $(ARGS)

console: $(VENV)/.all  ## the pages for people: keying, sites, models (CONSOLE_PORT, default 8070)
	PYTHONPATH=. exec $(BIN)/python -m console --port $(CONSOLE_PORT)

train: $(VENV)/.all  ## fetch data, fit, export, quantize, evaluate, gate, promote (80 epochs; 27 s each on two AVX2 cores)
	$(RUN) -m training run --until promote

example: example-champion  ## another team's model (NAME: a folder of examples/) on the same rails, on PORT
	DIGITS_PORT=$(PORT) PYTHONPATH=. exec $(EXAMPLE)/bin/python -m serving --app examples.$(NAME).service:build

example-champion: $(EXAMPLE)/.set  ## install the packages of NAME and make its champion, if none is shipped
	PYTHONPATH=. $(EXAMPLE)/bin/python -m examples.champion $(NAME)

##@ Test
test: $(VENV)/.all  ## all tests except the slow ones, in parallel (12 min at most)
	$(RUN) -m pytest -n auto --dist loadfile -m "not slow and not nightly" $(TESTS)

test-all: test .venv-kserve/.set .venv-openapi/.set  ## test, then the slow ones: crash runs, real servers, PostgreSQL, browsers, KServe (9 min more)
	$(RUN) -m pytest -n 2 --dist loadfile -m slow $(TESTS)

coverage: $(VENV)/.all  ## lines and branches that make test does not reach
	$(RUN) -m pytest -n auto --dist loadfile -m "not slow and not nightly" $(TESTS) --cov --cov-report=term:skip-covered

check: $(VENV)/.all  ## ruff, ruff format, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

infra-test: $(VENV)/.all .venv-infra/.set .venv-checkov/.set  ## prove the AWS stacks, without an account
	.venv-infra/bin/mypy -p infra
	PYTHONPATH=. .venv-infra/bin/python -m pytest -c tests/infra/pytest.ini tests/infra

rehearse: $(VENV)/.all .venv-infra/.set .venv-aws/.set  ## run the commands of docs/deploy.md against an emulated account
	PATH=$$PWD/.venv-aws/bin:$$PATH PYTHONPATH=.:tests/infra .venv-infra/bin/python -m rehearsal

image-test: $(VENV)/.all  ## build the image without Docker, run it hardened, put load on it
	PYTHON=$(BIN)/python bash deploy/image.sh

year: $(VENV)/.all  ## a simulated year of mail, retrained each month (20 min; ARGS="--mail FOLDER --out FOLDER")
	$(RUN) -m training year $(ARGS)

acceptance: $(VENV)/.all  ## faults against the running service: kills, drains, floods (15 min)
	$(RUN) -m tests.acceptance $(ARGS)

fuzz: $(VENV)/.all  ## RUNS (default 200000) mutated files through the decoder, the slowest file, every body
	$(RUN) tests/fuzz/crop.py -runs=$(RUNS) 2>&1 | tail -3
	$(RUN) -m tests.fuzz.decode_time --seconds $$(($(RUNS) / 5000))
	$(RUN) tests/fuzz/api_bodies.py --requests $$(($(RUNS) / 40))

ci:  ## what CI runs on a clean clone: tools that pip cannot install, then every check and test
	bash .ci/run

nightly: test-all check infra-test rehearse image-test  ## every check and test at full size (2 h)
	$(BIN)/pip install -q -r requirements-bulk.txt
	$(RUN) -m pytest -m nightly $(TESTS)
	$(MAKE) fuzz RUNS=2000000
	$(MAKE) acceptance soak
	$(MAKE) bench ARGS="--out results/bench-nightly.json"

##@ Measure
bench: $(VENV)/.all  ## our service against its peers, one table (45 min; ARGS=--quick)
	$(RUN) -m loadtest bench $(ARGS)

loadtest: $(VENV)/.all  ## start the service, MINUTES (default 2) at 100 RPS and a truck's burst, judge
	$(RUN) -m loadtest local --minutes $(MINUTES)

soak: $(VENV)/.all  ## half an hour at 100 RPS: memory and latency drawn and judged
	$(RUN) -m loadtest soak $(ARGS)

simulate: $(VENV)/.all  ## tasks, latency and cost under trucks, as deployed and 24 other ways
	$(RUN) -m loadtest simulate --arrivals trucks --sweep $(ARGS)

##@ Release
wheel: $(VENV)/.all  ## build the scanner SDK, with the model in it, into dist/
	$(BIN)/python -m build --no-isolation --outdir dist ./sdk

release: .venv-infra/.set  ## build, scan and push both images for STAGE, wait for the canary (BUILD: a unique number)
	PYTHON=.venv-infra/bin/python bash deploy/release.sh

load-staging: $(VENV)/.all  ## put the planned load on HOST with the key LOAD_KEY, judge it by the SLO
	$(RUN) -m loadtest run trucks --host $(HOST) --keys-file <(printenv LOAD_KEY)

##@ Maintain
lock:  ## compile requirements-serving.txt (with hashes) and requirements.txt anew
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" requirements-serving.in -o requirements-serving.txt
	rm -rf .work/lock && $(PYTHON) -m venv .work/lock
	grep -v '^-r' requirements.in | cat - requirements-serving.in > .work/lock/all.in
	.work/lock/bin/pip install -q -r .work/lock/all.in
	(echo "# Generated by make lock from requirements.in and requirements-serving.in."; \
	  .work/lock/bin/pip freeze | sed 's/+cpu$$//') > requirements.txt

clean:  ## remove what the targets made; keeps models, captures and downloads
	rm -rf $(VENV) .work .pytest_cache .mypy_cache .ruff_cache

$(EXAMPLE)/.set: requirements-serving.txt examples/$(NAME)/requirements.txt
	test -x $(EXAMPLE)/bin/python || $(PYTHON) -m venv $(EXAMPLE)
	$(EXAMPLE)/bin/pip install -q --require-hashes -r requirements-serving.txt
	$(EXAMPLE)/bin/pip install -q -r examples/$(NAME)/requirements.txt
	@touch $@

# A stamp per set, so that a second run starts in seconds.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit( \
	  "Python 3.11 or newer is needed; this is %d.%d. Try: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)

# KServe's client conflicts with our pins.
.venv-kserve/.set:
	$(PYTHON) -m venv .venv-kserve
	.venv-kserve/bin/pip install -q kserve==0.21.0
	@touch $@

# openapi-python-client conflicts with our pins, too. Without npm the TypeScript client is not checked.
.venv-openapi/.set: tests/serving/api/generators/package-lock.json
	$(PYTHON) -m venv .venv-openapi
	.venv-openapi/bin/pip install -q openapi-python-client==0.29.1
	command -v npm >/dev/null && npm ci --silent --prefix tests/serving/api/generators || true
	@touch $@

.venv-infra/.set: infra/requirements.txt
	test -x .venv-infra/bin/python || $(PYTHON) -m venv .venv-infra
	.venv-infra/bin/pip install -q -r infra/requirements.txt
	@touch $@

# The AWS command line pins another botocore. Version 2 is no Python package; these commands are the same in both.
.venv-aws/.set:
	$(PYTHON) -m venv .venv-aws
	.venv-aws/bin/pip install -q awscli==1.45.11
	@touch $@

.venv-checkov/.set: infra/requirements-checkov.txt
	test -x .venv-checkov/bin/python || $(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/pip install -q -r infra/requirements-checkov.txt
	@touch $@

$(VENV)/.serving: requirements-serving.txt | $(VENV)/bin/python
	@echo "installing the serving set into $(VENV): about a minute"
	@$(BIN)/pip install -q --require-hashes -r requirements-serving.txt
	@touch $@

$(VENV)/.all: requirements.txt $(VENV)/.serving
	@echo "installing everything into $(VENV): 2.9 GB, some minutes"
	@$(BIN)/pip install -q -r requirements.txt
	@touch $@
