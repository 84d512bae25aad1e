"""Which customers are followed, what is heard about them, and what people decide about differences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import F

from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account
from billing_worker.alerts.kicks import kick
from billing_worker.core.errors import Conflict, InvalidInput, NotFound
from billing_worker.customers.comparing import FIELDS, TAX_ID, describe_held
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.selectors import compare_row
from billing_worker.customers.states import Verdict
from billing_worker.customers.wanted import build_wanted

#: The task that looks at one customer, sent by name.
SYNC_TASK = "customers.sync_account"


class NotFollowed(NotFound):
    """The account is not provisioned, so its customer is left alone. Provision its cohort first."""

    code = "customer_not_followed"


class NoSuchDifference(Conflict):
    """The field does not differ any more, or differs in another way. Look at the page again."""

    code = "no_such_difference"


def follow_customers(*, account_ids: list[int], written: Mapping[str, Any] | None = None) -> int:
    """Follow these accounts' customers from now on. Safe to repeat. Answers how many were new.

    `written`: what their customers were created with, if we created them just now.
    """
    held = {name: [value, value] for name, value in (written or {}).items()}
    known = set(CustomerSync.objects.filter(account__in=account_ids).values_list("account_id", flat=True))
    rows = [CustomerSync(account_id=pk, written=held) for pk in account_ids if pk not in known]
    CustomerSync.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def note_customer(*, row_id: int, account_id: int, now: datetime) -> None:
    """Something happened to a customer at Stripe, or to its account: have it looked at soon."""
    CustomerSync.objects.filter(pk=row_id).update(told_at=now, requests=F("requests") + 1)
    kick(SYNC_TASK, account_id)


@transaction.atomic
def decide_difference(
    *,
    account_id: int,
    field: str,
    side: Literal["ours", "theirs"],
    actor: str,
    reason: str,
    now: datetime,
) -> CustomerSync:
    """Settle a field that was changed at Stripe: `theirs` lets it stand until either side changes again.

    `ours` is only recorded here: `sync_account` with `overwrite` writes it.

    Raises:
        NotFollowed: the account is not provisioned.
        InvalidInput: no such field, or no reason.
        NoSuchDifference: the field does not differ (any more).
    """
    if field not in FIELDS:
        raise InvalidInput(f"there is no field {field!r}", fields={"field": ["is unknown"]})
    if not reason.strip():
        raise InvalidInput("say why", fields={"reason": ["is required"]})
    row = CustomerSync.objects.select_for_update().filter(account_id=account_id).first()
    if row is None:
        raise NotFollowed(f"account {account_id} is not provisioned: there is nothing to decide")
    account = Account.objects.get(pk=account_id)
    order = compare_row(row, account)
    if order is None or order.verdicts[field] not in (Verdict.THEIRS, Verdict.KEPT):
        raise NoSuchDifference(f"{field} of account {account_id} does not differ from Stripe's any more")
    ours, theirs = build_wanted(account)[field], get_theirs(row, field)
    kept = {name: value for name, value in row.kept.items() if name != field}
    if side == "theirs":
        kept[field] = [ours, theirs]
    CustomerSync.objects.filter(pk=row.pk).update(kept=kept, told_at=now, requests=F("requests") + 1)
    record_audit(
        actor=actor, action=f"customer.{side}_decided", subject_type="account", subject_id=account_id, at=now,
        reason=reason, before={field: theirs}, after={field: ours if side == "ours" else theirs},
    )  # fmt: skip
    row.refresh_from_db()
    return row


def get_theirs(row: CustomerSync, field: str) -> Any:
    """A field as Stripe had it when it was last read; the tax ids as a list."""
    held = row.held
    if held is None:
        return None
    return describe_held(held.tax_ids) if field == TAX_ID else held.values[field]
