"""From what an alert or an audit entry is about to its page in the console. Pages are named, nothing is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from django.urls import reverse

#: Words of audit entries and alerts' contexts, and the admin page of what they count.
_PAGES: Final[Mapping[str, str]] = {
    "account": "accounts_account",
    "charge": "invoices_managedcharge",
    "cohort": "cohorts_cohort",
    "document": "invoices_invoicedocument",
    "documentbatch": "invoices_documentbatch",
    "draft_hold": "metering_drafthold",
    "drift": "reconciliation_drift",
    "invoicedocument": "invoices_invoicedocument",
    "invoicemail": "invoices_invoicemail",
    "mail": "invoices_invoicemail",
    "managedcharge": "invoices_managedcharge",
    "run": "reconciliation_reconciliationrun",
    "true_up": "metering_trueup",
}
#: Those that are known by Stripe's id: the list where a search finds them.
_SEARCHES: Final[Mapping[str, str]] = {
    "event_id": "webhooks_inboxevent",
    "invoice": "invoices_invoicedocument",
}


def find_page(what: str, key: Any) -> str:
    """The address of one thing's page; empty if it has none."""
    name = _PAGES.get(what.lower())
    if name is not None and str(key).isdecimal():
        return reverse(f"admin:{name}_change", args=[key])
    search = _SEARCHES.get(what.lower())
    if search is not None and isinstance(key, str) and key:
        return f"{reverse(f'admin:{search}_changelist')}?{urlencode({'q': key})}"
    return ""


def find_pages(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a context names, each with its page: `("document 7", "/admin/...")`."""
    for what, key in context.items():
        page = find_page(what, key)
        if page:
            name = what.replace("_", " ")
            yield f"{name} {key}" if str(key).isdecimal() else name, page
