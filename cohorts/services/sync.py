"""Subscriptions follow their accounts' plans: the right price at the turn of each month, without prorations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from billing_worker import gateway
from billing_worker.accounts.models import Account
from billing_worker.accounts.selectors import get_biller
from billing_worker.accounts.states import Biller
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.errors import BillingError
from cohorts.models import SubscriptionChange
from cohorts.services.changing import (
    ChangeNotTaken,
    ask_for_change,
    note_applied,
    plan_change,
    plans_end,
    settle_change,
)
from cohorts.services.sync_orders import Order, OrderBook, Snapshot
from cohorts.states import ChangeState

SYNC_FAILED: Final = "subscription_sync_failed"

Outcome = Literal["unchanged", "changed", "planned", "waiting", "failed"]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What became of one payer's subscription. `planned` only on a dry run; `waiting` says for what in `detail`."""

    account_id: int
    outcome: Outcome
    detail: str = ""


def sync_subscriptions(
    *,
    now: datetime,
    actor: str,
    cohort_id: int | None = None,
    account_ids: Collection[int] | None = None,
    is_dry_run: bool = False,
    track: Callable[[list[Account]], Iterable[Account]] = iter,
) -> list[SyncResult]:
    """Make every provisioned subscription bill by its account's plan, from the month on that the plan says.

    A fee is exchanged in the last days before the month that it holds for, a tier table after the usage of the month
    before is invoiced. Nothing is ever prorated. Safe to repeat, to interrupt and to run twice at once; one payer's
    trouble is alerted and keeps nobody else. Not to be called in a transaction.
    """
    book = OrderBook(cohort_id=cohort_id, account_ids=account_ids)
    results = []
    for payer in track(book.payers):
        subject = f"account {payer.pk}"
        try:
            result = _sync_payer(book=book, payer=payer, actor=actor, now=now, is_dry_run=is_dry_run)
        except BillingError as error:
            result = SyncResult(payer.pk, "failed", str(error))
        if not is_dry_run and result.outcome == "failed":
            raise_alert(
                name=SYNC_FAILED, severity=Severity.WARNING, subject=subject, detail=result.detail, now=now
            )
        elif not is_dry_run and result.outcome in ("unchanged", "changed"):
            resolve_alert(name=SYNC_FAILED, subject=subject, now=now)
        results.append(result)
    return results


def _sync_payer(
    *, book: OrderBook, payer: Account, actor: str, now: datetime, is_dry_run: bool
) -> SyncResult:
    mirrored = book.get_mirrored(payer)
    pending = [
        change
        for change in SubscriptionChange.objects.filter(
            stripe_subscription_id=book.get_subscription_id(payer), state=ChangeState.PENDING
        )
        if not plans_end(change.request)
    ]
    if mirrored is not None and book.compute(payer, mirrored, now=now).is_settled and not pending:
        return SyncResult(payer.pk, "unchanged")
    snapshot = Snapshot.of(gateway.get_subscription(book.get_subscription_id(payer)))
    order = book.compute(payer, snapshot, now=now)
    if order.needs_closed_draft and _has_open_draft(snapshot):
        order = order.without_metered()
    if order.is_settled:
        # Asked for before, and the answer was lost: it did happen.
        for lost in () if is_dry_run else pending:
            _note_applied(lost, actor=actor, now=now)
        return SyncResult(payer.pk, "unchanged")
    if order.is_empty:
        return SyncResult(payer.pk, "waiting", order.waits_for)
    if is_dry_run:
        return SyncResult(payer.pk, "planned", order.describe())
    change = _plan(order, now=now)
    if change is None:
        return SyncResult(payer.pk, "waiting", "another worker is at it")
    _apply(change=change, order=order, book=book, payer=payer, actor=actor, now=now)
    return SyncResult(payer.pk, "changed", order.describe())


def _has_open_draft(snapshot: Snapshot) -> bool:
    """Whether the usage of the month before is still being rated, by the prices that the items have."""
    if snapshot.latest_invoice is None:
        return False
    return gateway.get_invoice(snapshot.latest_invoice).status == "draft"


def _plan(order: Order, *, now: datetime) -> SubscriptionChange | None:
    """The committed row for the order. None: lost a race, or the month was handed to legacy since the run began."""
    return plan_change(
        account_id=order.account_id,
        subscription_id=order.subscription_id,
        period=str(order.period),
        summary=order.describe(),
        request=order.build_request(),
        is_still_wanted=lambda: get_biller(order.account_id, order.period) == Biller.STRIPE,
        now=now,
    )


def _apply(
    *, change: SubscriptionChange, order: Order, book: OrderBook, payer: Account, actor: str, now: datetime
) -> None:
    """Ask Stripe, look whether it did, and settle the row. An unknown outcome leaves it pending for the next run."""
    answer = ask_for_change(change, now=now)
    left = book.compute(payer, Snapshot.of(answer), now=now)
    if left.build_request() == change.request:
        settle_change(change, ChangeState.SUPERSEDED, now=now, error="Stripe answered without the change")
        raise ChangeNotTaken(
            f"account {payer.pk}: Stripe answered, and {order.describe()} is still to be done"
        )
    _note_applied(change, actor=actor, now=now)


def _note_applied(change: SubscriptionChange, *, actor: str, now: datetime) -> None:
    note_applied(change, actor=actor, reason=f"the plan in force from {change.period}", now=now)
