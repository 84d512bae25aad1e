"""When the usage of a month is complete: the rule, in one place.

An account's month is complete when nothing below finds a reason against it. The rule asks only for what Stripe is to
bill: accounts that it does not bill for the month, that are suspended or not open, and families without usage prices
need nothing. Reads only; the number of queries doesn't grow with the number of accounts.

Another source of usage joins with `@finds_reasons`: a function that yields `(account id, reason)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from datetime import date
from typing import Final

from django.db.models import Count, Exists, OuterRef, QuerySet

from billing_worker.accounts.selectors import get_billers, get_families, get_terms_for
from billing_worker.accounts.states import Biller
from billing_worker.accounts.terms import AccountTerms
from billing_worker.core.periods import Period
from metering.draft_window.models import UsageCompletion
from metering.models import MeterEvent, UsageFeed, UsageRecord
from metering.pulling.models import UsagePull
from metering.pulling.states import PullState
from metering.samples.selectors import count_open_samples_by_account
from metering.states import EventState, Granularity

ALL: Final = "all"
#: Sources that hold every account's usage, so that a day without rows says that there was none.
WHOLE_SOURCES: Final = ("redshift",)
#: Statements of pulls carry this author.
PULL_AUTHOR: Final = "pull:"
#: What keeps a month from being sent whole. A refused event waits for a person, who may still mend it in time.
UNSENT_STATES: Final = (
    EventState.PENDING,
    EventState.SENDING,
    EventState.UNRESOLVED,
    EventState.REJECTED,
)
DAYS_NAMED: Final = 3

#: Given a month and the accounts whose usage Stripe is to bill for it.
Rule = Callable[[Period, Collection[int]], Iterator[tuple[int, str]]]
_rules: list[Rule] = []


def finds_reasons(rule: Rule) -> Rule:
    """Register a rule that says why an account's month is not complete. It reads; it never calls the network.

    Rules are asked in the order of registration, which follows usage on its way (told, rolled up, sent): what moves on
    while they read is then seen by the later rule, not by none.
    """
    if rule not in _rules:
        _rules.append(rule)
    return rule


def list_reasons(period: Period, *, payer_ids: Collection[int]) -> dict[int, list[str]]:
    """Why these payers' months are not complete and sent, in words for people. Every payer is in the answer."""
    payer_of = find_due_accounts(period, payer_ids=payer_ids)
    reasons: dict[int, list[str]] = {payer_id: [] for payer_id in payer_ids}
    if not payer_of:
        return reasons
    for rule in _rules:
        for account_id, reason in rule(period, payer_of.keys()):
            reasons[payer_of[account_id]].append(f"account {account_id}: {reason}")
    return reasons


def find_due_accounts(period: Period, *, payer_ids: Collection[int]) -> dict[int, int]:
    """The accounts whose usage Stripe is to bill on these payers' invoices for the month, each with its payer."""
    families = get_families(payer_ids)
    ids = {pk for family in families.values() for pk in family}
    terms, billers = get_terms_for(period, account_ids=ids), get_billers(period, account_ids=ids)
    return {
        pk: payer_id
        for payer_id, family in families.items()
        if bills_usage(terms[payer_id]) and billers[payer_id] == Biller.STRIPE
        for pk in family
        if terms[pk].is_billable and not terms[pk].is_suspended and billers[pk] == Biller.STRIPE
    }


def bills_usage(payer_terms: AccountTerms) -> bool:
    """Whether usage on this payer's invoice costs anything: it has prices for some, and is not suspended."""
    return payer_terms.is_billable and not payer_terms.is_suspended and bool(payer_terms.tiers)


@finds_reasons
def find_undeclared(period: Period, account_ids: Collection[int]) -> Iterator[tuple[int, str]]:
    """Nobody has said yet that the month is all there: neither the sender, nor a monthly total, nor the warehouse."""
    said = UsageCompletion.objects.filter(period=str(period))
    scopes = set(said.filter(scope__in=[ALL, *map(str, account_ids)]).values_list("scope", flat=True))
    if ALL in scopes:
        return
    by_month = set(_feeds(period, account_ids).filter(granularity=Granularity.MONTH, records__isnull=False)
                   .order_by().values_list("account_id", flat=True))  # fmt: skip
    # Asked of each feed, which its first such record answers: a month of records is a hundred times as many rows.
    told = UsageRecord.objects.filter(feed=OuterRef("pk"), revision=0).exclude(author__startswith=PULL_AUTHOR)
    pushed = set(
        _feeds(period, account_ids).filter(Exists(told)).order_by().values_list("account_id", flat=True)
    )
    missing = list_days_not_pulled(period)
    for account_id in sorted(account_ids):
        if str(account_id) in scopes or account_id in by_month:
            continue
        if account_id in pushed or len(missing) == period.days:
            yield account_id, "its sender has not declared the month complete"
        elif missing:
            yield account_id, f"not pulled as complete: {_name_days(missing)}"


@finds_reasons
def find_not_rolled_up(period: Period, account_ids: Collection[int]) -> Iterator[tuple[int, str]]:
    """Statements that no meter event covers yet."""
    waiting = _records(period, account_ids).filter(rolled_up_at__isnull=True).order_by()
    for account_id, count in waiting.values_list("feed__account_id").annotate(count=Count("pk")):
        yield account_id, f"{count} figures wait for the roll-up"


@finds_reasons
def find_open_samples(period: Period, account_ids: Collection[int]) -> Iterator[tuple[int, str]]:
    """Samples, and hours or days of sampled meters, that no meter event covers yet."""
    waiting = count_open_samples_by_account(account_ids=account_ids, period=period)
    for account_id, count in sorted(waiting.items()):
        yield account_id, f"{count} samples or buckets of them wait for the roll-up"


@finds_reasons
def find_not_sent(period: Period, account_ids: Collection[int]) -> Iterator[tuple[int, str]]:
    """Meter events that Stripe has not counted."""
    waiting = MeterEvent.objects.filter(
        account__in=account_ids, period=str(period), state__in=UNSENT_STATES
    ).order_by()
    counts: defaultdict[int, list[str]] = defaultdict(list)
    rows = waiting.values_list("account_id", "state").annotate(count=Count("pk"))
    for account_id, state, count in rows.order_by("account_id", "state"):
        counts[account_id].append(f"{count} {EventState(state).label.lower()}")
    for account_id, texts in counts.items():
        yield account_id, f"meter events not counted by Stripe: {', '.join(texts)}"


def list_days_not_pulled(period: Period) -> list[date]:
    """The days of the month that no whole source has given up as complete, oldest first."""
    done = set(
        UsagePull.objects.filter(
            source__in=WHOLE_SOURCES,
            state=PullState.DONE,
            day__gte=period.start_date,
            day__lt=period.end_date,
        ).values_list("day", flat=True)
    )
    return [day for day in period.iter_days() if day not in done]


def _name_days(days: list[date]) -> str:
    """`2026-10-30, 2026-10-31`, with the rest counted."""
    named = ", ".join(day.isoformat() for day in days[:DAYS_NAMED])
    return named if len(days) <= DAYS_NAMED else f"{named} and {len(days) - DAYS_NAMED} more days"


def _feeds(period: Period, account_ids: Collection[int]) -> QuerySet[UsageFeed]:
    return UsageFeed.objects.filter(period=str(period), account__in=account_ids)


def _records(period: Period, account_ids: Collection[int]) -> QuerySet[UsageRecord]:
    return UsageRecord.objects.filter(feed__period=str(period), feed__account__in=account_ids)
