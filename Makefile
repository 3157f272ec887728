# Everything a contributor runs; CI runs .ci/run, which calls these.
GO ?= go
FUZZTIME ?= 20s

.PHONY: build test check lint race fuzz bench oracle kernels smoke-real

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

kernels: ## assembly, from its generators, which are a module of their own
	cd internal/kernelgen && \
	  $(GO) run ./emu -out ../../modalix/emu/kern/asm_amd64.s -stubs ../../modalix/emu/kern/asm_amd64.go -pkg kern && \
	  $(GO) run ./quant -out ../../quant/kern/asm_amd64.s -stubs ../../quant/kern/asm_amd64.go -pkg kern && \
	  $(GO) run ./ordered -out ../ordered/ordered_amd64.s -stubs ../ordered/kernels_amd64.go -pkg ordered

smoke-real: ## a real model: build it twice, ask it; LLIMA_REAL names its cache folder
	./testdata/real/smoke
