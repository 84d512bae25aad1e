"""The three roles as Django groups, and what each may do. Every role sees everything; few may change anything.

The groups are kept in step after every `migrate`, when an app's permissions exist. Permissions that someone added to a
group by hand stay.
"""

from __future__ import annotations

from typing import Any, Final

from django.apps import AppConfig
from django.contrib.auth.models import Group, Permission
from django.db.models.signals import post_migrate

OPS: Final = "ops"
FINANCE: Final = "finance"
ENGINEER: Final = "engineer"

#: What a role may do beyond looking, as `app.codename`. Ops may run a cohort and sign for it; a
#: second person, and one of the two in finance, is what `cohorts.services.signing` asks for. Engineers never sign.
ROLES: Final[dict[str, tuple[str, ...]]] = {
    OPS: (
        "accounts.change_account",
        "alerts.change_alert",
        "catalog.add_sampledplan",
        "cohorts.add_cohort",
        "cohorts.change_cohort",
        "cohorts.roll_back_cohort",
        "cohorts.run_cohort",
        "cohorts.sign_off_cohort",
        "invoices.resend_invoicemail",
        "invoices.rerender_invoicedocument",
        "invoices.settle_managedcharge",
        "metering.change_seamsetting",
        "metering.decide_meterevent",
        "metering.release_drafthold",
        "reconciliation.accept_drift",
    ),
    FINANCE: (
        "accounts.change_account",
        "catalog.add_sampledmeter",
        "catalog.add_sampledplan",
        "catalog.add_sampledtier",
        "cohorts.roll_back_cohort",
        "cohorts.sign_off_cohort",
        "invoices.resend_invoicemail",
        "invoices.settle_managedcharge",
        "metering.decide_meterevent",
        "metering.decide_trueup",
        "metering.release_drafthold",
        "reconciliation.accept_drift",
    ),
    ENGINEER: (
        "accounts.add_servicekey",
        "accounts.change_servicekey",
        "alerts.change_alert",
        "cohorts.add_cohort",
        "cohorts.change_cohort",
        "cohorts.run_cohort",
        "invoices.rerender_invoicedocument",
        "metering.change_seamsetting",
        "webhooks.change_inboxevent",
    ),
}
#: Apps of which every role sees every object.
OUR_APPS: Final = frozenset(
    "accounts alerts catalog cohorts customers invoices metering mirror reconciliation webhooks".split()
)


def sync_roles(app_label: str) -> None:
    """Create the groups and give them what the table says about one app's permissions. Safe to repeat."""
    if app_label not in OUR_APPS:
        return
    permissions = {
        permission.codename: permission
        for permission in Permission.objects.filter(content_type__app_label=app_label)
    }
    viewing = [permission for name, permission in permissions.items() if name.startswith("view_")]
    for role, names in ROLES.items():
        group, _ = Group.objects.get_or_create(name=role)
        wanted = [name.partition(".")[2] for name in names if name.startswith(f"{app_label}.")]
        group.permissions.add(*viewing, *(permissions[name] for name in wanted if name in permissions))


def connect_roles() -> None:
    """Keep the groups in step after each migration."""
    post_migrate.connect(_sync_after_migrate, dispatch_uid="accounts.sync_roles")


def _sync_after_migrate(*, app_config: AppConfig, using: str, **_: Any) -> None:
    if using == "default":
        sync_roles(app_config.label)
