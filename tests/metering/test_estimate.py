"""The estimate of a payer's month: every expected amount is worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing_worker.accounts.expected import compute_expected_ledger
from billing_worker.accounts.models import Account
from billing_worker.core.periods import Period
from metering.console.explaining import explain_estimate
from metering.estimate import Estimate, estimate_bill
from metering.selectors import get_period_totals
from metering.services.ingest import store_usage
from tests.factories import (
    AccountFactory,
    AccountPlanFactory,
    ClockFactory,
    CustomerAccountFactory,
    ManagedJobFactory,
    make_tiers,
)
from tests.metering.factories import NOW, make_input
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)


def use(account: Account, period: str, usage_type: str, quantity: int, reason: str = "") -> None:
    item = make_input(account.pk, period, usage_type, quantity, reason)
    (outcome,) = store_usage(records=[item], author="test", now=NOW)
    assert outcome.status in {"created", "restated"}, outcome


def estimate(account: Account) -> Estimate:
    return estimate_bill(account, period=OCTOBER, now=NOW)


def make_payer() -> Account:
    """499.00 a month; ST: 100,000 free, up to 300,000 at 2.00 a thousand, above at 1.255 a thousand."""
    payer = CustomerAccountFactory.create(name="Quarry Lane Bakery")
    AccountPlanFactory.create(account=payer)
    make_tiers(payer, "ST", (100_000, "0"), (300_000, "0.2"), (None, "0.1255"))
    return payer


def test_a_month_is_the_fee_every_tier_and_the_jobs():
    payer = make_payer()
    ManagedJobFactory.create(account=payer, title="Landing page")
    use(payer, "2026-10-03", "ST", 250_000)
    use(payer, "2026-10-20", "ST", 60_001)

    found = estimate(payer)

    assert [(line.kind, line.quantity, line.amount_minor) for line in found.lines] == [
        ("sub", 1, 49_900),
        ("ST", 100_000, 0),
        ("ST", 200_000, 40_000),
        ("ST", 10_001, 1_255),
        ("managed", 1, 125_000),
    ]
    assert found.total_minor == 216_155
    assert found.is_over
    groups = {group.title: group for group in explain_estimate(found)}
    assert [(line.title, line.arithmetic, line.amount) for line in groups["Usage ST"].lines] == [
        ("Tier 1, 1 to 100,000", "100,000 × 0.00 USD per 1,000", "0.00 USD"),
        ("Tier 2, 100,001 to 300,000", "200,000 × 2.00 USD per 1,000", "400.00 USD"),
        ("Tier 3, from 300,001", "10,001 × 1.255 USD per 1,000 = 12.551255, rounded", "12.55 USD"),
    ]
    assert groups["Usage ST"].note == "310,001 impressions."
    assert groups["Usage ST"].subtotal == "412.55 USD"
    assert groups["Flat fee"].lines[0].arithmetic == "499.00 USD a month"
    assert groups["Managed services"].lines[0].arithmetic.endswith("completed 2026-10-12, its exact amount")


def test_the_day_of_a_bound_is_the_first_that_goes_past_it():
    payer = make_payer()
    use(payer, "2026-10-02", "ST", 100_000)
    use(payer, "2026-10-05", "ST", 1)
    use(payer, "2026-10-09", "ST", 199_999)
    assert [(tier.tier_index, tier.reached_on) for tier in estimate(payer).tiers_reached] == [
        (1, date(2026, 10, 5))
    ]
    use(payer, "2026-10-09", "ST", 200_000, "one more was found")
    assert [
        (tier.tier_index, tier.after_units, tier.reached_on) for tier in estimate(payer).tiers_reached
    ] == [(1, 100_000, date(2026, 10, 5)), (2, 300_000, date(2026, 10, 9))]


def test_one_day_can_pass_two_bounds_and_a_monthly_feed_tells_no_day():
    payer = make_payer()
    use(payer, "2026-10", "ST", 300_001)
    reached = estimate(payer).tiers_reached
    assert [(tier.tier_index, tier.reached_on) for tier in reached] == [(1, None), (2, None)]


def test_a_family_is_one_bill_whoever_is_asked_about():
    payer = make_payer()
    child = AccountFactory.create(name="Tern & Co", parent=payer)
    idle = AccountFactory.create(name="Copperleaf", parent=payer, status="suspended")
    AccountPlanFactory.create(account=child, plan_name="Branch", unit_amount_decimal=Decimal(10_000))
    use(payer, "2026-10-03", "ST", 90_000)
    use(child, "2026-10-04", "ST", 20_000)
    use(idle, "2026-10-04", "ST", 7_000)

    found = estimate(child)

    assert found == estimate(payer)
    assert found.payer == payer
    assert [line.amount_minor for line in found.lines] == [49_900, 10_000, 0, 2_000]
    groups = {group.title: group for group in explain_estimate(found)}
    assert groups["Usage ST"].note == (
        f"110,000 impressions = 90,000 of {payer.pk} + 20,000 of {child.pk}, through the payer's tiers together; "
        f"7,000 of {idle.pk} are not billed (suspended)."
    )
    assert [line.title for line in groups["Flat fee"].lines] == [
        f"Essential, Quarry Lane Bakery ({payer.pk})",
        f"Branch, Tern & Co ({child.pk})",
    ]


def test_a_start_within_the_month_pays_its_days():
    account = CustomerAccountFactory.create(opened_at=datetime(2026, 10, 15, 9, tzinfo=UTC))
    AccountPlanFactory.create(account=account, effective_from=date(2026, 10, 15))
    found = estimate(account)
    assert found.total_minor == 27_365
    assert explain_estimate(found)[0].lines[0].arithmetic == (
        "499.00 USD × 17 of 31 days (starts 2026-10-15) = 273.645161, rounded"
    )


def test_yen_have_no_places():
    account = CustomerAccountFactory.create(currency="jpy")
    AccountPlanFactory.create(account=account, unit_amount_decimal=Decimal(48_000))
    make_tiers(account, "CV", (None, "0.0325"))
    use(account, "2026-10-01", "CV", 1_001)
    found = estimate(account)
    assert found.total_minor == 48_033
    fee, usage, _ = explain_estimate(found)
    assert fee.lines[0].arithmetic == "48,000 JPY a month"
    assert usage.lines[0].arithmetic == "1,001 × 32.5 JPY per 1,000 = 32.5325, rounded"


def test_a_suspended_payer_bills_nobodys_usage():
    payer = make_payer()
    Account.objects.filter(pk=payer.pk).update(status="suspended")
    use(payer, "2026-10-03", "ST", 500_000)
    found = estimate(Account.objects.get())
    assert found.total_minor == 49_900
    assert found.tiers_reached == ()
    assert explain_estimate(found)[1].note == (
        "500,000 impressions held; the payer is suspended, so none are billed."
    )


def test_usage_without_a_price_is_said_and_not_billed():
    account = CustomerAccountFactory.create()
    use(account, "2026-10-03", "RM", 12)
    found = estimate(account)
    assert found.total_minor == 0
    assert explain_estimate(found)[1].note == (
        "12 impressions held; the plan has no price for them, so they are not billed."
    )


def test_what_stripe_billed_is_read_by_service_period_from_finalized_invoices():
    payer = make_payer()
    assert estimate(payer).billed_minor is None
    november = {"period_start": OCTOBER.end_at, "period_end": OCTOBER.next().end_at}
    add_stripe_invoice(payer, make_stripe_line("sub", 49_900))
    add_stripe_invoice(payer, make_stripe_line("ST", 1_234), make_stripe_line("sub", 49_900, **november))
    add_stripe_invoice(payer, make_stripe_line("ST", 777), status="draft")
    add_stripe_invoice(payer, make_stripe_line("ST", 888), status="void")
    assert estimate(payer).billed_minor == 51_134


def test_the_month_is_over_when_it_is_over_on_the_customers_clock():
    payer = CustomerAccountFactory.create(test_clock=ClockFactory.create())
    assert not estimate(payer).is_over


def test_it_is_the_expected_ledger_of_every_payer():
    """What reconciliation compares with, for plain, family, late, closed and suspended accounts alike."""
    payer, other = make_payer(), make_payer()
    child = AccountFactory.create(parent=payer)
    late = CustomerAccountFactory.create(opened_at=datetime(2026, 10, 9, tzinfo=UTC))
    closed = CustomerAccountFactory.create(
        status="closed",
        closed_at=datetime(2026, 9, 3, tzinfo=UTC),
        opened_at=datetime(2020, 1, 1, tzinfo=UTC),
    )
    still = CustomerAccountFactory.create(status="suspended")
    for account in (child, late, closed, still):
        AccountPlanFactory.create(account=account)
        make_tiers(account, "RM", (1_000, "0.333"), (None, "0.111"))
        use(account, "2026-10-11", "RM", 5_432)
        ManagedJobFactory.create(account=account)
    use(other, "2026-10", "ST", 654_321)
    use(child, "2026-10-12", "ST", 123_456)

    expected = compute_expected_ledger(OCTOBER, usage=get_period_totals(OCTOBER))

    assert len(expected) == 5
    for payer_id, lines in expected.items():
        assert list(estimate(Account.objects.get(pk=payer_id)).lines) == lines


def test_a_longer_month_asks_no_more_queries(django_assert_num_queries):
    payer = make_payer()
    child = AccountFactory.create(parent=payer)
    for day in range(1, 29):
        use(payer, f"2026-10-{day:02d}", "ST", 10_000)
        use(child, f"2026-10-{day:02d}", "ST", 1_000)
    payer = Account.objects.get(pk=payer.pk)
    with django_assert_num_queries(10):
        estimate(payer)
