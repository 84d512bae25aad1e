"""Subscriptions follow their accounts' plans: the right price at the turn of each month, without prorations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from django.db import IntegrityError, transaction
from django.db.models import Max

from billing_worker import gateway
from billing_worker.accounts.audit import record_audit
from billing_worker.accounts.models import Account
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.errors import BillingError, Conflict
from cohorts.models import CohortMember, SubscriptionChange
from cohorts.services.sync_orders import Order, OrderBook, Snapshot
from cohorts.states import ChangeState

#: Stripe forgets idempotency keys after a day; a change that was not confirmed by then is worked out anew.
KEY_LIVES_FOR: Final = timedelta(hours=20)
SYNC_FAILED: Final = "subscription_sync_failed"

Outcome = Literal["unchanged", "changed", "planned", "waiting", "failed"]


class ChangeNotTaken(Conflict):
    """Stripe answered, and the subscription is still not as wanted. The next run works the change out anew."""

    code = "change_not_taken"


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
    pending = SubscriptionChange.objects.filter(
        stripe_subscription_id=book.get_subscription_id(payer), state=ChangeState.PENDING
    )
    if mirrored is not None and book.compute(payer, mirrored, now=now).is_settled and not pending.exists():
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
    """The committed row for the order: a pending one that asks for the same, or a new one. None: lost a race."""
    request = order.build_request()
    try:
        with transaction.atomic():
            # One row to queue at: numbers are given out one by one.
            CohortMember.objects.select_for_update().get(account_id=order.account_id)
            rows = SubscriptionChange.objects.filter(stripe_subscription_id=order.subscription_id)
            for row in rows.filter(state=ChangeState.PENDING):
                if row.request == request and now - row.created_at < KEY_LIVES_FOR:
                    return row
                rows.filter(pk=row.pk).update(state=ChangeState.SUPERSEDED, settled_at=now)
            return SubscriptionChange.objects.create(
                account_id=order.account_id,
                stripe_subscription_id=order.subscription_id,
                number=(rows.aggregate(last=Max("number"))["last"] or 0) + 1,
                period=str(order.period),
                summary=order.describe()[:500],
                request=request,
                created_at=now,
            )
    except IntegrityError:
        return None


def _apply(
    *, change: SubscriptionChange, order: Order, book: OrderBook, payer: Account, actor: str, now: datetime
) -> None:
    """Ask Stripe, look whether it did, and settle the row. An unknown outcome leaves it pending for the next run."""
    try:
        answer = gateway.change_subscription(
            order.subscription_id,
            items=[_build_item(item) for item in change.request["items"]],
            cancel_at_period_end=change.request["cancel_at_period_end"],
            idempotency_key=f"subscription-change:{order.subscription_id}:{change.number}",
        )
    except gateway.GatewayRejected as error:
        _settle(change, ChangeState.REFUSED, now=now, error=str(error)[:500])
        raise
    left = book.compute(payer, Snapshot.of(answer), now=now)
    if left.build_request() == change.request:
        _settle(change, ChangeState.SUPERSEDED, now=now, error="Stripe answered without the change")
        raise ChangeNotTaken(
            f"account {payer.pk}: Stripe answered, and {order.describe()} is still to be done"
        )
    _note_applied(change, actor=actor, now=now)


@transaction.atomic
def _note_applied(change: SubscriptionChange, *, actor: str, now: datetime) -> None:
    if _settle(change, ChangeState.APPLIED, now=now):
        record_audit(
            actor=actor, action="subscription.changed", subject_type="account", subject_id=change.account_id, at=now,
            reason=f"the plan in force from {change.period}",
            after={
                "subscription": change.stripe_subscription_id, "change": change.summary, "number": change.number
            },
        )  # fmt: skip


def _settle(change: SubscriptionChange, state: ChangeState, *, now: datetime, error: str = "") -> bool:
    """Whether this worker was the first to settle it."""
    return bool(
        SubscriptionChange.objects.filter(pk=change.pk, state=ChangeState.PENDING).update(
            state=state, settled_at=now, error=error
        )
    )


def _build_item(item: dict[str, Any]) -> gateway.SubscriptionItemChange:
    return gateway.SubscriptionItemChange(
        id=item["id"],
        price=item["price"],
        quantity=item["quantity"],
        metadata={"account_ids": item["account_ids"]} if item["account_ids"] else {},
        is_removal=item["is_removal"],
    )
