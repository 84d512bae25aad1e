"""Carry out what was approved: claim, commit, call, settle.

Every step may be the last before a kill. A claim is a committed conditional update. `called_at` is committed before the
first call; whoever takes a claim over that was called looks at Stripe for the true-up's reference first, and asks again
only if nothing is there, under the same idempotency key. So each true-up becomes one object, whoever dies where.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog
from django.db.models import F, Q, QuerySet

from billing_worker import gateway
from billing_worker.alerts.metrics import TRUE_UPS
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import Severity
from billing_worker.core.money import round_half_up
from billing_worker.core.periods import Period
from billing_worker.core.rating import USAGE_TYPES
from metering.true_ups.arithmetic import load_step
from metering.true_ups.models import TrueUp
from metering.true_ups.states import TrueUpState

log = structlog.get_logger(__name__)

TRUE_UP_FAILED: Final = "true_up_failed"
#: Longer than the look-up and the call may take, each tried three times with the greatest time-out.
CLAIM_EXPIRES_AFTER: Final = timedelta(minutes=10)
_PAUSES: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
ALERT_AFTER_ATTEMPTS: Final = 3
#: Stripe's limit for one value of metadata.
MAX_METADATA: Final = 500


def work_true_ups(
    *, clock: Callable[[], datetime], claim_expires_after: timedelta = CLAIM_EXPIRES_AFTER
) -> dict[str, int]:
    """Everything that is approved and due, also what a dead worker left. Returns how many by the state reached."""
    counts: dict[str, int] = {}
    for true_up_id in _select_due(clock(), claim_expires_after).order_by("pk").values_list("pk", flat=True):
        # By the clock each time: calls take long, and a claim dated at the sweep's start would look abandoned.
        state = work_true_up(true_up_id=true_up_id, now=clock(), claim_expires_after=claim_expires_after)
        counts[state] = counts.get(state, 0) + 1
    return counts


def work_true_up(
    *, true_up_id: int, now: datetime, claim_expires_after: timedelta = CLAIM_EXPIRES_AFTER
) -> str:
    """Make one approved true-up's object at Stripe unless it is there. Call it outside transactions.

    Returns the state it is in then; another worker's claim is left alone.
    """
    token = secrets.token_hex(16)
    claimed = (
        _select_due(now, claim_expires_after)
        .filter(pk=true_up_id)
        .update(state=TrueUpState.CALLING, claim_token=token, claimed_at=now, attempts=F("attempts") + 1)
    )
    true_up = TrueUp.objects.select_related("payer").get(pk=true_up_id)
    if not claimed or true_up.claim_token != token:
        return true_up.state
    try:
        object_id = _find(true_up) if true_up.called_at else None
        if object_id is None:
            if not _mine(true_up).update(called_at=now):
                return true_up.state
            object_id = _make(true_up)
    except gateway.GatewayRejected as error:
        return _refuse(true_up, error, now=now)
    except gateway.GatewayError as error:
        return _put_off(true_up, error, now=now)
    if _settle(true_up, TrueUpState.SETTLED, stripe_object_id=object_id, settled_at=now, last_error=""):
        resolve_alert(name=TRUE_UP_FAILED, subject=_name(true_up), now=now)
        log.info("true_up_settled", true_up=true_up.pk, object=object_id)
    return TrueUpState.SETTLED


def _select_due(now: datetime, claim_expires_after: timedelta) -> QuerySet[TrueUp]:
    due = Q(state=TrueUpState.APPROVED) & (Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now))
    abandoned = Q(state=TrueUpState.CALLING, claimed_at__lte=now - claim_expires_after)
    return TrueUp.objects.filter(due | abandoned)


# -- at Stripe ---------------------------------------------------------------------------------------------------------


def _find(true_up: TrueUp) -> str | None:
    """The object that an earlier call made, by the reference in its metadata."""
    if true_up.is_credit:
        for note in gateway.list_credit_notes(true_up.credited_invoice_id):
            if note.metadata.get("true_up") == true_up.reference and note.status != "void":
                return note.id
        return None
    for item in gateway.list_invoice_items(customer=_get_customer(true_up)):
        if item.metadata.get("true_up") == true_up.reference:
            return item.id
    return None


def _make(true_up: TrueUp) -> str:
    return _make_credit_note(true_up) if true_up.is_credit else _make_item(true_up)


def _make_item(true_up: TrueUp) -> str:
    item = gateway.create_invoice_item(
        customer=_get_customer(true_up),
        amount_minor=true_up.amount_minor,
        currency=true_up.currency,
        description=describe(true_up),
        period_start=true_up.period_start,
        period_end=true_up.period_end,
        metadata=build_metadata(true_up),
        idempotency_key=true_up.idempotency_key,
    )
    return item.id


def _make_credit_note(true_up: TrueUp) -> str:
    """What is still due of the invoice is reduced; what was paid goes to the customer's balance."""
    invoice = gateway.get_invoice(true_up.credited_invoice_id)
    parts = {part["invoice_line"]: part for part in true_up.credit_lines}
    lines = [line for line in invoice.lines if line.id in parts]
    total = sum(_get_total(line, parts[line.id]["amount_minor"]) for line in lines)
    due = invoice.amount_remaining_minor if invoice.status != "paid" else 0
    note = gateway.create_credit_note(
        invoice=invoice.id,
        lines=[
            gateway.CreditNoteLineSpec(
                invoice_line=line_id,
                amount_minor=part["amount_minor"],
                metadata={"units": str(part["units"]), "true_up": true_up.reference},
            )
            for line_id, part in parts.items()
        ],
        memo=describe(true_up),
        metadata=build_metadata(true_up),
        credit_to_balance_minor=max(total - due, 0),
        idempotency_key=true_up.idempotency_key,
    )
    return note.id


def _get_total(line: gateway.InvoiceLine, amount_minor: int) -> int:
    """What a credited line comes to with its share of discounts and taxes on top, each rounded half up as Stripe does.

    A tax inside the price is given back with the amount already.
    """
    share = Decimal(amount_minor) / line.amount_minor
    discount = round_half_up(line.discount_minor * share)
    return (
        amount_minor
        - discount
        + sum(round_half_up(tax.amount_minor * share) for tax in line.taxes if not tax.is_inclusive)
    )


def describe(true_up: TrueUp) -> str:
    """As the customer reads it on the invoice."""
    month = f"{Period.parse(true_up.period).start_date:%B %Y}"
    what = f"{true_up.meter} impressions" if true_up.meter in USAGE_TYPES else true_up.meter.replace("_", " ")
    verb = "reported late" if true_up.units > 0 else "taken back"
    return f"{month}: {abs(true_up.units):,} {what} {verb} (account {true_up.account_id})"


def build_metadata(true_up: TrueUp) -> dict[str, str]:
    """What tells reconciliation, and a later look-up, what the object is. `tiers` is `rate:units:amount` for each."""
    steps = [load_step(row) for row in true_up.arithmetic]
    tiers = ";".join(
        f"{step.unit_amount_decimal.normalize():f}:{step.difference_units}:{step.difference_minor}"
        for step in steps
    )
    return {
        "true_up": true_up.reference,
        "kind": true_up.meter if true_up.meter in USAGE_TYPES else "sampled",
        "meter": true_up.meter,
        "account_id": str(true_up.account_id),
        "period": true_up.period,
        "units": str(true_up.units),
        **({"tiers": tiers} if len(tiers) <= MAX_METADATA else {}),
    }


def _get_customer(true_up: TrueUp) -> str:
    customer = true_up.payer.stripe_customer_id
    assert customer is not None, "a true-up's payer has a Stripe customer"
    return customer


# -- settling ----------------------------------------------------------------------------------------------------------


def _refuse(true_up: TrueUp, error: gateway.GatewayRejected, *, now: datetime) -> str:
    if _settle(true_up, TrueUpState.REFUSED, last_error=str(error)[:500]):
        raise_alert(
            name=TRUE_UP_FAILED,
            severity=Severity.CRITICAL,
            subject=_name(true_up),
            detail=f"Stripe refused {describe(true_up)}: {error}. Mend the cause and approve it again, or reject it",
            now=now,
        )
    return TrueUpState.REFUSED


def _put_off(true_up: TrueUp, error: gateway.GatewayError, *, now: datetime) -> str:
    pause = _PAUSES[min(true_up.attempts, len(_PAUSES)) - 1]
    _settle(true_up, TrueUpState.APPROVED, next_attempt_at=now + pause, last_error=str(error)[:500])
    log.warning("true_up_put_off", true_up=true_up.pk, error=str(error))
    if true_up.attempts >= ALERT_AFTER_ATTEMPTS:
        raise_alert(
            name=TRUE_UP_FAILED,
            severity=Severity.CRITICAL,
            subject=_name(true_up),
            detail=f"{describe(true_up)} could not be made at Stripe in {true_up.attempts} tries: {error}",
            now=now,
        )
    return TrueUpState.APPROVED


def _mine(true_up: TrueUp) -> QuerySet[TrueUp]:
    return TrueUp.objects.filter(pk=true_up.pk, state=TrueUpState.CALLING, claim_token=true_up.claim_token)


def _settle(true_up: TrueUp, state: TrueUpState, **changes: Any) -> bool:
    """Write down what came of the claim and give it back; False if it was taken over meanwhile."""
    settled = _mine(true_up).update(state=state, claim_token="", **changes)
    if settled:
        TRUE_UPS.labels(state=state.value).inc()
    return bool(settled)


def _name(true_up: TrueUp) -> str:
    return f"true-up {true_up.pk}"
