"""Reads about customers at Stripe beside their accounts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Case, F, QuerySet, When

from billing_worker.accounts.models import Account
from billing_worker.customers.comparing import Order, compute_order
from billing_worker.customers.models import CustomerSync
from billing_worker.customers.states import SyncState
from billing_worker.customers.wanted import build_wanted

#: Every customer is read again after so long, whether something was heard of it or not.
LOOK_AGAIN_AFTER: Final = timedelta(hours=24)
#: So many of those at a time: an hourly run of 10,000 accounts spreads them over the day.
LOOK_AGAIN_AT_ONCE: Final = 1000


def list_followed(account_ids: Collection[int] | None = None) -> QuerySet[CustomerSync]:
    """The followed customers with their accounts, those that were never or longest ago read first.

    Those that failed come last: what Stripe can't answer must not keep the others waiting.
    """
    is_failed = Case(When(state=SyncState.FAILED, then=1), default=0)
    order = (is_failed, F("read_at").asc(nulls_first=True), "pk")
    rows = CustomerSync.objects.select_related("account").order_by(*order)
    return rows if account_ids is None else rows.filter(account_id__in=account_ids)


def list_due(*, now: datetime, account_ids: Collection[int] | None = None) -> list[CustomerSync]:
    """The customers to look at: told of or failed, of changed accounts, and some not looked at for a day."""
    due, waiting = [], []
    for row in list_followed(account_ids):
        if is_due(row):
            due.append(row)
        elif row.read_at is None or row.read_at < now - LOOK_AGAIN_AFTER:
            waiting.append(row)
    return due + waiting[:LOOK_AGAIN_AT_ONCE]


def build_unfollowed(account_ids: Collection[int]) -> list[CustomerSync]:
    """Rows that are not in the database, for the accounts among these that have a customer and are not followed."""
    accounts = Account.objects.filter(
        pk__in=account_ids, stripe_customer_id__isnull=False, customer_sync__isnull=True
    )
    return [CustomerSync(account=account) for account in accounts.order_by("pk")]


def is_due(row: CustomerSync) -> bool:
    """Whether something is known to have happened since the customer was last looked at."""
    if row.read_at is None or row.told_at is not None or row.state == SyncState.FAILED:
        return True
    return bool(build_wanted(row.account) != row.looked_for)


def compare_row(row: CustomerSync, account: Account, *, overwrite: Iterable[str] = ()) -> Order | None:
    """The account beside what Stripe had when it was last read; None before that."""
    held = row.held
    if held is None:
        return None
    return compute_order(build_wanted(account), held, row.memory, overwrite=frozenset(overwrite))
