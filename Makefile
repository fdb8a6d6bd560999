# SPDX-License-Identifier: Apache-2.0
# The verbs of the repository. Everything a verb needs besides Go, git and make, it installs itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The commit comes from the linker flag: stamping by the tool chain fails in a clone that another user owns (sudo make up).
BUILD   := go build -buildvcs=false -ldflags '-s -w -X github.com/busbar/busbar/kit/run.version=$(VERSION)'
PROGRAMS := ./cmd/busbar $(wildcard ./services/*/cmd/*)

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: bin/busbar ## Run Busbar, everything in one process (ARGS='--otlp http://127.0.0.1:4318')
	@exec bin/busbar up $(ARGS)

.PHONY: bin/busbar
bin/busbar:
	$(BUILD) -o $@ ./cmd/busbar

.PHONY: build
build: ## Build every program into bin/
	$(BUILD) -o bin/ $(PROGRAMS)

.PHONY: test
test: ## Run all tests (as root, those that need the kernel too; with REQUIRE_KUBE=1 those that need a Kubernetes API too)
	hack/deps test
	$(if $(REQUIRE_KUBE),hack/deps kube)
	go test -timeout 30m $(TESTFLAGS) work

.PHONY: test-bpf
test-bpf: ## Run the kernel tests; a skipped one fails
	REQUIRE_BPF=1 go test $(TESTFLAGS) ./services/probe/...

.PHONY: test-kube
test-kube: ## Run the tests against a real kube-apiserver; building it takes 5 minutes, once
	hack/deps kube
	REQUIRE_KUBE=1 go test -count=1 -v -timeout 30m $(TESTFLAGS) -run 'Kube|Selection' ./services/enricher
	REQUIRE_KUBE=1 go test -count=1 -v -timeout 30m $(TESTFLAGS) ./services/enricher/internal/kube/...

.PHONY: test-kernels
test-kernels: ## Run the kernel tests of every tier in emulated machines (KERNELS='5.10 6.1 6.12 7.2'); an hour
	hack/deps kernels
	hack/test-kernels $(or $(KERNELS),5.10 6.1 6.12 7.2)

.PHONY: e2e
e2e: ## Run the end-to-end tests alone
	hack/deps test
	go test -timeout 30m -v $(TESTFLAGS) ./test/e2e/...

.PHONY: backends
backends: ## Write to Jaeger and Loki and read back what arrived; building them takes half an hour, once
	hack/deps test
	BUSBAR_BACKENDS=$$(hack/deps backends) go test -count=1 -v $(TESTFLAGS) -run 'TestJaeger|TestLoki' ./services/exporter

.PHONY: check
check: fmt-check vet tidy-check build-alone generate-check lint test ## All that must pass before a commit

.PHONY: lint
lint: ## Run golangci-lint in every module
	hack/lint run

.PHONY: vet
vet: ## Run go vet
	go vet work

.PHONY: fmt
fmt: ## Format Go and C
	hack/deps fmt
	hack/lint fmt
	@git ls-files -z 'bpf/*.c' 'bpf/*.h' | xargs -0 -r clang-format-14 -i

.PHONY: fmt-check
fmt-check: ## Fail when a file is not formatted
	hack/fmt-check

.PHONY: tidy
tidy: ## Tidy every go.mod
	hack/each go mod tidy

.PHONY: tidy-check
tidy-check: ## Fail when a go.mod is not tidy
	hack/each go mod tidy -diff

.PHONY: build-alone
build-alone: ## Build every module without the workspace: its go.mod must name all that it uses
	hack/each env GOWORK=off go build -o /dev/null ./...

.PHONY: generate
generate: ## Write the code generated from .proto and .bpf.c files
	hack/deps generate
	hack/proto-generate
	hack/bpf-generate

.PHONY: generate-check
generate-check: ## Fail when generated files are out of date
	hack/generate-check

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s)
	hack/fuzz $(or $(FUZZTIME),10s)

.PHONY: bench
bench: ## Run the benchmarks of every module
	hack/each go test -run '^$$' -bench . -benchmem ./...

.PHONY: bench-probe
bench-probe: ## Measure what the probe and an idle `up` cost, and write docs/cost.md (12 minutes on a quiet machine)
	hack/deps test
	go run ./test/bench -out docs/cost.md

.PHONY: bench-kernels
bench-kernels: ## Compare the tiers on other kernels, in emulated machines, and write that part of docs/cost.md
	hack/deps kernels
	go run ./test/bench -kernels 6.1,6.12 -out docs/cost.md

.PHONY: bench-pipeline
bench-pipeline: ## Measure what a span costs, against the Collector's own components, and write docs/speed.md (6 minutes on a quiet machine)
	go run ./test/speed -out docs/speed.md

.PHONY: bench-enricher
bench-enricher: ## Measure what an exchange costs the enricher, and write docs/speed-enricher.md (2 minutes on a quiet machine)
	go run ./services/enricher/internal/bench -out docs/speed-enricher.md

.PHONY: bench-ingest
bench-ingest: ## Measure what it takes to take data in, and write that section of docs/speed.md (3 minutes on a quiet machine)
	go run ./test/speed -ingest -out docs/speed.md

.PHONY: faults
faults: ## Kill and trouble everything under load, and write docs/reliability.md (ROUNDS=20 of each kill, BACKEND_GONE=2m); 20 minutes
	hack/deps test
	go run ./test/faults -rounds $(or $(ROUNDS),20) -gone $(or $(BACKEND_GONE),2m) -out docs/reliability.md

.PHONY: endurance
endurance: ## Churn connections and processes for ENDURANCE (10m): memory and files flat, every exchange accounted for
	go run ./test/endurance -for $(or $(ENDURANCE),10m)

.PHONY: accuracy
accuracy: ## Compare what the probe reports with what happened, for docs/accuracy.md
	hack/deps accuracy
	go run ./test/accuracy -v -out docs/accuracy.md $(ARGS)

.PHONY: accuracy-kernels
accuracy-kernels: ## The same, reduced, on emulated kernels (KERNELS='6.1 6.12 7.2'), for docs/accuracy-kernels.md; an hour
	hack/deps accuracy
	hack/deps kernels
	hack/accuracy-kernels $(or $(KERNELS),6.1 6.12 7.2)
