# Two commands for a newcomer: `make demo` and `make test`. Both install what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data

# Idle threads spin for a moment only, in programs that import torch before Medley too (Medley sets the same by itself):
# on cores that others use too, longer spinning costs a factor of ten and more.
ifeq ($(OMP_WAIT_POLICY),)
export GOMP_SPINCOUNT ?= 100000
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo serve-demo demo-media test check format results-tiktok audits tastes feature-scale defaults new-items docs bench bench-peers clean

help:  ## show this list
	@grep -E '^[a-z0-9%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/.installed  ## create .venv and install Medley with everything that development needs

# The stamp makes later calls instant; a change of the pins or of the dependencies installs again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Medley needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt "pip>=25.1"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[plots,media,serve,tune,track]" --group dev
	touch $@

demo: setup  ## simulate a catalogue, train six models, compare them, recommend, write demo/report.html
	$(BIN)/medley demo --out demo

demo-media: setup  ## render a catalogue as media, extract its features, train, compare with random features, recommend
	$(BIN)/medley demo-media --out demo-media

serve-demo: setup  ## export what `make demo` trained, and serve it with a page at http://127.0.0.1:8000
	test -e demo/runs/mmgcn/run.json || $(MAKE) demo
	$(BIN)/medley export demo/runs/mmgcn --out demo/shop.medley --overwrite
	$(BIN)/medley serve demo/shop.medley

test: setup  ## run the tests (those that need real data look for it in DATA)
	MEDLEY_DATA=$(DATA) $(BIN)/python -m pytest

check: setup  ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

format: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

results-tiktok: setup  ## the table of docs/results/tiktok.md, from the data in DATA/tiktok
	$(BIN)/python tools/results_page.py --data $(DATA)/tiktok --out docs/results/tiktok.md

# Studies of docs/results/studies: `make results-lfm2k-controls` writes docs/results/lfm2k-controls.md. Runs are shared.
RESULTS := runs/results
JOBS ?= 2

$(RESULTS)/data/lfm2k/manifest.json: | setup
	$(BIN)/medley import mmrec $(DATA)/lfm2k --out $(@D) --features textual=all-MiniLM-L6-v2.npy \
		--features acoustic=vggish.npy --features speech=whisper.npy

$(RESULTS)/data/tiktok/manifest.json: | setup
	$(BIN)/medley import csv $(DATA)/tiktok --out $(@D)

$(RESULTS)/data/tiktok-random/manifest.json: | setup
	$(BIN)/medley import csv $(DATA)/tiktok --out $(@D) --split random-user

$(RESULTS)/data/ml-100k/manifest.json: | setup
	$(BIN)/medley import recbole $(DATA)/ml-100k --out $(@D) --rating-threshold 4 --split time-user
	$(BIN)/medley extract $(@D) --text title,class --textual minilm

$(RESULTS)/data/microlens-50k/manifest.json: | setup
	$(BIN)/medley import sequences $(DATA)/microlens-50k --out $(@D) --split leave-one-out
	$(BIN)/medley extract $(@D) --text title --textual minilm

data-%: $(RESULTS)/data/%/manifest.json ;  ## a data set of the benchmark: microlens-50k, lfm2k, ml-100k, tiktok, tiktok-random

define study
	$(BIN)/medley study docs/results/studies/$(2).toml $(RESULTS)/data/$(1) --out $(RESULTS)/$(3) --runs $(RESULTS)/runs \
		--jobs $(JOBS) --threads 1
	$(BIN)/python tools/study_page.py --results $(RESULTS)/$(3) --out docs/results/$(3).md --made-by "make $@"
endef

results-lfm2k-%: $(RESULTS)/data/lfm2k/manifest.json  ## a page of LastFM: comparison, controls, missing, ...
	$(call study,lfm2k,$*,lfm2k-$*)

results-ml-100k-%: $(RESULTS)/data/ml-100k/manifest.json  ## a page of MovieLens 100K: splits
	$(call study,ml-100k,$*,ml-100k-$*)

results-tiktok-%: $(RESULTS)/data/tiktok/manifest.json  ## a page of TikTok: missing, modality, depth, cold, controls
	$(call study,tiktok,$(if $(wildcard docs/results/studies/tiktok-$*.toml),tiktok-$*,$*),tiktok-$*)

AUDITED := tiktok tiktok-random microlens-50k lfm2k ml-100k

audits: $(AUDITED:%=$(RESULTS)/data/%/manifest.json)  ## the pages of docs/audits
	for name in $(AUDITED); do \
		$(BIN)/medley audit $(RESULTS)/data/$$name --format markdown --out docs/audits/$$name.md || exit 1; \
	done

# A data set where all models take too long has a declaration of its own: benchmark-microlens-50k.toml.
declared = $(if $(wildcard docs/results/studies/$(1)-$(2).toml),$(1)-$(2),$(1))

benchmark-%: $(RESULTS)/data/%/manifest.json  ## a page of the benchmark: microlens-50k, lfm2k, ml-100k, tiktok-random
	$(call study,$*,$(call declared,benchmark,$*),benchmark-$*)

flagship-%: $(RESULTS)/data/%/manifest.json  ## Mosaic without its parts: microlens-50k, lfm2k, ml-100k
	$(call study,$*,$(call declared,flagship,$*),flagship-$*)

intents-%: $(RESULTS)/data/%/manifest.json  ## models of intents against others, as HUIGN's paper compares them: any data set
	$(call study,$*,$(call declared,intents,$*),intents-$*)

cold-neighbours-%: $(RESULTS)/data/%/manifest.json  ## items without interactions, by their neighbours: any data set
	$(call study,$*,$(call declared,cold-neighbours,$*),cold-neighbours-$*)

new-items: $(RESULTS)/data/microlens-50k/manifest.json  ## items that come after the training; needs the runs of make benchmark-microlens-50k
	$(BIN)/python tools/new_items_page.py --results $(RESULTS)/benchmark-microlens-50k --runs $(RESULTS)/runs --data $(<D) \
		--out docs/results/new-items.md

docs: setup  ## docs/models.md, from the docstrings of the models and the measured results
	$(BIN)/python tools/models_page.py --results docs/results/tiktok.json --out docs/models.md

tastes: setup  ## do models find the tastes that the simulator planted? writes docs/results/tastes.md
	$(BIN)/python tools/tastes_page.py --out docs/results/tastes.md

feature-scale: setup  ## what does the scale of the features change? writes docs/results/feature-scale.md
	$(BIN)/python tools/scale_page.py --data $(DATA) --out docs/results/feature-scale.md

DEFAULTS_ON ?= lfm2k ml-100k tiktok-random microlens-50k
MINUTES ?= 60

defaults: $(DEFAULTS_ON:%=data-%)  ## what do the defaults leave to tuning? docs/results/defaults.md; goes on where it stopped
	$(BIN)/python tools/defaults_page.py --data $(RESULTS)/data --runs $(RESULTS)/runs --out docs/results/defaults.md --on $(DEFAULTS_ON) \
		--minutes $(MINUTES)

bench: setup  ## time operators, epochs and evaluation; opponents (torch-geometric) in the same run
	$(BIN)/python benchmarks/operators.py
	$(BIN)/python benchmarks/training.py --data $(DATA)/tiktok --shapes movielens tiktok kwai
	$(BIN)/python benchmarks/training.py --data $(DATA)/tiktok --to 0.087
	$(BIN)/python benchmarks/training.py --scaling
	$(BIN)/python benchmarks/models.py --data $(DATA)/tiktok --shapes movielens tiktok kwai

bench-peers: setup  ## time recbole, cornac and implicit, each in an environment of its own under .venv-peers
	$(BIN)/python benchmarks/peers.py --data $(DATA)/tiktok --install
	$(BIN)/python benchmarks/peers.py --data $(DATA)/tiktok

clean:  ## remove what the commands above made
	rm -rf $(VENV) demo demo-media .pytest_cache .ruff_cache .hypothesis
