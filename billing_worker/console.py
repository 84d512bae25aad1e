"""The console is loaded where it is served, and not by workers: it takes 50 MB of each process that has it.

Django's own configuration of the admin imports every app's `admin.py` when any process starts. Here `urls.py` does it,
which is imported by whatever answers requests or makes addresses, and the admin's checks do it before they look.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


def check_console(app_configs: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Django's checks of every registered admin: in a process that has not needed them they are registered now."""
    admin.autodiscover()
    found: list[checks.CheckMessage] = check_admin_app(app_configs, **kwargs)
    return found


class ConsoleConfig(SimpleAdminConfig):
    """Django's admin, without its imports at the start of every process."""

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_console, checks.Tags.admin)
