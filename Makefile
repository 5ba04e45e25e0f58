# podwatch: `make run` shows it at work on this machine, `make test` tests it.
# Needs Go, Node.js and make; Chromium for the browser test, the Azure CLI and
# Functions Core Tools for deploying.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

GO        ?= go
BENCHMARK := handler/benchmark# a module of its own
# Written last: what an installation that was cut short leaves is not up to date.
NODE_DEPS := infra/local/node_modules/.installed
GOFILES   := $(shell find handler infra -name '*.go' -not -path '*/node_modules/*' -not -path '$(BENCHMARK)/*') go.mod go.sum
EMBEDDED  := $(shell find handler -type f \( -name '*.toml' -o -name '*.jsonl' -o -name '*.json' -o -name '*.html' -o -name '*.css' -o -name '*.js' -o -name '*.svg' \) -not -path '*/testdata/*')

# Azure runs the handler on linux/amd64. `make run` and `make start` stage it for
# this machine instead.
HANDLER_GOOS   ?= linux
HANDLER_GOARCH ?= amd64

# Without git's state, which a checkout of another user refuses; the version comes
# from infra/pack/version.sh. The same sources make the same bytes.
VERSION         := $(shell infra/pack/version.sh)
VERSION_PACKAGE := podwatch/handler/internal/version
BUILD           := $(GO) build -trimpath -buildvcs=false \
	-ldflags '-s -w -X $(VERSION_PACKAGE).version=$(word 1,$(VERSION)) -X $(VERSION_PACKAGE).commit=$(word 2,$(VERSION))'

# The executables, and the staged app with its zip beside it. Not taken from the
# environment: the folder of the app is removed before it is staged.
BIN  := bin
DIST := dist

export CGO_ENABLED ?= 0

# Tests and builds share what is compiled, which they would not with other flags.
export GOFLAGS := $(filter-out -trimpath,$(shell $(GO) env GOFLAGS 2>/dev/null)) -trimpath

.DEFAULT_GOAL := build
.PHONY: build deps run start test race browser-test lint vulncheck fuzz bench bench-beside soak storm faults package release deploy destroy smoke infra-check snapshots check check-fast clean help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: $(BIN)/handler $(BIN)/podwatch ## Build bin/handler and bin/podwatch

$(BIN)/handler: $(GOFILES) $(EMBEDDED) $(BIN)/.version | need-go
	$(BUILD) -o $@ ./handler

$(BIN)/podwatch: $(GOFILES) $(EMBEDDED) $(BIN)/.version | need-go
	$(BUILD) -o $@ ./handler/cmd/podwatch

# Says in a sentence each what is missing here, before anything is made.
need-go need-node:
	@GO="$(GO)" infra/pack/tools.sh $(if $(filter need-go,$@),go,node npm)

# Changes when the version does, so that a commit builds the executables again.
$(BIN)/.version: force | need-go
	@mkdir -p $(BIN)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@
.PHONY: force need-go need-node
force:

deps: $(NODE_DEPS) ## Install the local services (Azurite, Event Hub stand-in, card renderer)

$(NODE_DEPS): infra/local/package.json infra/local/package-lock.json | need-node
	cd infra/local && npm ci --ignore-scripts --no-audit --no-fund
	touch $@
ifeq ($(wildcard infra/local/node_modules/azurite/dist/src/azurite.js),)
$(NODE_DEPS): force
endif

# Nothing is installed or staged, over an app that runs perhaps, before it is known
# that the run can start.
run: need-node $(BIN)/podwatch ## Run the main job here: local host, sample deletions, page with the alerts
	@$(BIN)/podwatch preflight --app "$(DIST)" $(RUN_FLAGS) >/dev/null
	$(MAKE) --no-print-directory deps stage $(FOR_HERE)
	$(BIN)/podwatch run --app "$(DIST)" --local infra/local $(RUN_FLAGS)

FOR_HERE = HANDLER_GOOS="$$($(GO) env GOOS)" HANDLER_GOARCH="$$($(GO) env GOARCH)"

start: HUB_PORT ?= 5672
start: deps need-go ## Run the same app under `func start`, with a local event hub (needs Azure Functions Core Tools): HUB_PORT=
	@command -v func >/dev/null || { echo 'make start needs Azure Functions Core Tools (the command func); make run does without' >&2; exit 1; }
	$(MAKE) --no-print-directory stage $(FOR_HERE)
	cp local.settings.json.example "$(DIST)/local.settings.json"
	exec node infra/local/start.mjs "$(DIST)" "$(HUB_PORT)"

test: deps build ## Run every test
	$(GO) vet ./...
	$(GO) test -vet=off $$($(GO) list ./... | grep -v -E '$(OUTSIDE)')
	$(GO) test -vet=off -tags unmap $(UNMAPPED)
	cd $(BENCHMARK) && $(GO) vet . && $(GO) test -vet=off .
	$(GO) test -vet=off -p 1 $$($(GO) list ./... | grep -E '$(OUTSIDE)')

# These drive the executable from outside, where the race detector sees nothing of
# it, and measure it: each has the machine for itself.
OUTSIDE := /(faulttest|loadtest)$$

# With the tag unmap the memory of a batch is gone when it is closed: what is kept of it
# ends the process.
UNMAPPED := $(addprefix ./handler/internal/,app detect invocation server)

race: deps build ## Run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -vet=off -skip '^TestDocumentationCommandsRun$$' $$($(GO) list ./... | grep -v -E '$(OUTSIDE)|$(DRIVEN)')

# These, and the commands of the documents, run other programs or read files: the race
# detector would see nothing in them.
DRIVEN := /(deploytest|packagetest|infra|pack|version)$$

browser-test: deps build ## Open the page in headless Chromium and look at the cards
	$(MAKE) --no-print-directory stage
	node --test infra/local/browser.test.mjs

lint: ## Formatting, vet, staticcheck, actionlint
	@unformatted=$$(gofmt -l handler infra/pack); test -z "$$unformatted" || { echo "not formatted: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	$(GO) run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck= -pyflakes= .github/workflows/*.yml

vulncheck: ## Known vulnerabilities in what the executables call (asks the Go vulnerability database)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

FUZZTIME ?= 20s
fuzz: ## Run each fuzz target for FUZZTIME
	@grep -rlE '^func Fuzz' handler --include='*_test.go' | xargs -n1 dirname | sort -u | while read -r dir; do \
	  grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$dir/*_test.go | sed 's/func //' | while read -r target; do \
	    echo "$$dir $$target"; $(GO) test ./$$dir -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x; \
	  done; \
	done

bench: ## Run the benchmarks, in a form that benchstat reads
	$(GO) test -run '^$$' -bench . -benchmem ./handler/...

RUNS ?= 15
bench-beside: ## Time whole invocations beside read-only and beside peers: RUNS=
	cd $(BENCHMARK) && $(GO) build -o ../../$(BIN)/benchmark . && ../../$(BIN)/benchmark -runs $(RUNS)

SOAK ?= 30m
soak: ## Keep the handler under full load: SOAK=30m
	cd $(BENCHMARK) && $(GO) build -o ../../$(BIN)/benchmark . && ../../$(BIN)/benchmark -soak $(SOAK)

DELETIONS ?= 50000
storm: deps ## A storm of deletions through the handler, by one caller and by 5,000: DELETIONS=
	STORM=$(DELETIONS) $(GO) test -v -count 1 -timeout 0 -run TestAStormOfDeletions ./handler/cmd/podwatch/internal/loadtest

FAULTS ?= 300
faults: deps ## Seeded runs with faults: one handler, two and four on one storage, and one run with Azure's times: FAULTS=
	FAULT_RUNS=$(FAULTS) $(GO) test -v -count 1 -timeout 0 -run 'TestNothingIsLost|TestHandlersOnOneStorage' ./handler/cmd/podwatch/internal/faulttest
	FAULT_REAL=1 FAULT_SEED=2 FAULT_RUNS=1 $(GO) test -v -count 1 -timeout 0 -run 'TestHandlersOnOneStorage|TestTeamsThatAcceptsLate' ./handler/cmd/podwatch/internal/faulttest

# Without C, the executable needs no library of the machine that it runs on.
# What cannot be built leaves the last staged app as it is.
.PHONY: stage
stage: need-go
	mkdir -p "$$(dirname "$(DIST)")"; staging=$$(mktemp -d "$(DIST).new.XXXXXX"); trap 'rm -rf "$$staging"' EXIT; chmod 755 "$$staging"; \
	cp host.json "$$staging/"; cp -R function_app/. "$$staging/"; \
	CGO_ENABLED=0 GOOS=$(HANDLER_GOOS) GOARCH=$(HANDLER_GOARCH) $(BUILD) -o "$$staging/handler" ./handler; \
	echo '$(word 1,$(VERSION))' >"$$staging/version.txt"; \
	rm -rf "$(DIST)"; mv "$$staging" "$(DIST)"

package: stage ## Stage dist/ and dist.zip for Azure
	$(GO) run -buildvcs=false ./infra/pack -o "$(DIST).zip" "$(DIST)"

# The same sources and the same Go version make the same files. An SBOM also has the
# hash of the program that wrote it: on another system that one differs.
RELEASE   := release
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
SBOM      := CGO_ENABLED=0 $(GO) run -trimpath -buildvcs=false github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -short-purls -noserial -notimestamp -version $(word 1,$(VERSION))
release: package ## The package, the tool for PLATFORMS, SBOMs and checksums, in release/
	rm -rf "$(RELEASE)" && mkdir -p "$(RELEASE)"
	cp "$(DIST).zip" "$(RELEASE)/podwatch-app.zip"
	$(SBOM) -output "$(RELEASE)/podwatch-app.cdx.json" "$(DIST)/handler"
	for platform in $(PLATFORMS); do \
	  tool="$(RELEASE)/podwatch-$${platform/\//-}"; sbom="$$tool.cdx.json"; \
	  if [[ $$platform == windows/* ]]; then tool+=.exe; fi; \
	  CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} $(BUILD) -o "$$tool" ./handler/cmd/podwatch; \
	  $(SBOM) -output "$$sbom" "$$tool"; \
	done
	cd "$(RELEASE)" && sha256=$$(command -v sha256sum || echo shasum -a 256) && sums=$$($$sha256 *) && echo "$$sums" >SHA256SUMS

deploy: package $(BIN)/podwatch ## Create everything in Azure and prove it: SUBSCRIPTION=, LOCATION=, PARAMETERS=
	PACKAGE="$(DIST).zip" PODWATCH="$(BIN)/podwatch" infra/deploy.sh "$(SUBSCRIPTION)" "$(LOCATION)" $(PARAMETERS)

destroy: $(BIN)/podwatch ## Remove it from Azure: SUBSCRIPTION=, LOCATION=, CLUSTERS= (resource ids in other subscriptions), DRY_RUN=1
	$(BIN)/podwatch destroy --subscription "$(SUBSCRIPTION)" --location "$(LOCATION)" $(CLUSTERS:%=--cluster %) $(DRY_RUN:%=--dry-run)

smoke: $(BIN)/podwatch ## Send one deletion through the real hub and wait for its row and its card: SUBSCRIPTION=, LOCATION=
	$(BIN)/podwatch doctor --subscription "$(SUBSCRIPTION)" --location "$(LOCATION)" --send

infra-check: ## Lint the Bicep and compare it with its snapshots (needs the Bicep CLI; says so without)
	node infra/snapshots/snapshots.mjs

snapshots: ## Record the snapshots of the Bicep, for review (needs the Bicep CLI)
	node infra/snapshots/snapshots.mjs --update

check: lint infra-check test race browser-test ## What CI runs

# What starts no other process, or few, in less than a minute.
check-fast: ## Vet and the quick tests, while working
	$(GO) vet ./...
	$(GO) test -short -vet=off $$($(GO) list ./handler/internal/... | grep -v -E '/(azurite|emulator|infra|storage|version|app|child)$$')

clean: ## Remove what was built
	rm -rf "$(BIN)" "$(DIST)" "$(DIST)".new.* "$(DIST).zip" "$(RELEASE)"
