# mil_ros on a machine without ROS. With ROS 2 installed, use colcon instead (README).

MIL := .venv/bin/mil
PYTHON3 := .venv/bin/python

TASK ?= reach
COLLECT_ARGS ?= --tasks 800 --demos 6 --workers 2
TRAIN_ARGS ?=
PROCESSES ?= 2
DEMO_ARGS ?=
ABLATION_STEPS ?= 1000
ABLATION_TRIALS ?= 222
PLOT_TASKS ?= 100 400 800
PLOT_INNER_STEPS ?= 1 2 3 5
TEST_ARGS ?=

# Pushing takes twice the training: it starts again from what it has learned, at the full rate.
# A policy for video-only demonstrations goes on from the one for full demonstrations.
TWICE = push
FAMILY = $(patsubst %-video,%,$(TASK))
VIDEO = --option modality=video --option frames=6 --option demo_frames=6 --steps 2000
TRAIN = OMP_NUM_THREADS=1 .venv/bin/torchrun --nproc-per-node $(PROCESSES) -m mil_ros.tools.cli \
    train --data data/$(FAMILY)-train $(COMPILED)
COMPILED = --option compiled=true
TRIALS = --trials 444 --seed 1

# A sourced ROS workspace would shadow the packages of .venv.
ifdef AMENT_PREFIX_PATH
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint types format collect train baselines ablations plots clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv with everything in it; PYTHON=/path/to/python3.12 chooses the Python
	@PYTHON='$(PYTHON)' python3 bootstrap/bootstrap.py

demo: setup  ## the whole loop on the simulated arm; DEMO_ARGS=... for mil demo
	@$(MIL) demo --episodes 10 --json demo/report.json $(DEMO_ARGS)

test: setup lint types  ## lint, types and all tests; TEST_ARGS=... for pytest
	@ROS_PYTHON_CHECK_FIELDS=1 OMP_NUM_THREADS=1 $(PYTHON3) -m pytest $(TEST_ARGS)

lint: setup  ## ruff: rules and format
	@$(PYTHON3) -m ruff check
	@$(PYTHON3) -m ruff format --check

types: setup  ## mypy
	@$(PYTHON3) -m mypy

format: setup  ## rewrite the code in the house format
	@$(PYTHON3) -m ruff check --fix
	@$(PYTHON3) -m ruff format

collect: setup  ## record demonstrations of many tasks in simulation; TASK=reach
	$(MIL) collect --task $(FAMILY) --out data/$(FAMILY)-train $(COLLECT_ARGS)

train: collect  ## from nothing to a bundle in models/; TASK=reach, push-video, ...
ifneq ($(filter $(TWICE),$(FAMILY)),)
	$(TRAIN) --out runs/$(FAMILY)-first $(TRAIN_ARGS)
	$(TRAIN) --out runs/$(FAMILY) --start-from runs/$(FAMILY)-first/last.safetensors $(TRAIN_ARGS)
else
	$(TRAIN) --out runs/$(FAMILY) $(TRAIN_ARGS)
endif
	$(MIL) export runs/$(FAMILY)/last.safetensors --out models/$(FAMILY)
ifneq ($(TASK),$(FAMILY))
	$(TRAIN) --out runs/$(TASK) --start-from runs/$(FAMILY)/last.safetensors $(VIDEO) $(TRAIN_ARGS)
	$(MIL) export runs/$(TASK)/last.safetensors --out models/$(TASK)
endif

baselines: collect  ## train and evaluate what MIL is compared with; TASK=reach
	@set -f; grep -v '^#' config/train/baselines.txt | while read -r name options; do \
	  run=runs/$(FAMILY)-$$name; set --; \
	  for option in $$options; do set -- "$$@" --option "$$option"; done; \
	  $(MIL) train --data data/$(FAMILY)-train --out $$run $(COMPILED) "$$@" </dev/null && \
	  $(MIL) evaluate $$run/last.safetensors $(TRIALS) --json docs/results/$(FAMILY)-$$name.json \
	    || exit 1; \
	done
	$(MIL) evaluate runs/$(FAMILY)-full-bc/last.safetensors --finetune 20 $(TRIALS) \
	  --json docs/results/$(FAMILY)-full-finetune.json
	@set -e; for name in replay align-and-replay random expert; do \
	  $(MIL) evaluate $$name --task $(FAMILY) $(TRIALS) --json docs/results/$(FAMILY)-full-$$name.json; \
	done
	$(MIL) evaluate --table

plots: collect  ## train and evaluate what the plots of docs/results.md show; TASK=reach
	@set -e; for tasks in $(PLOT_TASKS); do \
	  data=data/$(FAMILY)-$$tasks; run=runs/$(FAMILY)-tasks-$$tasks; \
	  $(MIL) collect --task $(FAMILY) --out $$data $(COLLECT_ARGS) --tasks $$tasks; \
	  $(MIL) train --data $$data --out $$run $(COMPILED) --steps $(ABLATION_STEPS); \
	  $(MIL) evaluate $$run/last.safetensors --trials $(ABLATION_TRIALS) --seed 1 \
	    --json docs/results/tasks/$(FAMILY)-$$tasks.json; \
	done
	@set -e; for steps in $(PLOT_INNER_STEPS); do \
	  $(MIL) evaluate runs/$(FAMILY)-tasks-800/last.safetensors --inner-steps $$steps --seed 1 \
	    --trials $(ABLATION_TRIALS) --json docs/results/inner_steps/$(FAMILY)-$$steps.json; \
	done
	$(MIL) evaluate --table

# All rows in one precision, whatever is fastest here, but for the one that is about precision.
ablations: collect  ## train and evaluate what config/train/ablations.txt lists; TASK=reach
	@set -f; grep -v '^#' config/train/ablations.txt | while read -r name options; do \
	  run=runs/ablation-$(TASK)-$$name; set -- --option precision=bfloat16; \
	  for option in $$options; do set -- "$$@" --option "$$option"; done; \
	  $(MIL) train --data data/$(FAMILY)-train --out $$run --steps $(ABLATION_STEPS) "$$@" </dev/null && \
	  $(MIL) evaluate $$run/last.safetensors --trials $(ABLATION_TRIALS) --seed 1 \
	    --json docs/results/ablations/$(TASK)-$$name.json || exit 1; \
	done
	$(MIL) evaluate --table

clean:  ## remove what builds and tests leave; .venv, data/ and runs/ stay
	@rm -rf build install log demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find mil_ros test bootstrap -name __pycache__ -prune -exec rm -rf {} +
