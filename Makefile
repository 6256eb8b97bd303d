# `make` or `make help` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench images package chart-docs chart-tools test-chart cluster-tools test-cluster

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Play an incident on this machine: needs nothing but Rust and a C compiler. KEEP=1 lets it run on.
	@cargo run --locked --package tocsin-tests --bin demo -- $(if $(KEEP),--keep)

test: ## Run every test that needs nothing but Rust and a C compiler.
	cargo test --workspace --locked

lint: ## Check format, clippy and the dependencies' licences and bans.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- --deny warnings
	tests/lint/dependencies.sh

bench: ## Measure latency, memory, processor time and throughput, with the programs as they are shipped. ONLY="codec memory" does some.
	cargo run --locked --release --package tocsin-benches -- $(ONLY)

images: ## Build both images as docker archives, without an engine or a registry: for `docker load`, `ctr images import`.
	cargo run --locked --package tocsin-tests --bin images -- $(or $(CARGO_TARGET_DIR),target)/images

package: chart-tools ## Write the chart's archive and index, a bill of materials and checksums into target/package.
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} \
	  cargo run --locked --package tocsin-tests --bin package -- $(or $(CARGO_TARGET_DIR),target)/package

chart-docs: ## Write the chart's schema and the tables of its README from the comments in its values.
	cargo run --locked --package tocsin-tests --bin chart_docs

chart-tools: ## Build helm 4, helm 3 and helm-unittest (Go; 5 minutes the first time), and fetch Debian's Prometheus.
	tests/cluster/build.sh chart

test-chart: chart-tools ## Lint and render the chart with both helms, run its suites, and hold it against the programs.
	cargo test --locked --package tocsin-tests --features chart --test 'chart*'

cluster-tools: ## Build the parts of a real Kubernetes (Go and root; 11 to 27 minutes the first time).
	tests/cluster/build.sh

test-cluster: cluster-tools chart-tools ## Run the tests that need a real Kubernetes (root; in a network namespace of their own).
	cargo test --locked --package tocsin-tests --features cluster --test 'cluster*' --test conformance -- --test-threads=1 --nocapture
