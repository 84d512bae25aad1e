"""How the console (Django's admin under Unfold) looks."""

from __future__ import annotations

from typing import Any

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "billing-worker",
    "SITE_HEADER": "billing-worker",
    "SITE_SUBHEADER": "Billing console",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
}
