# ds4: the front door. Everything here is a short name for a cmake command or a script; `make help` lists them.
#
#   make run            install what is missing, build, start the server    (ARGS="--port 9000 ..." passes flags)
#   make test           install what is missing, run every test             (STAGE=release runs one stage)

.DEFAULT_GOAL := build
SHELL := /bin/bash

ARGS ?=
STAGE ?=
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 3600
SOAK_MINUTES ?= 30

build/build.ninja: CMakePresets.json
	@command -v cmake >/dev/null || { echo "ds4: cmake is missing; 'make deps' installs what the build needs" >&2; exit 1; }
	cmake --preset release -DDS4_TESTS=OFF

.PHONY: build
build: build/build.ninja            ## the release build, programs in build/bin (the default)
	cmake --build build

.PHONY: deps
deps:                               ## install the packages that the build needs (Debian 12)
	scripts/install-deps.sh build

.PHONY: run
run: deps                           ## build and start ds4-server on http://127.0.0.1:8000
	@$(MAKE) --no-print-directory build
	build/bin/ds4-server $(ARGS)

.PHONY: test
test:                               ## every test; STAGE=name runs one stage
	scripts/install-deps.sh test
	scripts/test.sh $(STAGE)

.PHONY: check
check:                              ## the inner loop: build, fast tests of everything, no sanitizers (under a minute)
	scripts/install-deps.sh test
	scripts/test.sh check

.PHONY: mutants
mutants:                            ## apply small faults to the sources; a test must notice each  (ARGS="kv --name evict")
	scripts/install-deps.sh test
	scripts/test-deps.sh
	build/test-env/python/bin/python3 tests/mutants/run.py $(ARGS)

.PHONY: questions
questions: build                    ## ask ds4-mini 200 plain questions in four ways; no answer may show markup of tool calls
	scripts/test-deps.sh
	DS4_BUILD=build DS4_QUESTIONS=all build/test-env/python/bin/python3 tests/e2e/test_questions.py

.PHONY: bench
bench:                              ## tokens per second, and time to first token after a restart
	scripts/install-deps.sh bench
	@$(MAKE) --no-print-directory build
	python3 bench/tokens_per_second.py $(ARGS)
	python3 bench/ttft_after_restart.py $(ARGS)
	python3 bench/busy_neighbour.py $(ARGS)

.PHONY: fuzz
fuzz:                               ## the fuzzers for FUZZ_SECONDS each (an hour)
	scripts/install-deps.sh test
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/test.sh fuzz

.PHONY: soak
soak:                               ## clients that talk, a server that is killed, for SOAK_MINUTES (30)
	scripts/install-deps.sh test
	SOAK_MINUTES=$(SOAK_MINUTES) scripts/test.sh soak

.PHONY: matrix
matrix:                             ## every passage of every fault point, killed and failed (hours)
	scripts/install-deps.sh test
	DS4_MATRIX=full scripts/test.sh e2e

.PHONY: eval-mini
eval-mini:                          ## the scores of ds4-mini's model card, measured on this machine
	scripts/install-deps.sh bench
	@$(MAKE) --no-print-directory build
	scripts/eval-mini.sh $(ARGS)

.PHONY: install
install: build                      ## into DESTDIR/PREFIX: programs, libds4, the default model, documents
	DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)"

.PHONY: format format-check
format:                             ## clang-format on every C file of ours
	git ls-files '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format -i
format-check:                       ## the same as a question
	git ls-files '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror

.PHONY: clean
clean:                              ## remove every build folder
	rm -rf build build-debug build-faults build-asan build-tsan build-fuzz build-aarch64 build-mutants

.PHONY: help
help:                               ## this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
