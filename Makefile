# Everything a contributor runs; CI runs .ci/run, which calls these.
GO ?= go
FUZZTIME ?= 20s

.PHONY: build test check lint race fuzz bench oracle smoke-real

build: ## the binaries, in ./bin
	$(GO) build -o bin/ ./cmd/llima ./cmd/llima-compile

test: ## what README says
	$(GO) test ./...

check: test lint race ## everything but fuzzing and the oracles

lint:
	golangci-lint run ./...

race: ## packages that start goroutines
	$(GO) test -race ./executor/... ./planner/... ./modalix/emu/... ./modalix/runtime/... ./modalix/measure/... ./quant ./quant/kern

fuzz: ## each parser for FUZZTIME
	./.ci/fuzz $(FUZZTIME)

bench:
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...

oracle: ## against ONNX Runtime; LLIMA_ORT_PYTHON names a Python that has it
	LLIMA_LONG=1 $(GO) test ./formats/onnx/... ./cmd/llima/...

smoke-real: ## a real model: build it twice, ask it; LLIMA_REAL names its cache folder
	./testdata/real/smoke
