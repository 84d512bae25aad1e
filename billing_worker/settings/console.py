"""How the console (Django's admin under Unfold) looks, and what its sidebar leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _may_view(app: str, model: str) -> Callable[[HttpRequest], bool]:
    return lambda request: bool(request.user.has_perm(f"{app}.view_{model}"))


def _item(title: str, icon: str, app: str, model: str, *, badge: str = "") -> dict[str, Any]:
    """A link to a model's list, shown to whoever may look at it. `badge` names a function of the request."""
    item: dict[str, Any] = {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": _may_view(app, model),
    }
    return {**item, "badge": badge, "badge_variant": "danger"} if badge else item


def _group(title: str, *items: dict[str, Any], collapsible: bool = False) -> dict[str, Any]:
    return {"title": title, "separator": True, "collapsible": collapsible, "items": list(items)}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "billing-worker",
    "SITE_HEADER": "billing-worker",
    "SITE_SUBHEADER": "Billing console",
    "SITE_SYMBOL": "receipt_long",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "billing_worker.dashboard.get_environment_label",
    "DASHBOARD_CALLBACK": "billing_worker.dashboard.build_index",
    "STYLES": [lambda request: static("console/console.css")],
    "SCRIPTS": [lambda request: static("console/console.js")],
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": [
            {
                "items": [
                    {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                ],
            },
            _group(
                "Move",
                _item("Cohorts", "group_work", "cohorts", "cohort"),
                _item("Members", "groups", "cohorts", "cohortmember"),
                _item("Signatures", "signature", "cohorts", "signoff"),
                _item("Plan changes", "swap_horiz", "cohorts", "subscriptionchange"),
                _item("Rollbacks", "undo", "cohorts", "rollback"),
                _item("Reconciliations", "balance", "reconciliation", "reconciliationrun"),
                _item(
                    *("Drifts", "difference", "reconciliation", "drift"),
                    badge="billing_worker.dashboard.count_open_drifts",
                ),
            ),
            _group(
                "Billing",
                _item(
                    *("Documents", "picture_as_pdf", "invoices", "invoicedocument"),
                    badge="billing_worker.dashboard.count_documents_waiting",
                ),
                _item("Mails", "outgoing_mail", "invoices", "invoicemail"),
                _item("Batches", "dynamic_feed", "invoices", "documentbatch"),
                _item("Template preview", "compare", "invoices", "templatecomparison"),
                _item("Managed services", "handyman", "invoices", "managedcharge"),
                _item("Usage", "monitoring", "metering", "usagefeed"),
                _item("Samples", "timer", "metering", "samplebucket"),
                _item("Pulled days", "cloud_download", "metering", "usagepull"),
                _item("Meter events", "speed", "metering", "meterevent"),
                _item("True-ups", "price_change", "metering", "trueup"),
                _item("Draft holds", "hourglass_top", "metering", "drafthold"),
                _item("Usage completions", "task_alt", "metering", "usagecompletion"),
                _item("Seams", "splitscreen_right", "metering", "seamsetting"),
            ),
            _group(
                "Accounts",
                _item("Accounts", "store", "accounts", "account"),
                _item("Customers", "contacts", "customers", "customersync"),
                _item("Leases", "swap_horiz", "accounts", "billinglease"),
                _item("Managed jobs", "assignment", "accounts", "managedjob"),
            ),
            _group(
                "Stripe",
                _item("Invoices", "receipt_long", "mirror", "stripeinvoice"),
                _item("Subscriptions", "autorenew", "mirror", "stripesubscription"),
                _item("Credit notes", "undo", "mirror", "stripecreditnote"),
                _item("Prices", "sell", "catalog", "catalogprice"),
                _item("Products", "category", "catalog", "catalogproduct"),
                _item("Meters", "straighten", "catalog", "catalogmeter"),
                _item("Sampled meters", "timer", "catalog", "sampledmeter"),
                _item("Sampled tiers", "stairs", "catalog", "sampledtier"),
                _item("Sampled plans", "assignment_ind", "catalog", "sampledplan"),
                _item("Test clocks", "schedule", "accounts", "testclock"),
                collapsible=True,
            ),
            _group(
                "Operations",
                _item("Inbox", "inbox", "webhooks", "inboxevent"),
                _item(
                    *("Alerts", "notifications", "alerts", "alert"),
                    badge="billing_worker.dashboard.count_alerts",
                ),
                _item("Audit trail", "history", "accounts", "auditentry"),
                _item("Raw copies", "data_object", "mirror", "rawcopy"),
            ),
            _group(
                "Access",
                _item("Service keys", "key", "accounts", "servicekey"),
                _item("People", "person", "auth", "user"),
                _item("Roles", "badge", "auth", "group"),
                collapsible=True,
            ),
        ],
    },
}
