# Havn. `make up` runs it, `make test` tests it; `make help` lists the rest.

SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c
GO         ?= go
BIN        := bin
VERSION    := $(shell git describe --always --dirty 2>/dev/null || echo dev)
PACKAGES   := libseccomp-dev pkg-config gcc
TEST_PACKAGES := busybox-static iproute2 python3 curl
GOLANGCI   := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
export GOFLAGS += -buildvcs=false

.DEFAULT_GOAL := help

.PHONY: help
help: ## List what make can do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: up
up: build ## Build, start Havn, run the example task, print the URL that answers
	@mkdir -p .tmp
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o .tmp/web ./examples/web
	@$(GO) run ./examples/pack -name havn/example-web:latest -port 80 -o .tmp/web.tar .tmp/web
	@$(BIN)/havn up --detach
	@$(BIN)/havn image load .tmp/web.tar
	@eval "$$($(BIN)/havn env)"; $(GO) run ./examples/start -definition examples/web/taskdef.json -havn $(BIN)/havn

.PHONY: down
down: ## Stop the example and Havn
	$(BIN)/havn down --tasks

.PHONY: build
build: deps ## Build bin/havn, and the shim and runc that it needs beside it
	@mkdir -p $(BIN)
	@if [ ! -x $(BIN)/havn ]; then echo "building Havn, its shim and runc; the first build takes some minutes:"; fi
	@echo "  runc"      && $(GO) build -trimpath -tags 'seccomp' -ldflags='-s -w' -o $(BIN)/runc github.com/opencontainers/runc
	@echo "  havn-shim" && CGO_ENABLED=0 $(GO) build -trimpath -tags 'no_grpc' -ldflags='-s -w' -o $(BIN)/havn-shim ./cmd/havn-shim
	@echo "  havn-init" && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(BIN)/havn-init ./cmd/havn-init
	@echo "  havn"      && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w -X main.version=$(VERSION)' -o $(BIN)/havn ./cmd/havn

.PHONY: test
test: test-deps build ## Run every test (as root: they run real containers)
	@[ "$$(id -u)" = 0 ] || { echo "the tests run real containers and need root: sudo make test"; exit 1; }
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

.PHONY: lint
lint: ## Run the linters that .golangci.yml names, with its reasons
	$(GO) run $(GOLANGCI) run ./...

.PHONY: bench
bench: test-deps build ## Measure: every number of docs/performance.md
	$(GO) run ./bench

.PHONY: generate
generate: ## Make the generated files again
	$(GO) generate ./...

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(BIN) .tmp

.PHONY: deps test-deps
deps:
	@$(call install,$(PACKAGES))
test-deps:
	@$(call install,$(TEST_PACKAGES))
	@command -v aws >/dev/null || { echo "installing awscli and boto3 for the end-to-end tests"; $(call install,awscli python3-boto3); }

# install PACKAGES: Debian packages that are missing are installed where that can be done, else named.
define install
missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "installing:$$missing"; \
    { apt-get install -y $$missing || { apt-get update && apt-get install -y $$missing; }; } >/tmp/havn-apt.log 2>&1 || { tail -5 /tmp/havn-apt.log; exit 1; }; \
  else echo "Havn needs these packages first:$$missing (as root: apt-get install -y$$missing)"; exit 1; fi; \
fi
endef
