# Every target works from a fresh clone on a machine that has only Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Its dependencies conflict with ours (an older mcp), so the proxy we compare with lives by itself.
PROXY  := .venv-bench-proxy

# A worker process for each core. The tests of a file share what they start, so they stay together; what
# waits longest is begun first (see testpaths).
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: help demo test cel-spec lint bench examples protos clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   a real MCP client through the real Envoy to a SigV4-protected MCP server"
	@echo "make test   all tests (unit, integration, end to end with the real Envoy)"
	@echo "make cel-spec  the policy engine against the CEL specification's own cases (needs go)"
	@echo "make bench  measures, judges and writes bench/report.md (a quarter of an hour; ARGS=--quick: two minutes)"
	@echo "make lint   ruff, mypy --strict, import contracts"

# Installing again happens only when what is installed may have changed.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("extproc needs Python 3.11 or newer: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "Installing into $(VENV) (about a minute the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/extproc demo $(ARGS)

test: $(STAMP)
	@$(PYTEST) $(ARGS)

# The specification's cases are not ours to ship: the Go module that has them is fetched beside the project.
cel-spec: $(STAMP)
	@spec=$$(cd "$${TMPDIR:-/tmp}" && go mod download -json cel.dev/expr@v0.25.3 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') \
	  && CEL_SPEC=$$spec/tests/simple/testdata $(BIN)/python -m pytest tests/unit/policy/test_cel_specification.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Without it there is a benchmark all the same, which says that it is missing.
$(PROXY)/.installed:
	@$(PYTHON) -m venv $(PROXY)
	@$(PROXY)/bin/python -m pip install --quiet --disable-pip-version-check 'mcp-proxy-for-aws>=1.7,<2' \
	  && touch $@ || echo "mcp-proxy-for-aws cannot be installed, so it is not measured"

bench: $(STAMP) $(PROXY)/.installed
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

# The Envoy configurations in envoy/ are rendered, never edited; tests compare them.
examples: $(STAMP)
	$(BIN)/extproc envoy --config envoy/aws-mcp/extproc.yaml --listen 0.0.0.0:10000 > envoy/aws-mcp/envoy.yaml
	$(BIN)/extproc envoy --config envoy/several-targets/extproc.yaml --listen 0.0.0.0:10000 \
	  > envoy/several-targets/envoy.yaml
	$(BIN)/extproc envoy --config envoy/upstream/extproc.yaml --listen 0.0.0.0:10000 --placement upstream \
	  > envoy/upstream/envoy.yaml
	$(BIN)/extproc envoy --config envoy/uds-sidecar/extproc.yaml --listen 0.0.0.0:10000 \
	  > envoy/uds-sidecar/envoy.yaml
	$(BIN)/extproc envoy --config envoy/mtls/extproc.yaml --listen 0.0.0.0:10000 \
	  --extproc extproc.internal:50051 --extproc-ca /etc/envoy/tls/ca.crt \
	  --extproc-cert /etc/envoy/tls/tls.crt --extproc-key /etc/envoy/tls/tls.key > envoy/mtls/envoy.yaml
	$(BIN)/extproc envoy --config envoy/jwt-authn/extproc.yaml --listen 0.0.0.0:10000 > envoy/jwt-authn/envoy.yaml
	$(BIN)/extproc envoy --config envoy/demo/extproc.yaml --listen 0.0.0.0:10000 \
	  --extproc extproc:50051 > envoy/demo/envoy.yaml

# The generated code of Envoy's messages and of the admin API is committed and never edited; a test compares it.
protos: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. $(wildcard protos/extproc/server/envoy/*.proto)
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. --grpc_python_out=. \
	  extproc/admin/v1/admin.proto

clean:
	rm -rf $(VENV) $(PROXY) .pytest_cache .mypy_cache .ruff_cache .hypothesis
