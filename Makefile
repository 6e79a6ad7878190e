# `make` lists every task. Each installs what it needs: Python packages into .venv, and, as root, Debian packages.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .stamps
TOOLS_TEST := busybox chromium dnsmasq eu-stack gcc g++ go ip iptables mariadbd mkfs.ext4 node openssl perf pg_ctlcluster podman \
	readelf redis-server runc setpriv strace systemd-analyze tcpdump tshark unshare
APT_TEST := binutils busybox-static catatonit chromium conmon dnsmasq-base e2fsprogs elfutils fonts-dejavu-core g++ gcc golang-go \
	iproute2 iptables libc6-dev linux-perf mariadb-server mount netavark nodejs openssl podman postgresql redis-server runc \
	strace systemd tcpdump tshark util-linux

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:  # Debian has venv in a package of its own
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory apt-install PACKAGES=python3-venv
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/bench: $(STAMPS)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/apt-test:
	@for tool in $(TOOLS_TEST); do command -v $$tool >/dev/null || { $(MAKE) --no-print-directory apt-install PACKAGES="$(APT_TEST)"; break; }; done
	@mkdir -p $(STAMPS) && touch $@

apt-install:  # no service is started by it: what a test needs, it starts itself
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  mkdir -p /etc/postgresql-common && touch /etc/postgresql-common/createcluster.conf; \
	  grep -q '^create_main_cluster' /etc/postgresql-common/createcluster.conf || echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf; \
	  rule=/usr/sbin/policy-rc.d; [ -e $$rule ] || { trap "rm -f $$rule" EXIT; printf '#!/bin/sh\nexit 101\n' >$$rule; chmod 755 $$rule; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	else echo "Not root, or no apt-get: install these by hand: $(PACKAGES)" >&2; fi

lint: $(STAMPS)/dev  ## style and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMPS)/dev  ## mypy, strict
	$(BIN)/mypy

test: $(STAMPS)/dev $(STAMPS)/apt-test  ## every test, on real processes, servers and a browser
	$(BIN)/pytest

demo: $(STAMPS)/dev  ## a shop dies in five ways, and each death has a page; CHECK=1 checks it and ends; STORE=s3 or oss
	$(BIN)/python demo/run.py $(if $(CHECK),--check) $(if $(STORE),--store $(STORE))

bench: $(STAMPS)/bench  ## what diag costs, beside its peers, in the same run; ARGS="--quick --only startup"
	$(BIN)/python bench/run.py $(ARGS)

durability: $(STAMPS)/dev $(STAMPS)/apt-test  ## looks for lost captures in 3,200 trials; ARGS="--trials 300 --only disk --seed 7"
	PYTHONPATH=tests $(BIN)/python -m durability $(ARGS)

faults: $(STAMPS)/dev $(STAMPS)/apt-test  ## every way to die on every Python, as a table; ARGS="--only gunicorn --python 3.8"
	PYTHONPATH=tests $(BIN)/python -m faults $(ARGS)

clean:  ## remove what make made
	rm -rf $(VENV) $(STAMPS) .pytest_cache .mypy_cache .ruff_cache .demo

.PHONY: help apt-install lint types test demo bench durability faults clean
