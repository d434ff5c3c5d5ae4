# `make` lists the verbs. Every verb installs the environment first if it is not there; only `setup` ever installs.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
PY := .venv/bin/python
LARE = $(PY) -m workflow
export TORCH ?=

DATA ?=
CACHE ?=
MODEL ?=
OUT ?=
SRC ?=
SHARD ?=
SHARDS ?=
ENGINE ?=
WATCH ?=
DEVICE ?=
CKPT ?=
IMG ?=
DETECTOR ?=
CONFIG ?=
PRESET ?= quick
PHOTOS ?=
GENERATOR_PHOTOS ?=
SWIFT ?=
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable)
ARGS ?=

VARIABLES := PYTHON TORCH DATA CACHE MODEL OUT SRC SHARD SHARDS ENGINE WATCH DEVICE CKPT IMG DETECTOR CONFIG PRESET \
    PHOTOS GENERATOR_PHOTOS CHROMIUM SWIFT ARGS
define newline


endef
# Values are text. Make would run a `$(shell …)` in them, and the shell what ARGS holds beyond words and quotes.
$(foreach name,$(VARIABLES),$(if $(filter-out undefined file,$(origin $(name))), \
    $(eval override $(name) := $$(value $(name))) \
    $(if $(findstring $(newline),$($(name))),$(error $(name) holds a line break, which a recipe cannot pass on))))
$(foreach sign,$$ ` ; & | < > ( ),$(if $(findstring $(sign),$(ARGS)), \
    $(error ARGS holds $(sign) which the shell would act on: run $(LARE) with these flags yourself)))

# $(call quote,VALUE): for the shell, whatever is in it: spaces, apostrophes.
quote = '$(subst ','\'',$(1))'
# $(call flag,--name,VALUE): the flag only where the variable is set, so that a config file's value stands otherwise.
flag = $(if $(2),$(1)=$(call quote,$(2)))

.PHONY: help
help:
	@echo "LaRE² Cache. Verbs (variables: DATA= CACHE= MODEL= OUT= CONFIG= ARGS='…'), on top of $(LARE), or lare:"
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## (.*)/  \1\t\2/' | expand -t 16

.venv/.installed: constraints.txt pyproject.toml
	@$(call quote,$(PYTHON)) scripts/setup_env.py

.PHONY: setup
setup: .venv/.installed  ## install .venv with the pinned versions (TORCH=cpu|cuda|cu126…)

.PHONY: demo
demo: .venv/.installed  ## both stages on real photographs with two toy diffusion models → runs/demo (OUT=)
	$(LARE) demo $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: toy-benchmark
toy-benchmark: .venv/.installed  ## does LaRE see more than smoothness? PHOTOS=folder of <class>/… (GENERATOR_PHOTOS=) → runs/toy-benchmark
	$(LARE) question toy-benchmark $(call flag,--photos,$(PHOTOS)) \
	    $(call flag,--generator_photos,$(GENERATOR_PHOTOS)) $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: caches
caches: .venv/.installed  ## what `make ablate` reads: sweeps of timesteps, ensemble sizes, precisions (PRESET= or CONFIG=)
	$(LARE) question caches --config=$(call quote,$(or $(CONFIG),toy-$(PRESET))) $(call flag,--data,$(DATA)) \
	    $(call flag,--cache,$(CACHE)) $(call flag,--model,$(MODEL)) $(ARGS)

.PHONY: ablate
ablate: .venv/.installed  ## one table of all settings that caches alone can compare, no UNet (PRESET=quick|full or CONFIG=)
	$(LARE) question ablate --config=$(call quote,$(or $(CONFIG),toy-$(PRESET))) $(call flag,--data,$(DATA)) \
	    $(call flag,--cache,$(CACHE)) $(call flag,--model,$(MODEL)) $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: report
report: .venv/.installed  ## a study's answers as a page → runs/report.html (PRESET= or CONFIG= as of `make ablate`; neither: those of docs/RESULTS.md)
	$(LARE) question report $(call flag,--config,$(or $(CONFIG),$(if $(filter-out file,$(origin PRESET)),toy-$(PRESET)))) $(call flag,--out,$(OUT)) $(call flag,--data,$(DATA)) $(ARGS)

.PHONY: shards
shards: .venv/.installed  ## pack a folder, a GenImage tree, an annotation file or a table: SRC= OUT=new folder
	$(LARE) pack $(call flag,--config,$(CONFIG)) $(call flag,--src,$(SRC)) $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: prefetch
prefetch: .venv/.installed  ## fetch the models that settings name, for nodes without internet (CONFIG=; else sd15 and lare2)
	$(LARE) prefetch $(if $(CONFIG),--config=$(call quote,$(CONFIG)),--config=sd15 --config=lare2) $(call flag,--model,$(MODEL)) $(ARGS)

.PHONY: extract
extract: .venv/.installed  ## LaRE of a tar into the cache: SHARD=n | 0-31 | 3,7,9 | all (CONFIG=sd15)
	$(LARE) extract --config=$(call quote,$(or $(CONFIG),sd15)) $(call flag,--data,$(DATA)) $(call flag,--cache,$(CACHE)) \
	    $(call flag,--model,$(MODEL)) $(call flag,--shard,$(SHARD)) $(ARGS)

.PHONY: canvases
canvases: .venv/.installed  ## canvases for training without any model: DATA= CACHE=folder of their own (SHARD=all)
	$(LARE) canvases $(call flag,--config,$(CONFIG)) $(call flag,--data,$(DATA)) $(call flag,--cache,$(CACHE)) \
	    $(call flag,--shard,$(SHARD)) $(ARGS)

.PHONY: launch
launch: .venv/.installed  ## the same as tasks: ENGINE=slurm (a job array) or local (a process a GPU), SHARD=all
	$(LARE) launch --config=$(call quote,$(or $(CONFIG),sd15)) $(call flag,--engine,$(ENGINE)) $(call flag,--data,$(DATA)) \
	    $(call flag,--cache,$(CACHE)) $(call flag,--model,$(MODEL)) $(call flag,--shard,$(or $(SHARD),$(SHARDS))) $(ARGS)

.PHONY: noise-study
noise-study: .venv/.installed  ## how much of LaRE is chance, by ensemble size and source: DATA= MODEL= OUT=file.csv
	$(LARE) noise-study $(call flag,--config,$(CONFIG)) $(call flag,--data,$(DATA)) $(call flag,--model,$(MODEL)) \
	    $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: status
status: .venv/.installed  ## what of DATA= is in CACHE=: done, missing, stale, rejected; WATCH=1: the tasks at work
	$(LARE) $(if $(WATCH),watch,status) $(call flag,--data,$(DATA)) $(call flag,--cache,$(CACHE)) $(ARGS)

.PHONY: verify
verify: .venv/.installed  ## the same, with every checksum and every join checked; ARGS=--deep: every image too
	$(LARE) verify $(call flag,--data,$(DATA)) $(call flag,--cache,$(CACHE)) $(ARGS)

.PHONY: train
train: .venv/.installed  ## train the detector from tars and cache (CONFIG=lare2)
	$(LARE) fit --config=$(call quote,$(or $(CONFIG),lare2)) $(call flag,--data,$(DATA)) $(call flag,--cache,$(CACHE)) \
	    $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: eval
eval: .venv/.installed  ## score the test tars: CKPT=<run>/checkpoints/best.ckpt DATA= CACHE= → <run>/results.json (OUT=)
	out=$(call quote,$(OUT)); out="$${out:-$$(dirname "$$(dirname $(call quote,$(CKPT)))")}"; \
	$(LARE) predict $(call flag,--ckpt,$(CKPT)) $(call flag,--data,$(DATA)) $(call flag,--cache,$(CACHE)) \
	    --overwrite $(ARGS) --out "$$out" --predictions.path predictions.parquet && \
	$(LARE) evaluate $(call flag,--data,$(DATA)) $(call flag,--cache,$(CACHE)) \
	    --readings detector="$$out/predictions.parquet" --out "$$out/results.json"

.PHONY: detect
detect: .venv/.installed  ## a verdict on a picture, folder or tar: IMG= DETECTOR=folder (MODEL= OUT=results.csv)
	$(LARE) detect $(call flag,--files,$(IMG)) $(call flag,--detector,$(DETECTOR)) $(call flag,--model,$(MODEL)) \
	    $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: calibrate
calibrate: .venv/.installed  ## a detector from photographs alone: PHOTOS= OUT=new folder (MODEL=diffusers folder CONFIG=sd15)
	$(LARE) calibrate $(call flag,--photos,$(PHOTOS)) --config=$(call quote,$(or $(CONFIG),sd15)) \
	    $(call flag,--model,$(MODEL)) $(call flag,--out,$(OUT)) $(ARGS)

.PHONY: serve
serve: .venv/.installed  ## verdicts on a web page and over HTTP at 127.0.0.1:8000: DETECTOR=folder (MODEL= ARGS='--port 9000')
	$(LARE) serve $(call flag,--config,$(CONFIG)) $(call flag,--detector,$(DETECTOR)) $(call flag,--model,$(MODEL)) $(ARGS)

.PHONY: bench
bench: .venv/.installed  ## the measured comparisons → runs/bench.json (DEVICE=cuda; ARGS=--all for SD 1.5 shapes)
	$(LARE) bench $(call flag,--out,$(OUT)) $(call flag,--device,$(DEVICE)) $(ARGS)

.PHONY: bench-storage
bench-storage: .venv/.installed $(if $(SWIFT),,.venv-swift/.installed)  ## extraction and training epochs from an S3 server on this machine (Swift), beside its disk
	SWIFT=$(call quote,$(SWIFT)) $(PY) -m tests.object_storage.beside bench \
	    $(PY) -m bench --measures extraction_bucket_over_disk --storage s3://bench/measured \
	    --out $(call quote,$(or $(OUT),runs/bench-storage.json)) $(ARGS)

.PHONY: bench-scale
bench-scale: .venv/.installed  ## metadata of 2.68, 20 and 100 million samples (10 GB of disk): opening, planning, status, an epoch's plan
	$(PY) -m bench.measures.scale $(ARGS)

.PHONY: gpu-check
gpu-check: .venv/.installed  ## every claim about a GPU, measured on one in ten minutes → runs/gpu-check.md
	$(PY) -m bench.gpu $(call flag,--out,$(OUT)) $(call flag,--device,$(DEVICE)) $(ARGS)

# One worker a core, one thread a worker; each begins with a run of neighbouring modules, so that most fixtures are built once.
IN_PARALLEL := -n auto --maxprocesses=8 --dist=worksteal

.PHONY: test
test: .venv/.installed  ## the quick suite: CPU, offline
	$(PY) -m pytest -q $(IN_PARALLEL) -m "not slow and not gpu and not network and not slurm and not browser and not s3"

.PHONY: test-slow
test-slow: .venv/.installed  ## kills, resumes, several processes
	$(PY) -m pytest -q $(IN_PARALLEL) -m "slow and not gpu and not network and not slurm and not browser and not s3"

.PHONY: test-browser
test-browser: .venv/.installed  ## the web page in a real Chromium: Debian's package chromium, or CHROMIUM=program
	@test -n $(call quote,$(CHROMIUM)) || \
	    { echo "error: no Chromium was found: install Debian's package chromium, or name one with CHROMIUM=" >&2; exit 1; }
	CHROMIUM=$(call quote,$(CHROMIUM)) $(PY) -m pytest -q -m browser tests/detect/server

.PHONY: test-formats
test-formats: .venv/.installed  ## stores and datasets with another Python (3.13, 3.12 or 3.14) and the newest libraries
	$(PY) scripts/test_formats.py $(ARGS)

.PHONY: test-slurm
test-slurm: .venv/.installed  ## a real SLURM on this machine: an array that is killed and launched again
	$(PY) -m pytest -q -m slurm tests/slurm

# Swift and all that it needs, in an environment of its own: its packages meet none of the project's.
.venv-swift/.installed: scripts/swift-packages.txt
	$(call quote,$(PYTHON)) -m venv --clear .venv-swift
	.venv-swift/bin/python -m pip install --quiet --requirement scripts/swift-packages.txt
	touch $@

.PHONY: test-s3
test-s3: .venv/.installed $(if $(SWIFT),,.venv-swift/.installed)  ## places in object storage, against a real S3 server on this machine (Swift)
	SWIFT=$(call quote,$(SWIFT)) $(PY) -m pytest -q -n 2 -m s3 tests/object_storage

.PHONY: format
format: .venv/.installed  ## format the code and sort imports
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.PHONY: docs
docs: .venv/.installed  ## the documentation as a site, every link checked → runs/site/index.html
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet $(call flag,--site-dir,$(OUT))

.PHONY: check
check: .venv/.installed  ## format, lint, layers, types, both suites: what CI runs
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	.venv/bin/lint-imports
	$(PY) -m mypy cache_schema extract train detect
	$(MAKE) docs
	$(MAKE) test
	$(if $(CHROMIUM),$(MAKE) test-browser,@echo "no Chromium was found: the tests of the web page are left out")
	$(MAKE) test-formats
	$(MAKE) test-s3
	$(MAKE) test-slow
