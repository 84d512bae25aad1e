"""The documents name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
OUR_APPS = ("billing_worker", "metering", "invoices", "reconciliation", "cohorts")


def test_every_command_of_ours_is_in_the_reference() -> None:
    ours = {name for name, app in get_commands().items() if str(app).split(".")[0] in OUR_APPS}
    listed = set(re.findall(r"^\| `([a-z_]+)", (ROOT / "docs/commands.md").read_text(), re.MULTILINE))
    assert listed - {"make"} == ours


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "sandbox/README.md"]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
