"""What a look at a customer comes to: for people, for the row, for alerts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.customers.comparing import TAX_ID, Held, Order, describe_held, is_same_tax_id
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.states import (
    CHANGED_AT_STRIPE,
    FIELD_REFUSED,
    SYNC_FAILED,
    TAX_ID_UNVERIFIED,
    SyncState,
    Verdict,
)
from billing_worker.customers.wording import describe_value, name_field


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An account, its customer as Stripe had it at that moment, and what is to be done about it."""

    account: Account
    customer: gateway.Customer
    wanted: dict[str, Any]
    held: Held
    order: Order

    @property
    def lacks_owner(self) -> bool:
        """The customer does not say whose it is. That key of its metadata is ours alone."""
        return "account_id" not in self.customer.metadata

    @property
    def is_done(self) -> bool:
        return self.order.is_empty and not self.lacks_owner

    def get_theirs(self, field: str) -> Any:
        return describe_held(self.held.tax_ids) if field == TAX_ID else self.held.values[field]

    def describe_found(self) -> dict[str, Any]:
        """The customer as the row keeps it."""
        return {
            "values": dict(self.held.values),
            "tax_ids": [asdict(tax_id) for tax_id in self.held.tax_ids],
            "tax_exempt": self.customer.tax_exempt,
            "has_payment_method": self.customer.default_payment_method is not None,
        }


def describe_order(look: Look) -> str:
    """The differences and what will become of them, for people: `language de-DE, de, not en-US, en: to be written`."""
    said = []
    for field, verdict in look.order.verdicts.items():
        if verdict in (Verdict.SAME, Verdict.THEIRS_ALONE):
            continue
        ours, theirs = describe_value(look.wanted[field]), describe_value(look.get_theirs(field))
        said.append(f"{name_field(field)}: ours {ours}, Stripe's {theirs} ({verdict.value})")
    if look.lacks_owner:
        said.append(f"account_id {look.account.pk} in its metadata ({Verdict.WRITE.value})")
    return "; ".join(said)


def settle_row(look: Look, *, now: datetime) -> dict[str, Any]:
    """The row's columns once nothing is left to write."""
    order = look.order
    if order.list(Verdict.REFUSED):
        state = SyncState.REFUSED
    elif order.list(Verdict.THEIRS):
        state = SyncState.DIFFERS
    else:
        state = SyncState.SYNCED
    return {
        "state": state, "looked_for": look.wanted, "synced_at": now, "told_at": None, "error": "",
    }  # fmt: skip


def settle_alerts(row: CustomerSync, look: Look, *, now: datetime) -> None:
    """Raise what a person should see, and close what is no longer so."""
    resolve_alert(name=SYNC_FAILED, subject=f"account {row.account_id}", now=now)
    _set_alert(
        FIELD_REFUSED, row.account_id, Severity.WARNING, now=now,
        detail="; ".join(
            f"{name_field(field)} {describe_value(look.wanted[field])}: {row.refused[field]['reason']}"
            for field in look.order.list(Verdict.REFUSED)
        ),
    )  # fmt: skip
    _set_alert(
        CHANGED_AT_STRIPE, row.account_id, Severity.INFO, now=now,
        detail="; ".join(
            f"{name_field(field)}: ours {describe_value(look.wanted[field])}, "
            f"Stripe's {describe_value(look.get_theirs(field))}"
            for field in look.order.list(Verdict.THEIRS)
        ),
    )  # fmt: skip
    _set_alert(
        TAX_ID_UNVERIFIED, row.account_id, Severity.WARNING, now=now,
        detail="; ".join(
            f"{held.type} {held.value} is not known to the register that Stripe asked"
            for held in look.held.tax_ids
            if held.status == "unverified" and is_same_tax_id(held.describe(), look.wanted[TAX_ID])
        ),
    )  # fmt: skip


def _set_alert(name: str, account_id: int, severity: Severity, *, detail: str, now: datetime) -> None:
    subject = f"account {account_id}"
    if detail:
        context = {"account": account_id}
        raise_alert(name=name, severity=severity, subject=subject, detail=detail, now=now, context=context)
    else:
        resolve_alert(name=name, subject=subject, now=now)
