"""The accounts of the old service's book whose plans change in November: what Stripe bills is what is owed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

import pytest

from billing_worker import gateway
from billing_worker.accounts.expected import compute_expected_ledger
from billing_worker.accounts.models import Account, TestClock
from billing_worker.accounts.selectors import get_families, get_terms_for
from billing_worker.accounts.services import import_accounts
from billing_worker.catalog.services import apply_catalog
from billing_worker.core.periods import Period
from billing_worker.legacy.selectors import get_customers
from cohorts.services import (
    ProvisioningOptions,
    advance_clocks,
    create_cohort,
    provision_cohort,
    start_dual_run,
    sync_subscriptions,
)
from tests.accounts.test_against_the_old_service import copy_tables, run_old_service
from tests.factories import NOW

pytestmark = pytest.mark.django_db(databases=["default", "legacy"])
OCTOBER, NOVEMBER = Period(2026, 10), Period(2026, 11)
CHANGING = (1004, 1011, 1022)


def move(month: int, day: int, hour: int, minute: int = 0) -> None:
    to = datetime(2026, month, day, hour, minute, tzinfo=UTC)
    advance_clocks(clocks=list(TestClock.objects.all()), to=to)


def sync() -> Counter[str]:
    return Counter(result.outcome for result in sync_subscriptions(actor="test", now=NOW))


@pytest.fixture
def payers(legacy_tables, stripe, tmp_path) -> list[Account]:
    """The three with their families, provisioned for October."""
    database = tmp_path / "legacy.sqlite3"
    run_old_service(database, "generate", "--period", "2026-10")
    copy_tables(database)
    import_accounts(customers=get_customers(), actor="test", now=NOW)
    members = [pk for family in get_families(CHANGING).values() for pk in family]
    others = Account.objects.exclude(pk__in=members)
    others.filter(parent__isnull=False).delete()
    others.delete()
    for day in (date(2026, 10, 1), date(2026, 11, 1)):
        apply_catalog(at=day)
    cohort = create_cohort(name="c", account_ids=members, actor="test", now=NOW)
    options = ProvisioningOptions(use_test_clocks=True, test_payment_method="pm_card_visa")
    provision_cohort(cohort_id=cohort.pk, period=OCTOBER, options=options, actor="test", now=NOW)
    start_dual_run(cohort_id=cohort.pk, actor="test", now=NOW)
    return list(Account.objects.filter(pk__in=CHANGING))


def use_all_kinds(payer: Account, period: Period, quantity: int) -> dict[str, int]:
    """Usage of every kind that the payer has tiers for, on the 5th."""
    kinds = get_terms_for(period, account_ids=[payer.pk])[payer.pk].tiers
    for kind in kinds:
        gateway.send_meter_event(
            event_name=f"impressions_{kind.lower()}", customer=payer.stripe_customer_id or "", value=quantity,
            identifier=f"{payer.pk}:{period}:{kind}", at=datetime(period.year, period.month, 5, tzinfo=UTC),
        )  # fmt: skip
    return dict.fromkeys(kinds, quantity)


def test_october_and_november_have_no_drift(payers):
    changed = {
        payer.pk
        for payer in payers
        for terms in [[get_terms_for(p, account_ids=[payer.pk])[payer.pk] for p in (OCTOBER, NOVEMBER)]]
        if (terms[0].flat_unit_amount_decimal, terms[0].tiers) != (terms[1].flat_unit_amount_decimal, terms[1].tiers)
    }  # fmt: skip
    assert changed == set(CHANGING), "the book is no longer what this is about"
    move(10, 31, 23, 30)
    usage = {OCTOBER: {payer.pk: use_all_kinds(payer, OCTOBER, 3_000_000) for payer in payers}}
    before = sync()
    move(11, 1, 2)
    after = sync()
    assert before["changed"] + after["changed"] >= len(CHANGING)
    assert before["failed"] == after["failed"] == 0
    move(11, 30, 23, 30)
    usage[NOVEMBER] = {payer.pk: use_all_kinds(payer, NOVEMBER, 3_000_000) for payer in payers}
    move(12, 1, 2)

    for period in (OCTOBER, NOVEMBER):
        owed = compute_expected_ledger(period, usage=usage[period], payer_ids=CHANGING)
        for payer in payers:
            # Jobs are billed apart; Stripe prints equal fees of a family as one line.
            expected = sum(line.amount_minor for line in owed[payer.pk] if line.kind != "managed")
            assert get_billed(payer, period) == expected > 0


def get_billed(payer: Account, period: Period) -> int:
    lines = [
        line for invoice in gateway.list_invoices(customer=payer.stripe_customer_id) for line in invoice.lines
    ]
    assert not any(line.is_proration for line in lines)
    return sum(line.amount_minor for line in lines if line.period_start == period.start_at)
