"""The versions of the template, side by side in `templates/invoices/pdf/`, and the one that settings put in force.

A version that has printed documents is never edited in a way that shows: copy its folder, change the copy, look at
what it prints, then name it in `INVOICE_TEMPLATE_VERSION`. A document remembers the version that it was made
with, and is printed with that one whatever the setting says by then.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings

from billing_worker.core.errors import NotFound
from billing_worker.env import BASE_DIR

VERSIONS_DIR: Final = BASE_DIR / "templates" / "invoices" / "pdf"


class TemplateMissing(NotFound):
    """There is no template of this version. Restore its folder, or name one that exists."""

    code = "template_missing"


def list_versions() -> list[str]:
    """The names of all versions, oldest first: whole numbers in their order, then other names in theirs."""
    names = [path.parent.name for path in VERSIONS_DIR.glob("*/invoice.html")]
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def get_current_version() -> str:
    return str(settings.ENV.INVOICE_TEMPLATE_VERSION)


def get_template_name(version: str) -> str:
    """The markup of a version, as Django's template loader finds it.

    Raises:
        TemplateMissing: no such version.
    """
    if version not in list_versions():
        raise TemplateMissing(
            f"there is no invoice template {version!r}: there are {', '.join(list_versions())}"
        )
    return f"invoices/pdf/{version}/invoice.html"


def read_styles(version: str) -> str:
    return (VERSIONS_DIR / version / "invoice.css").read_text(encoding="utf-8")
