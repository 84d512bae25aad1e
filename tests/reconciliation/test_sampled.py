"""Sampled meters, which only Stripe bills: compared with what our own samples come to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_worker.accounts.states import AccountStatus
from billing_worker.catalog.models import CatalogProduct
from billing_worker.catalog.sampled.charging import SampledCharges
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier, TierCharge
from metering.samples.roll_up import roll_up_samples
from reconciliation.ledger_lines import LedgerEntry, LedgerLine
from reconciliation.matching_sampled import compare_sampled
from reconciliation.services.runs import compare_period
from reconciliation.states import DriftCause
from tests.factories import AccountFactory, AccountPlanFactory, BillingLeaseFactory, CustomerAccountFactory
from tests.legacy.tables import add_invoice, add_line
from tests.metering.factories import LIVE, make_sample, make_sampled_meter, put_on_tier, store_sample
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

OCTOBER = Period(2026, 10)
NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


def charges(units: int, amount: int, name: str = "gb_seconds_pro") -> SampledCharges:
    rate = Decimal("0.5")
    table = (Tier(None, rate),)
    charged = (TierCharge(0, units, rate, amount),)
    return SampledCharges(event_name=name, title=name, units=units, tiers=table, charges=charged)


def line(units: int, amount: int, rate: str | None = "0.5", name: str = "gb_seconds_pro") -> LedgerLine:
    return LedgerLine(
        "sampled", amount, units, None if rate is None else Decimal(rate), name, "S-1", event_name=name
    )


def entry(*lines: LedgerLine, problems: tuple[str, ...] = ()) -> LedgerEntry:
    return LedgerEntry(1001, "usd", sampled=lines, problems=problems)


@pytest.mark.parametrize(
    ("expected", "stripe", "found"),
    [
        ([], None, None),
        ([charges(60, 30)], entry(line(60, 30)), None),
        # Stripe shows a meter without usage as an empty line.
        ([], entry(line(0, 0)), None),
        ([charges(60, 30)], None, ("quantity_differs", 30, 0, 30)),
        ([], entry(line(60, 30)), ("quantity_differs", 0, 30, 30)),
        ([charges(61, 31)], entry(line(60, 30)), ("quantity_differs", 31, 30, 1)),
        ([charges(60, 30)], entry(line(60, 54, "0.9")), ("rate_differs", 30, 54, 24)),
        ([charges(60, 30)], entry(line(60, 31)), ("rounding", 30, 31, 1)),
        # Units that cost nothing are a difference all the same.
        ([charges(60, 0)], None, ("quantity_differs", 0, 0, 0)),
        # Two errors that cancel each other.
        (
            [charges(60, 30, "a"), charges(60, 30, "b")],
            entry(line(50, 25, name="a"), line(70, 35, name="b")),
            ("quantity_differs", 60, 60, 10),
        ),
        # What can't be trusted is a difference of its own already.
        ([charges(60, 30)], entry(problems=("a draft",)), None),
    ],
)
def test_each_meter_is_compared_in_units_and_money(expected, stripe, found):
    difference = compare_sampled(expected=expected, stripe=stripe, currency="usd")
    told = difference and (
        difference.cause.value,
        difference.legacy_minor,
        difference.stripe_minor,
        difference.gross_minor,
    )
    assert told == found


def test_a_difference_says_what_differs():
    difference = compare_sampled(expected=[charges(61, 31)], stripe=entry(line(60, 30)), currency="usd")
    assert difference is not None
    assert difference.kind == "sampled"
    assert difference.explanation == "our samples hold 61 gb_seconds_pro, Stripe billed 60 (-1)"


@pytest.fixture
def payer():
    """An account with its flat fee on both sides, and a suspended and an open child, all on a sampled meter."""
    account = CustomerAccountFactory.create(id=5001)
    AccountPlanFactory.create(account=account)
    AccountFactory.create(id=5002, parent=account)
    AccountFactory.create(id=5003, parent=account, status=AccountStatus.SUSPENDED)
    for account_id in (5001, 5002, 5003):
        BillingLeaseFactory.create(account_id=account_id)
    make_sampled_meter()
    CatalogProduct.objects.create(kind="gb_seconds_pro", stripe_product_id="prod_gb", name="GB-seconds (pro)")
    for account_id in (5001, 5002, 5003):
        put_on_tier(account_id, "pro")
        # 60.5 GB-seconds each: whole ones only, account by account.
        store_sample(
            make_sample(f"e{account_id}", account_id=account_id),
            make_sample(f"half{account_id}", account_id=account_id, interval_s=Decimal("0.5")),
        )
    for _ in roll_up_samples(now=NOW, grace=timedelta(hours=1), seam=LIVE):
        pass
    add_invoice(11, account.pk, "499.00")
    add_line(1, 11, "sub", "499.00")
    return account


def bill(payer, units, amount, **values):
    sampled = make_stripe_line(
        "sampled",
        amount,
        quantity=units,
        unit_amount_decimal=Decimal("0.5"),
        product="prod_gb",
        **values,
    )
    add_stripe_invoice(payer, make_stripe_line("sub", 49900), sampled)


@pytest.mark.django_db(databases=["default", "legacy"])
@pytest.mark.usefixtures("legacy_tables")
class TestMonth:
    def test_what_our_samples_come_to_is_no_drift(self, payer):
        bill(payer, 120, 60, tax_minor=5)
        [comparison] = compare_period(period=OCTOBER, payer_ids=[payer.pk])
        assert comparison.differences == ()
        assert (comparison.legacy_minor, comparison.stripe_minor) == (49965, 49965)

    def test_a_unit_more_is_drift(self, payer):
        bill(payer, 121, 61)
        [comparison] = compare_period(period=OCTOBER, payer_ids=[payer.pk])
        [difference] = comparison.differences
        assert (difference.kind, difference.cause) == ("sampled", DriftCause.QUANTITY_DIFFERS)
        assert (comparison.legacy_minor, comparison.stripe_minor) == (49960, 49961)
        assert "our samples hold 120 GB-seconds (pro), Stripe billed 121 (+1)" in difference.explanation

    def test_a_subscription_without_the_price_is_drift(self, payer):
        add_stripe_invoice(payer, make_stripe_line("sub", 49900))
        [comparison] = compare_period(period=OCTOBER, payer_ids=[payer.pk])
        assert [one.kind for one in comparison.differences] == ["sampled"]

    def test_a_true_up_counts_in_the_month_of_its_samples(self, payer):
        bill(payer, 118, 59)
        told = {"true_up": "7", "meter": "gb_seconds_pro", "units": "2", "tiers": "0.5:2:1"}
        item = make_stripe_line("sampled", 1, invoice_item="ii_1", metadata=told)
        add_stripe_invoice(payer, item)
        [comparison] = compare_period(period=OCTOBER, payer_ids=[payer.pk])
        assert comparison.differences == ()
        assert (comparison.legacy_minor, comparison.stripe_minor) == (49960, 49960)

    def test_under_a_suspended_payer_nobodys_units_are_expected(self, payer):
        payer.status = AccountStatus.SUSPENDED
        payer.save()
        add_stripe_invoice(payer, make_stripe_line("sub", 49900))
        [comparison] = compare_period(period=OCTOBER, payer_ids=[payer.pk])
        assert comparison.differences == ()
