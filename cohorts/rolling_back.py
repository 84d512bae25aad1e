"""What a rollback would do, payer by payer, and what remains to do after one. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from billing_worker.accounts.models import Account, BillingLease
from billing_worker.accounts.selectors import get_families, get_now_for
from billing_worker.accounts.states import Biller
from billing_worker.catalog.sampled.models import SampledMeter
from billing_worker.catalog.sampled.selectors import SampledPlans
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoice, StripeSubscription
from billing_worker.mirror.states import InvoiceStatus
from cohorts.models import Cohort, Rollback, RollbackStep
from cohorts.selectors import get_payers
from cohorts.states import RollbackState, StepState
from invoices.models import ManagedCharge
from invoices.states import ChargeState
from metering.models import MeterEvent, TrueUp
from metering.states import OPEN_STATES as UNSENT
from metering.true_ups.states import OPEN_STATES, WAITING_STATES
from reconciliation.models import Drift
from reconciliation.states import DriftState

#: Accounts that a line of what remains names before it only counts the others.
NAMED = 5


@dataclass(frozen=True, slots=True)
class PayerPlan:
    """What happens to one payer and all that bill through it. `earliest`: the first month not begun at Stripe."""

    payer: Account
    account_ids: tuple[int, ...]
    subscription_id: str
    has_ended: bool
    earliest: Period
    leased_after: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """A rollback as it would be from `period` on. `problems` say why it is refused; empty: it can be made."""

    cohort: Cohort
    period: Period
    earliest: Period
    payers: tuple[PayerPlan, ...]
    problems: tuple[str, ...]

    @property
    def last_period(self) -> Period:
        """The last month that Stripe bills."""
        return self.period.previous()


def plan_rollback(*, cohort: Cohort, period: Period | None, now: datetime) -> RollbackPlan:
    """What handing the cohort back from `period` on would do; None: from the earliest month that can be.

    Works from the mirror and the clock; every subscription is read again at Stripe before it is ended.
    """
    payers = get_payers(cohort)
    families = get_families([payer.pk for payer in payers])
    places = {row.account_id: row for row in cohort.members.all()}
    mirrored = _read_mirror(places[payer.pk].stripe_subscription_id for payer in payers)
    earliest = max(
        (
            _find_earliest(payer, mirrored.get(places[payer.pk].stripe_subscription_id), now)
            for payer in payers
        ),
        default=Period.of(now).next(),
    )
    if cohort.dual_run_period:
        earliest = max(earliest, Period.parse(cohort.dual_run_period))
    wanted = period or earliest
    ids = [pk for family in families.values() for pk in family]
    leases = _count_later_leases(wanted, ids)
    notes = _find_notes(wanted, families)
    rows = tuple(
        PayerPlan(
            payer=payer,
            account_ids=tuple(families[payer.pk]),
            subscription_id=(subscription_id := places[payer.pk].stripe_subscription_id),
            has_ended=bool((row := mirrored.get(subscription_id)) and row.ended_at),
            earliest=_find_earliest(payer, row, now),
            leased_after=sum(leases.get(pk, 0) for pk in families[payer.pk]),
            notes=tuple(notes.get(payer.pk, ())),
        )
        for payer in payers
    )
    return RollbackPlan(
        cohort, wanted, earliest, rows, tuple(_find_problems(cohort, wanted, earliest, rows, ids))
    )


def find_first_free(period_end: datetime) -> Period:
    """The first month that begins at `period_end` or after it: what a subscription's running period leaves free."""
    month = Period.of(period_end)
    return month if month.start_at == period_end else month.next()


def _find_earliest(payer: Account, row: StripeSubscription | None, now: datetime) -> Period:
    following = Period.of(get_now_for(payer, now)).next()
    if row is None or row.ended_at is not None or row.current_period_end is None:
        return following
    return max(following, find_first_free(row.current_period_end))


def _find_problems(
    cohort: Cohort, wanted: Period, earliest: Period, rows: Collection[PayerPlan], ids: Collection[int]
) -> Iterator[str]:
    if wanted < earliest:
        late = [row for row in rows if wanted < row.earliest]
        begun = (
            f"has begun at Stripe for {_name([row.payer.pk for row in late])}"
            if late
            else "is not billed yet"
        )
        yield f"{wanted} {begun}; the earliest month is {earliest}"
    elif wanted.year > earliest.year + 1:
        yield f"{wanted} is more than a year away; the earliest month is {earliest}"
    for account_id in (
        cohort.members.exclude(account__in=ids).order_by("account_id").values_list("account_id", flat=True)
    ):
        yield f"account {account_id} bills through an account that is not in the cohort"


def _read_mirror(subscription_ids: Iterator[str]) -> dict[str, StripeSubscription]:
    rows = StripeSubscription.objects.filter(stripe_subscription_id__in=[pk for pk in subscription_ids if pk])
    return {row.stripe_subscription_id: row for row in rows}


def _count_later_leases(period: Period, ids: Collection[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    later = BillingLease.objects.filter(account__in=ids, period__gte=str(period), biller=Biller.STRIPE)
    for account_id in later.values_list("account_id", flat=True):
        counts[account_id] = counts.get(account_id, 0) + 1
    return counts


def _find_notes(period: Period, families: dict[int, list[int]]) -> dict[int, list[str]]:
    """What a person should know before: usage that is still to be sent, open drift, what legacy does not bill."""
    payer_of = {pk: payer_id for payer_id, family in families.items() for pk in family}
    notes: dict[int, list[str]] = {}
    unsent: dict[int, int] = {}
    events = MeterEvent.objects.filter(account__in=payer_of, period__lt=str(period), state__in=UNSENT)
    for account_id in events.values_list("account_id", flat=True):
        unsent[payer_of[account_id]] = unsent.get(payer_of[account_id], 0) + 1
    for payer_id, count in unsent.items():
        notes.setdefault(payer_id, []).append(f"{count} meter events are still to be sent")
    drifts = Drift.objects.filter(account__in=families, state=DriftState.OPEN).order_by("pk")
    for payer_id, month in drifts.values_list("account_id", "period"):
        notes.setdefault(payer_id, []).append(f"drift of {month} is open, and stays so")
    for payer_id in _find_sampled(period, payer_of):
        notes.setdefault(payer_id, []).append("it is on a sampled meter, which legacy does not bill")
    return notes


def _find_sampled(period: Period, payer_of: dict[int, int]) -> list[int]:
    meters = list(SampledMeter.objects.values_list("pk", flat=True))
    plans = SampledPlans(payer_of if meters else ())
    on_one = (pk for pk in payer_of if any(plans.find(pk, meter, str(period)) for meter in meters))
    return sorted({payer_of[pk] for pk in on_one})


def list_remaining(rollback: Rollback) -> list[str]:
    """What is still to come before nothing of Stripe's is left to do for the cohort, in words for people."""
    steps = list(rollback.steps.all())
    if rollback.state in (RollbackState.WITHDRAWING, RollbackState.WITHDRAWN):
        return [f"{_count(_open(steps), 'subscription')} to be let go on at Stripe"] if _open(steps) else []
    ids = [pk for step in steps for pk in step.account_ids]
    payer_ids = [step.payer_id for step in steps]
    return [*_list_at_stripe(steps), *_list_last_bills(rollback, steps), *_list_unbilled(payer_ids, ids)]


def _open(steps: Collection[RollbackStep]) -> list[RollbackStep]:
    return [step for step in steps if step.state in (StepState.PENDING, StepState.LIFTING)]


def _list_at_stripe(steps: list[RollbackStep]) -> Iterator[str]:
    if waiting := _open(steps):
        yield f"{_count(waiting, 'subscription')} to be ended at Stripe: {_name(step.payer_id for step in waiting)}"
    mirrored = _read_mirror(step.stripe_subscription_id for step in steps)
    running: dict[str, list[int]] = {}
    for step in steps:
        row = mirrored.get(step.stripe_subscription_id)
        if step.state == StepState.DONE and row is not None and row.ended_at is None:
            running.setdefault(step.period, []).append(step.payer_id)
    for month, payer_ids in sorted(running.items()):
        yield f"{_count(payer_ids, 'subscription')} run until {Period.parse(month).start_date}, 00:00 UTC"


def _list_last_bills(rollback: Rollback, steps: list[RollbackStep]) -> Iterator[str]:
    subscriptions = [step.stripe_subscription_id for step in steps if step.stripe_subscription_id]
    invoices = StripeInvoice.objects.filter(subscription__in=subscriptions)
    drafts = invoices.filter(status=InvoiceStatus.DRAFT)
    if found := list(drafts.order_by("account_id").values_list("account_id", flat=True)):
        yield f"{_count(found, 'invoice')} of Stripe's still a draft: {_name(found)}"
    unpaid = invoices.filter(status=InvoiceStatus.OPEN).order_by("account_id")
    if found := list(unpaid.values_list("account_id", flat=True)):
        yield f"{_count(found, 'invoice')} of Stripe's not paid, to be collected at Stripe: {_name(found)}"
    drifts = Drift.objects.filter(account__in=[step.payer_id for step in steps], state=DriftState.OPEN)
    if found := list(drifts.order_by("account_id").values_list("account_id", flat=True)):
        yield f"{_count(found, 'drift')} open: {_name(found)}"


def _list_unbilled(payer_ids: list[int], ids: list[int]) -> Iterator[str]:
    waiting = TrueUp.objects.filter(payer__in=payer_ids, state__in=(*WAITING_STATES, *OPEN_STATES))
    if found := list(waiting.order_by("account_id").values_list("account_id", flat=True)):
        yield f"{_count(found, 'true-up')} to be settled: {_name(found)}"
    done = (ChargeState.BILLED, ChargeState.GIVEN_UP)
    charges = ManagedCharge.objects.filter(job__account__in=ids).exclude(state__in=done)
    if found := list(charges.order_by("job__account_id").values_list("job__account_id", flat=True)):
        yield f"{_count(found, 'managed job')} to be billed by Stripe: {_name(found)}"


def _count(things: Collection[object], noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"


def _name(ids: Collection[int] | Iterator[int]) -> str:
    found = list(dict.fromkeys(ids))
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"account {', '.join(str(pk) for pk in found[:NAMED])}{more}"
