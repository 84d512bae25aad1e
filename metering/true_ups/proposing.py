"""Late usage becomes proposals: which meter events can't be billed by Stripe any more, and what they come to.

Three kinds of events are taken over, each exactly once (a `TrueUpPart` is unique on its event):

- events that were never sent whose period is billed: they leave the queue in the same transaction;
- events that are `expired`, because Stripe refuses them for their age, whether or not an invoice billed their month;
- events that were sent while the invoice was being finalized and are not on it: the newest ones whose units are exactly
  what the invoice lacks. They stay `sent`; a true-up bills them.

An event whose call's outcome is unknown is never taken: it may have been counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet, Sum

from billing_worker.accounts.models import Account
from billing_worker.alerts.metrics import TRUE_UPS
from billing_worker.alerts.services import raise_alert, resolve_alert
from billing_worker.alerts.states import AlertName, Severity
from billing_worker.core.money import format_minor
from billing_worker.core.periods import Period
from metering.models import MeterEvent
from metering.services.ingest import retry_busy
from metering.states import EventState
from metering.true_ups.billed import billed_for_event, record_missing
from metering.true_ups.models import BilledUsage, TrueUp, TrueUpLock, TrueUpPart
from metering.true_ups.pricing import Position, Price, find_position, price_units
from metering.true_ups.states import WAITING_STATES, TrueUpState

log = structlog.get_logger(__name__)

TRUE_UP_WAITING: Final = "true_up_waiting"
#: Between an invoice's finalization and our word of it: what was sent then is on its meter and not on the invoice.
WORD_TAKES: Final = timedelta(minutes=10)
#: Older invoices are not compared with what was sent any more.
LOOKS_BACK: Final = timedelta(days=60)


@dataclass(slots=True)
class ProposalResult:
    """What a run did: payers looked at, true-ups made, units and events that they cover."""

    payers: int = 0
    proposed: int = 0
    free: int = 0
    events: int = 0
    true_ups: list[int] = field(default_factory=list)


def propose_true_ups(
    *, now: datetime, period: Period | None = None, account_id: int | None = None
) -> Iterator[ProposalResult]:
    """Propose for everything that came late, a payer at a time; yields the result so far. Opens its own transactions.

    Safe to run twice at once and to kill anywhere: an event is in one proposal or in none.
    """
    record_missing(now=now)
    result = ProposalResult()
    for payer_id in _list_payers(period, account_id, now):
        made: list[TrueUp] = retry_busy(partial(_propose_for, payer_id, period, account_id, now))
        result.payers += 1
        for true_up in made:
            result.true_ups.append(true_up.pk)
            result.events += true_up.parts.count()
            result.proposed += true_up.state == TrueUpState.PROPOSED
            result.free += true_up.state == TrueUpState.NO_CHARGE
            TRUE_UPS.labels(state=true_up.state).inc()
            log.info("true_up_proposed", true_up=true_up.pk, account=true_up.account_id, units=true_up.units)
        yield result


def select_late_events(period: Period | None = None, account_id: int | None = None) -> QuerySet[MeterEvent]:
    """Events that only a true-up can bill: expired ones, and those never sent whose period is billed."""
    late = Q(state=EventState.EXPIRED) | Q(billed_for_event(), state=EventState.PENDING)
    events = MeterEvent.objects.filter(
        late, uncertain_at__isnull=True, payer__isnull=False, lane__isnull=False, true_up_part__isnull=True
    )
    return _narrow(events, period, account_id)


def _narrow(
    events: QuerySet[MeterEvent], period: Period | None, account_id: int | None
) -> QuerySet[MeterEvent]:
    if period is not None:
        events = events.filter(period=str(period))
    return events if account_id is None else events.filter(account=account_id)


def _list_payers(period: Period | None, account_id: int | None, now: datetime) -> list[int]:
    late = select_late_events(period, account_id).order_by().values_list("payer_id", flat=True).distinct()
    short = [row.payer_id for row, _ in _find_shortages(None, now)]
    return sorted({*late, *short})


@transaction.atomic
def _propose_for(payer_id: int, period: Period | None, account_id: int | None, now: datetime) -> list[TrueUp]:
    lock_payer(payer_id)
    late = list(select_late_events(period, account_id).filter(payer=payer_id).order_by("pk"))
    taken = _take_over(late)
    uncounted = [
        event
        for row, shortage in _find_shortages(payer_id, now)
        for event in _find_uncounted(row, shortage)
        if (period is None or event.period == str(period)) and account_id in (None, event.account_id)
    ]
    groups: defaultdict[tuple[int, Position], list[MeterEvent]] = defaultdict(list)
    for event in sorted([*taken, *uncounted], key=lambda event: event.pk):
        groups[event.account_id, find_position(event)].append(event)
    return [
        _propose(events, position, now)
        for (_, position), events in sorted(groups.items(), key=lambda item: (item[0][1].start, item[0][0]))
    ]


def lock_payer(payer_id: int) -> None:
    """Hold the payer's true-ups until the transaction ends."""
    TrueUpLock.objects.get_or_create(payer_id=payer_id)
    TrueUpLock.objects.select_for_update().get(payer=payer_id)


def _take_over(events: Sequence[MeterEvent]) -> list[MeterEvent]:
    """Take events out of the sender's reach; those that it has claimed meanwhile stay its own."""
    ids = [event.pk for event in events]
    free = MeterEvent.objects.filter(
        pk__in=ids, state__in=[EventState.PENDING, EventState.EXPIRED], uncertain_at__isnull=True
    )
    locked = list(free.select_for_update().order_by("pk"))
    MeterEvent.objects.filter(pk__in=[event.pk for event in locked]).update(
        state=EventState.SKIPPED, reason="billed as a true-up", next_attempt_at=None
    )
    return locked


def _find_shortages(payer_id: int | None, now: datetime) -> Iterator[tuple[BilledUsage, int]]:
    """Billed stretches whose invoice lacks some of what was sent around its finalization, and how many units."""
    around = MeterEvent.objects.filter(
        payer=OuterRef("payer_id"),
        meter=OuterRef("meter"),
        state=EventState.SENT,
        true_up_part__isnull=True,
        at__gte=OuterRef("period_start"),
        at__lt=OuterRef("period_end"),
        sent_at__gte=ExpressionWrapper(OuterRef("recorded_at") - WORD_TAKES, output_field=DateTimeField()),
    )
    rows = BilledUsage.objects.filter(Exists(around), recorded_at__gte=now - LOOKS_BACK)
    if payer_id is not None:
        rows = rows.filter(payer=payer_id)
    for row in rows:
        sent = _select_sent(row).aggregate(sum=Sum("value"))["sum"] or 0
        invoiced = BilledUsage.objects.filter(
            payer=row.payer_id, meter=row.meter, period_start=row.period_start
        ).aggregate(sum=Sum("units"))["sum"]
        if sent != invoiced:
            yield row, sent - invoiced


def _select_sent(row: BilledUsage) -> QuerySet[MeterEvent]:
    return MeterEvent.objects.filter(
        payer=row.payer_id,
        meter=row.meter,
        state=EventState.SENT,
        at__gte=row.period_start,
        at__lt=row.period_end,
        true_up_part__isnull=True,
    )


def _find_uncounted(row: BilledUsage, shortage: int) -> list[MeterEvent]:
    """The newest events that were sent around the finalization, if their units are exactly what the invoice lacks."""
    newest = _select_sent(row).filter(sent_at__gte=row.recorded_at - WORD_TAKES)
    found, units = [], 0
    for event in newest.order_by("-sent_at", "-pk"):
        found.append(event)
        units += event.value
        if units == shortage:
            return found
    return []


def _propose(events: Sequence[MeterEvent], position: Position, now: datetime) -> TrueUp:
    account = Account.objects.get(pk=events[0].account_id)
    units = sum(event.value for event in events)
    price = price_units(position=position, account=account, units=units, before=None)
    true_up = TrueUp.objects.create(
        account=account,
        payer_id=position.payer_id,
        meter=position.meter,
        period=str(Period.of(position.start)),
        period_start=position.start,
        period_end=position.end,
        stripe_invoice_id=position.invoice_id,
        units=units,
        currency=Account.objects.get(pk=position.payer_id).currency,
        proposed_at=now,
        **describe_price(price),
    )
    TrueUpPart.objects.bulk_create(
        [TrueUpPart(true_up=true_up, event=event, value=event.value) for event in events]
    )
    late = [event.pk for event in events if event.state != EventState.SENT]
    MeterEvent.objects.filter(pk__in=late).update(reason=f"billed as true-up {true_up.pk}")
    resolve_alert(
        name=AlertName.METER_EVENT_EXPIRED, subject=f"account {account.pk}, {true_up.period}", now=now
    )
    tell_waiting(true_up, now=now)
    return true_up


def describe_price(price: Price) -> dict[str, Any]:
    """The fields of a true-up nobody has decided about that follow from its price."""
    return {
        "units_before": price.units_before,
        "amount_minor": price.amount_minor,
        "arithmetic": [step.dump() for step in price.steps],
        "notes": list(price.notes),
        "state": TrueUpState.PROPOSED if price.amount_minor else TrueUpState.NO_CHARGE,
    }


def tell_waiting(true_up: TrueUp, *, now: datetime) -> None:
    """Alert while true-ups of the account's month wait for a person, and resolve that once none does."""
    subject = f"account {true_up.account_id}, {true_up.period}"
    waiting = TrueUp.objects.filter(
        account=true_up.account_id, period=true_up.period, state__in=WAITING_STATES
    )
    count = waiting.count()
    if not count:
        resolve_alert(name=TRUE_UP_WAITING, subject=subject, now=now)
        return
    total = format_minor(waiting.aggregate(sum=Sum("amount_minor"))["sum"] or 0, true_up.currency)
    raise_alert(
        name=TRUE_UP_WAITING,
        severity=Severity.WARNING,
        subject=subject,
        detail=f"{count} true-ups over {total} wait for finance: usage that came after the invoice was finalized",
        now=now,
        context={"true_up": true_up.pk},
    )
