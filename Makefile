# The two commands are `make run` and `make test`; the rest is for working on Spearfish. Builds live in build/<preset>.
JOBS ?= $(shell nproc)
export JOBS

.PHONY: run test test-asan test-gpu fuzz lint format setup install clean help

run: ## install what is missing, build, and run the sample model in every weight format: text, size, quality, speed
	@scripts/setup run
	@scripts/build cpu spearfish_cli
	@build/cpu/cli/spearfish compare models/sample --text models/sample/held_out.txt --limit 12288 --svg out/quality.svg $(ARGS)

test: ## install what is missing, build, test, lint; with an nvcc also CUDA for Hopper, and on an emulated device; in CI also the fuzzers
	@scripts/setup run test
	@scripts/test cpu cuda emulated $(if $(CI),fuzz) lint budgets

test-asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/setup run test
	@scripts/test asan

test-gpu: ## all tests of a CUDA build for the GPUs of this machine
	@scripts/setup run test
	@scripts/test gpu

fuzz: ## every fuzzer for FUZZ_SECONDS, 60 if unset
	@scripts/setup run test
	@scripts/test fuzz

lint: ## format, layers, names, lengths, words; clang-tidy over changed files (ALL=1: over all)
	@scripts/setup run test
	@scripts/lint $(if $(ALL),--all)

format: ## rewrite all sources in the house format
	@scripts/lint --fix-format

setup: ## install all that `make test` needs
	@scripts/setup run test

install: ## install to PREFIX, /usr/local if unset
	@scripts/setup run
	@scripts/build cpu
	@cmake --install build/cpu --prefix $(or $(PREFIX),/usr/local)

clean: ## remove all builds
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12
