"""The project's own settings, without dj-stripe's 40 s of migrations."""

from __future__ import annotations

from billing_worker.settings import *  # noqa: F403

MIGRATION_MODULES = {"djstripe": None}
