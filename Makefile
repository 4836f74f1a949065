# Everything a newcomer needs: make demo, make test. The rest is for people who change the code.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
export CGO_ENABLED = 0
export GOFLAGS ?= -buildvcs=false

.PHONY: build demo test test-repro test-desktop test-conformance test-examples test-faults test-release release lint bench fuzz clean

build: ## static binaries in bin/
	go build -trimpath -tags urfave_cli_no_docs -ldflags "-s -w -X main.version=$(VERSION)" -o bin/ ./cmd/karapace ./cmd/karapace-store ./cmd/karapace-runtime ./cmd/karapace-tui ./cmd/karapace-dbus
	cd cmd/karapace-server && go build -trimpath -tags urfave_cli_no_docs -ldflags "-s -w -X main.version=$(VERSION)" -o ../../bin/ .

demo: ## set up, build, and run a real environment through every backend that is here
	hack/setup runtimes
	$(MAKE) --no-print-directory build
	hack/demo

test: ## everything: unit, command line scripts, fuzz seeds, end-to-end in real namespaces, as root and as a user
	hack/setup runtimes tests youki fixtures
	$(MAKE) --no-print-directory build
	hack/test

test-repro: ## one lock of each package manager, built in every way there is: users, file systems, clocks, backends
	hack/setup runtimes tests youki fixtures repro
	$(MAKE) --no-print-directory build
	hack/test repro

test-desktop: ## programs with windows and sound on a real desktop, without a screen
	hack/setup runtimes desktop
	$(MAKE) --no-print-directory build
	hack/desktop

test-conformance: ## the public suites of the specifications, on ours and on others
	hack/setup runtimes conformance
	$(MAKE) --no-print-directory build
	hack/conformance/registry/run
	hack/conformance/runtime/run

test-examples: ## every example that this machine's mirrors can give, built, entered, and built again without a network
	hack/setup runtimes
	$(MAKE) --no-print-directory build
	hack/examples

test-faults: ## every fault at every point of every command, as root and as a user: many hours; FAULTS=PATTERN picks tests
	hack/setup runtimes tests youki
	$(MAKE) --no-print-directory build
	hack/test faults "$(FAULTS)"

release: ## tarballs, .deb, .rpm, bills of materials and checksums in dist/, the same bytes everywhere; RELEASE_KEY=FILE signs
	hack/setup release
	hack/release/run

test-release: ## two releases are the same; verify, install, use and remove them, in a whole Debian too
	hack/setup release
	hack/release/check

lint: ## formatting, vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofmt-ed: $$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	staticcheck=$$(go tool -n staticcheck) && cd cmd/karapace-server && go vet ./... && $$staticcheck ./...

bench: ## measure against floors and peers in the same run; prints medians and ratios, never fails
	hack/setup runtimes tests peers
	$(MAKE) --no-print-directory build
	hack/bench

fuzz: ## every fuzz target for FUZZTIME (default 20s)
	hack/fuzz

clean:
	rm -rf bin dist
