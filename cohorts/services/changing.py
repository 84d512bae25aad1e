"""One change of a subscription: committed before Stripe is asked, asked for once by its number, settled after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from django.db import IntegrityError, transaction
from django.db.models import Max

from billing_worker import gateway
from billing_worker.accounts.audit import record_audit
from billing_worker.core.errors import Conflict
from cohorts.models import CohortMember, SubscriptionChange
from cohorts.states import ChangeState

#: Stripe forgets idempotency keys after a day; a change that was not confirmed by then is worked out anew.
KEY_LIVES_FOR: Final = timedelta(hours=20)


class ChangeNotTaken(Conflict):
    """Stripe answered, and the subscription is still not as wanted. The next run works the change out anew."""

    code = "change_not_taken"


def plan_change(
    *,
    account_id: int,
    subscription_id: str,
    period: str,
    summary: str,
    request: dict[str, Any],
    is_still_wanted: Callable[[], bool],
    now: datetime,
) -> SubscriptionChange | None:
    """The committed row for the request: a pending one that asks for the same, or a new one.

    None: lost a race, or `is_still_wanted`, asked under the account's lock, says no. A change that plans an end and one
    that follows a plan don't supersede each other.
    """
    try:
        with transaction.atomic():
            # One row to queue at: numbers are given out one by one.
            lock_members(account_id)
            if not is_still_wanted():
                return None
            rows = SubscriptionChange.objects.filter(stripe_subscription_id=subscription_id)
            for row in rows.filter(state=ChangeState.PENDING):
                if row.request == request and now - row.created_at < KEY_LIVES_FOR:
                    return row
                if plans_end(row.request) == plans_end(request):
                    rows.filter(pk=row.pk).update(state=ChangeState.SUPERSEDED, settled_at=now)
            return SubscriptionChange.objects.create(
                account_id=account_id,
                stripe_subscription_id=subscription_id,
                number=(rows.aggregate(last=Max("number"))["last"] or 0) + 1,
                period=period,
                summary=summary[:500],
                request=request,
                created_at=now,
            )
    except IntegrityError:
        return None


def lock_members(*account_ids: int) -> list[CohortMember]:
    """Hold these accounts' places in cohorts until the transaction ends: the first lock of whoever changes them."""
    rows = CohortMember.objects.select_for_update().filter(account_id__in=account_ids)
    return list(rows.order_by("pk"))


def plans_end(request: dict[str, Any]) -> bool:
    """Whether the request sets or lifts the instant at which a rollback ends the subscription."""
    return "cancel_at" in request


def ask_for_change(change: SubscriptionChange, *, now: datetime) -> gateway.Subscription:
    """Ask Stripe with the change's own key. A refusal settles the row; an unknown outcome leaves it pending.

    Raises:
        GatewayError: Stripe refused or did not answer.
    """
    try:
        return gateway.change_subscription(
            change.stripe_subscription_id,
            items=[_build_item(item) for item in change.request.get("items", ())],
            cancel_at_period_end=change.request.get("cancel_at_period_end"),
            cancel_at=_read_end(change.request.get("cancel_at")),
            idempotency_key=f"subscription-change:{change.stripe_subscription_id}:{change.number}",
        )
    except gateway.GatewayRejected as error:
        settle_change(change, ChangeState.REFUSED, now=now, error=str(error)[:500])
        raise


@transaction.atomic
def note_applied(change: SubscriptionChange, *, actor: str, reason: str, now: datetime) -> None:
    """Stripe has the change. Audited by whoever settles it first."""
    if settle_change(change, ChangeState.APPLIED, now=now):
        record_audit(
            actor=actor, action="subscription.changed", subject_type="account", subject_id=change.account_id, at=now,
            reason=reason,
            after={
                "subscription": change.stripe_subscription_id, "change": change.summary, "number": change.number
            },
        )  # fmt: skip


def settle_change(change: SubscriptionChange, state: ChangeState, *, now: datetime, error: str = "") -> bool:
    """Whether this worker was the first to settle it."""
    return bool(
        SubscriptionChange.objects.filter(pk=change.pk, state=ChangeState.PENDING).update(
            state=state, settled_at=now, error=error
        )
    )


def _read_end(value: int | str | None) -> datetime | Literal[""] | None:
    if value is None:
        return None
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int) else ""


def _build_item(item: dict[str, Any]) -> gateway.SubscriptionItemChange:
    return gateway.SubscriptionItemChange(
        id=item["id"],
        price=item["price"],
        quantity=item["quantity"],
        metadata={"account_ids": item["account_ids"]} if item["account_ids"] else {},
        is_removal=item["is_removal"],
    )
