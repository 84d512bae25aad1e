"""What must be installed for invoices to be right and fast: said by `manage.py check`, not found out at month end."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)

from invoices.rendering import shortcuts
from invoices.rendering.fonts import OWN_FONTS, find_missing_fonts, has_subset_library
from invoices.rendering.versions import get_current_version, list_versions


@register("invoices")
def check_rendering(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The fonts and the HarfBuzz subsetter that WeasyPrint needs."""
    messages: list[CheckMessage] = []
    if not has_subset_library():
        messages.append(
            Warning(
                "HarfBuzz's subsetter is missing: invoices take 3.5 times as long and come out in other bytes.",
                hint="Install the Debian package libharfbuzz-subset0 (bin/bootstrap does).",
                id="invoices.W001",
            )
        )
    if not shortcuts.fit():
        found = ", ".join(f"{name} {version}" for name, version in shortcuts.find_versions().items())
        written = ", ".join(f"{name} {version}" for name, version in shortcuts.WRITTEN_FOR.items())
        messages.append(
            Warning(
                f"Invoices are printed without shortcuts, in half again the time: {found} is installed.",
                hint=f"Install {written}, or correct invoices/rendering/shortcuts/ for what is installed.",
                id="invoices.W003",
            )
        )
    if (version := get_current_version()) not in list_versions():
        messages.append(
            Error(
                f"There is no invoice template {version!r}: no invoice can be printed.",
                hint=f"INVOICE_TEMPLATE_VERSION can be one of: {', '.join(list_versions())}.",
                id="invoices.E002",
            )
        )
    for font in find_missing_fonts():
        is_own = font in OWN_FONTS
        effect = "no invoice can be printed" if is_own else "some names print as boxes or in another font"
        hint = f"Install the Debian package {font.package}." if font.package else "Restore invoices/fonts/."
        messages.append(
            (Error if is_own else Warning)(
                f"The font file {font.path.name} is missing: {effect}.",
                hint=hint,
                id="invoices.E001" if is_own else "invoices.W002",
            )
        )
    return messages
