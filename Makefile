# `make` alone lists what there is. Everything is installed into this folder when first needed (bin/bootstrap).

PYTHON := .venv/bin/python
#: One worker for each core, up to four.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && n=4; echo $$n)
PYTEST := $(PYTHON) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
SOURCES := billing_worker cohorts reconciliation invoices metering sandbox tests/support tests/settings.py tests/conftest.py bin/check_locks.py

# Hundreds of processes are started: what one has compiled serves the others, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo run test test-migrations test-fast check format lock clean screenshots bench setup setup-dev

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup ## Run the whole job once on this machine: 90 seconds, nothing outside this folder
	@exec $(PYTHON) -m billing_worker.demo

run: setup ## Serve what the demo left: web, worker, schedule and sandbox, until Ctrl-C
	@exec $(PYTHON) -m billing_worker.demo serve

test: setup-dev ## Run every test: on SQLite, then the database-facing ones again on MariaDB
	$(PYTEST) -m "not foreign_migrations"
	bin/with-mariadb $(PYTEST) -m "database and not journey and not slow" \
		$(addprefix --ignore=tests/,sandbox sandbox_legacy browser journeys)

test-migrations: setup-dev ## Run every migration on MariaDB, dj-stripe's own included: a minute and a half
	$(PYTHON) -m pytest -q -n 0 -m foreign_migrations tests/infra

test-fast: setup-dev ## Run the quick tests only: no browser, no other servers, no journeys
	$(PYTEST) -m "not slow and not journey and not browser and not stripe_cli and not mariadb and not redis"

check: setup-dev ## Lint, types, floors between packages, migrations, lock files
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy $(SOURCES)
	.venv/bin/lint-imports --no-logo
	$(PYTHON) bin/check_locks.py
	DJANGO_SETTINGS_MODULE=tests.settings $(PYTHON) manage.py makemigrations --check --dry-run

format: setup-dev ## Put the code into its standard form
	$(PYTHON) -m ruff check --fix-only --quiet .
	$(PYTHON) -m ruff format .

lock: setup-dev ## Choose versions anew for what pyproject.toml asks; UPGRADE=1 takes the newest of everything
	bin/lock $(if $(UPGRADE),--upgrade)

screenshots: setup-dev ## Make the README's pictures anew
	$(PYTHON) -m pytest -m screenshots --screenshots docs/images tests

bench: setup-dev ## Measure speed; prints figures, judges nothing
	@for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(PYTHON) -m tests.bench.$$(basename $$bench .py) || exit; done

clean: ## Remove everything that was installed or produced here
	rm -rf .venv .tools var staticfiles tests/stripe_cli/node_modules \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

setup:
	@bin/bootstrap run

setup-dev:
	@bin/bootstrap dev
