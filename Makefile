# Every target says what it needs and installs it where it can; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A static binary with its own C library (.cargo/config.toml): the same file runs FROM scratch, in Alpine-based images and on any host.
# PROFILE=dev for a quick build with debug assertions: what CI tests; what is measured or shipped is a release build.
PROFILE ?= release
export PROFILE
TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
CARGO_OUT = $(or $(CARGO_TARGET_DIR),target)
BINARY = $(CARGO_OUT)/$(TARGET)/$(PROFILE:dev=debug)/tributary
KUBE = e2e/cluster/cluster
# The tools that integration tests start; anything else they need is in the repository.
TEST_TOOLS = etcd,kube-apiserver,kubectl,kafka,jre,mosquitto,helm

##@ Build
.PHONY: build
build: ## the binary, static, in target/<triple>/release; PROFILE=dev builds quickly
	.ci/prerequisites build
	cargo build --locked --bins --profile $(PROFILE)

.PHONY: images
images: build tools ## container images as OCI archives in target/images, no registry needed
	e2e/images/build --binary $(BINARY)
	e2e/images/build

# The same program under another tag: scenarios upgrade the operator to it.
.PHONY: e2e-images
e2e-images: images
	e2e/images/build tributary --tag next --binary $(BINARY)

.PHONY: tools
tools: ## third-party tools for tests and clusters, built once into ~/.cache/tributary
	$(KUBE) tools

.PHONY: generate
generate: ## what is derived from the sources: crds/, the chart's copy, manifests/operator, the reference in docs/
	.ci/prerequisites build
	.ci/generate

.PHONY: docs
docs: ## the book, in target/book
	.ci/tool mdbook build docs

##@ Check
.PHONY: lint
lint: ## formatting, clippy, cargo-deny, chart, manifests, scripts
	.ci/prerequisites build
	.ci/lint

.PHONY: test
test: ## unit, property and integration tests (real API server, Kafka, mosquitto; no kubelet); INTEGRATION=names for some
	.ci/prerequisites build
	$(KUBE) tools --only $(TEST_TOOLS)
	cargo test --locked --lib --bins --test architecture
	cargo test --locked --test integration -- $(INTEGRATION)

.PHONY: e2e
e2e: ## scenarios on two real clusters; ONLY=name for one, see e2e/scenarios/run --list
	e2e/scenarios/run $(foreach s,$(ONLY),--only $(s))

.PHONY: e2e-gitops
e2e-gitops: ## scenarios with a real Argo CD and three clusters; ONLY=name for one, see e2e/argocd/run --list
	e2e/argocd/run $(foreach s,$(ONLY),--only $(s))

.PHONY: ci
ci: ## what CI runs: lint, drift, tests, the cluster tool's self-test, scenarios
	.ci/run

.PHONY: bench
bench: build ## bridge and replicator beside their peers, half an hour on an idle machine; QUICK=1 for a try
	e2e/bench/run --binary $(BINARY) $(if $(QUICK),--quick)

##@ See it work
# CLUSTER=current: factory and region as two namespaces of the cluster of your current kubeconfig, images from REGISTRY.
# The build that CI tests, unless PROFILE is given: it compiles in half the time, and `make test` has use for it as well.
.PHONY: demo
demo: PROFILE := $(if $(filter file,$(origin PROFILE)),dev,$(PROFILE))
demo: ## a factory and a region on this machine, a cut line, and an audit that nothing was lost
	e2e/demo/run $(if $(CLUSTER),--cluster $(CLUSTER)) $(if $(REGISTRY),--registry $(REGISTRY))

.PHONY: demo-down
demo-down: ## remove everything that `make demo` made (caches stay)
	e2e/demo/run --down $(if $(CLUSTER),--cluster $(CLUSTER))

.PHONY: gitops
gitops: PROFILE := $(if $(filter file,$(origin PROFILE)),dev,$(PROFILE))
gitops: ## a region and two factories rolled out by a real Argo CD from a Git repository, to play with: docs/src/gitops-trial.md
	e2e/argocd/run --up

.PHONY: gitops-down
gitops-down: ## remove everything that `make gitops` made (caches stay)
	e2e/argocd/run --down

##@ Other
.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
