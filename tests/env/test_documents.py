"""`.env.example` and `docs/settings.md` say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import call_command

from billing_worker.env import BASE_DIR, Environment, load_environment
from billing_worker.settings_reference import FORMATS, SECTIONS, describe_as_env, find_production_names

FILES = {"env": ".env.example", "markdown": "docs/settings.md"}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_file_is_what_the_command_writes(name, capsys):
    call_command("describe_settings", "--format", name)
    written = (BASE_DIR / FILES[name]).read_text(encoding="utf-8")
    assert written == capsys.readouterr().out, f"run: python manage.py describe_settings --format {name}"


def test_every_setting_is_described_and_in_a_section():
    assert all(field.description for field in Environment.model_fields.values())
    assert next(iter(Environment.model_fields)) in SECTIONS
    assert set(SECTIONS) <= set(Environment.model_fields)


def test_the_example_can_be_used_as_it_is():
    lines = [line for line in describe_as_env().splitlines() if line and not line.startswith("#")]
    assert lines == ["STRIPE_WEBHOOK_SECRET=whsec_replace_me"]
    assert load_environment(dict(line.split("=", 1) for line in lines)).SHADOW


def test_what_production_needs_is_marked():
    assert {
        "STRIPE_SECRET_KEY",
        "DATABASE_URL",
        "R2_SECRET_ACCESS_KEY",
        "MAILGUN_DOMAIN",
    } <= find_production_names()
    assert "REDSHIFT_DATABASE_URL" not in find_production_names()


def test_the_apps_read_no_environment_of_their_own():
    folders = ["accounts", "alerts", "catalog", "core", "gateway", "legacy", "mirror", "settings", "webhooks"]
    roots = [BASE_DIR / "billing_worker" / name for name in folders]
    roots += [BASE_DIR / name for name in ("cohorts", "reconciliation", "invoices", "metering")]
    readers = {
        str(path.relative_to(BASE_DIR))
        for root in roots
        for path in root.rglob("*.py")
        if re.search(r"os\.(environ|getenv)", Path(path).read_text(encoding="utf-8"))
    }
    assert readers == {"billing_worker/settings/__init__.py"}
