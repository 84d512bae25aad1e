"""Keep our projections equal to Stripe, whatever order the events arrive in.

An event carries its object as it was when it happened. The rules, in order:

1. An event older than the newest one a row has seen changes nothing.
2. An event that would move an object back (a paid invoice to open), or that differs within the same second (Stripe's
   times have no more), is in doubt: the object is read again. So is one whose payload is cut short (lines come in
   pages) or in another API version than ours.
3. Everything else is applied.

Reading happens outside of any transaction (`NeedsReading` says that it must), and its result is written only if the
row has not been written since the read began; otherwise it is read once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import find_account_id
from billing_worker.mirror.models import (
    StripeCreditNote,
    StripeCreditNoteLine,
    StripeInvoice,
    StripeInvoiceLine,
    StripeSubscription,
)
from billing_worker.mirror.projections import PROJECTIONS, Projection


class NeedsReading(Exception):
    """Not an error: leave the transaction, `read_object`, and apply the event again with the reading."""

    def __init__(self, *, kind: str, object_id: str, version: int | None) -> None:
        super().__init__(f"{kind} {object_id} must be read from Stripe")
        self.kind = kind
        self.object_id = object_id
        self.version = version


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An object as read from Stripe (None: gone) and the row's version before the read began (None: no row)."""

    content: Any
    version: int | None


def read_object(need: NeedsReading) -> Reading:
    """Read an object from Stripe. Never inside a transaction.

    Raises:
        GatewayError: Stripe could not be asked; the event must be tried again.
    """
    try:
        content = PROJECTIONS[need.kind].read(need.object_id)
    except gateway.GatewayNotFound:
        # Deleted since, with its test clock for instance: what the event tells is all there is.
        content = None
    return Reading(content=content, version=need.version)


def apply_payload(
    payload: Mapping[str, Any],
    *,
    event_created_at: datetime,
    is_foreign_version: bool = False,
    reading: Reading | None = None,
) -> bool:
    """Bring the projection of an event's object up to date. Call it in a transaction that holds the customer's lock.

    True if the row was written. Objects without a projection are left alone.

    Raises:
        NeedsReading: leave the transaction, read, and call again with the `reading`.
    """
    projection = PROJECTIONS.get(payload.get("object", ""))
    if projection is None:
        return False
    row: Any = projection.model._default_manager.filter(**{projection.id_field: payload["id"]}).first()
    if row is not None and event_created_at < row.last_event_at:
        return False
    version = row.version if row is not None else None
    need = NeedsReading(kind=projection.kind, object_id=payload["id"], version=version)
    is_read = reading is not None and reading.version == version
    if is_foreign_version and not is_read:
        raise need
    content = reading.content if is_read and reading else None
    if content is None:
        content = projection.parse(payload)
    values = projection.describe(content)
    if not is_read:
        if row is not None and _is_known(row, values, event_created_at):
            return False
        if projection.is_cut_short(content) or (
            row is not None and _is_doubtful(projection, row, values, event_created_at)
        ):
            raise need
    _write(projection, row, payload["id"], values, content, event_created_at)
    return True


def _is_known(row: Any, values: Mapping[str, Any], event_created_at: datetime) -> bool:
    """The same second and the same content: nothing new."""
    return event_created_at == row.last_event_at and not _differs(row, values)


def _is_doubtful(
    projection: Projection, row: Any, values: Mapping[str, Any], event_created_at: datetime
) -> bool:
    return event_created_at == row.last_event_at or projection.is_back(row.status, values["status"])


def _differs(row: Any, values: Mapping[str, Any]) -> bool:
    return any(getattr(row, name) != value for name, value in values.items())


def _write(
    projection: Projection,
    row: Any,
    object_id: str,
    values: Mapping[str, Any],
    content: Any,
    event_created_at: datetime,
) -> None:
    changes = {
        **values,
        "account_id": _resolve_account_id(row, values["customer"]),
        "last_event_at": event_created_at,
        "version": (row.version if row is not None else 0) + 1,
    }
    is_new = row is None
    if is_new:
        row = projection.model._default_manager.create(**{projection.id_field: object_id}, **changes)
    else:
        changed = [name for name, value in changes.items() if getattr(row, name) != value]
        for name in changed:
            setattr(row, name, changes[name])
        row.save(update_fields=changed)
    projection.write_parts(row, content, is_new=is_new)


def _resolve_account_id(row: Any, customer: str) -> int | None:
    """The payer's key. An account keeps its customer, so a row that knows its payer is not looked up again."""
    if row is not None and row.account_id is not None and row.customer == customer:
        return int(row.account_id)
    return find_account_id(customer)


def adopt_rows() -> int:
    """Give rows that came before their customer was linked to an account to that account. Returns how many."""
    adopted = 0
    for model in (StripeInvoice, StripeSubscription, StripeCreditNote):
        orphans = model._default_manager.filter(account__isnull=True)
        customers = set(orphans.order_by().values_list("customer", flat=True).distinct())
        if not customers:
            continue
        for account in Account.objects.filter(stripe_customer_id__in=customers):
            adopted += orphans.filter(customer=account.stripe_customer_id).update(
                account=account, version=F("version") + 1
            )
            if model is StripeInvoice:
                StripeInvoiceLine.objects.filter(
                    account__isnull=True, invoice__customer=account.stripe_customer_id
                ).update(account=account)
            if model is StripeCreditNote:
                StripeCreditNoteLine.objects.filter(
                    account__isnull=True, credit_note__customer=account.stripe_customer_id
                ).update(account=account)
    return adopted
