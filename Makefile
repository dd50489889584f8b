# make demo | test | lint | bench: each sets up .venv by itself and reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
STAMP := $(VENV)/.installed-$(EXTRAS)

.PHONY: demo test lint browser bench eval-tiny clean docker-check constraints release docs
.DEFAULT_GOAL := demo

# uv is many times faster than pip: the system's if there is one, else one of our own inside .venv.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null 2>&1 || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv || true
	@if command -v uv >/dev/null 2>&1; then UV=uv; elif [ -x $(BIN)/uv ]; then UV=$(BIN)/uv; else UV=; fi; \
	if [ -n "$$UV" ]; then $$UV pip install --quiet --python $(BIN)/python -e '.[$(EXTRAS)]'; \
	else $(BIN)/python -m pip install --quiet -e '.[$(EXTRAS)]'; fi
	@touch $@

demo:
	@$(MAKE) --no-print-directory EXTRAS=plot demo-run

demo-run: $(STAMP)
	@mkdir -p out
	$(BIN)/darius generate examples/loops/loop_garzul.flac --bars 8 --out out/garzul_continued.wav --force --plot out/garzul_continued.png

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint browser
	$(BIN)/pytest --cov --cov-report=term

# The tester's tests drive Chromium: root on Debian gets it here; elsewhere, without it, they are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium >/dev/null; fi || \
	echo "Chromium could not be installed: the tests that need it are skipped."

bench: $(STAMP)
	$(BIN)/darius bench

# Every number of the model card: an hour of two cores, minutes on a GPU.
eval-tiny: $(STAMP)
	$(BIN)/python -m recipes.tiny.evaluate --json out/eval-tiny.json

# The Dockerfiles' install lines, commands and health checks, run without a container engine; gigabytes of wheels.
docker-check: $(STAMP)
	$(BIN)/hadolint Dockerfile.*
	$(BIN)/python docker/check.py --uv "$$(command -v uv || echo $(BIN)/uv)"

# Reference pages made anew, then the site in out/site, every link checked.
docs: $(STAMP)
	$(BIN)/python tools/reference.py
	$(BIN)/mkdocs build --strict --quiet --site-dir out/site

# Wheel and source archive, each installed alone in a new environment and used there.
release: $(STAMP)
	$(BIN)/python tools/check_release.py --uv "$$(command -v uv || echo $(BIN)/uv)"

# What the images install, at the versions of the environment that the tests ran in.
constraints: $(STAMP)
	@mkdir -p out
	UV="$$(command -v uv || echo $(BIN)/uv)"; $$UV pip freeze --python $(BIN)/python | grep -v '^-e' >out/frozen.txt; \
	$$UV pip compile --quiet pyproject.toml --extra cuda --extra cuda13 --extra convert --extra finetune --extra t5x \
	  --constraint out/frozen.txt --python-version 3.11 --no-header --no-annotate --output-file docker/constraints.txt

clean:
	rm -rf $(VENV) out dist build
