"""Taxes inside Stripe's prices are compared as taxes: they neither make drift nor hide one. 19 % throughout."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from billing_worker.accounts.models import Account
from reconciliation.ledger_lines import JobTerms, LedgerEntry, LedgerLine
from reconciliation.matching import Difference, compare_entries
from reconciliation.matching_jobs import add_requested_jobs
from reconciliation.services.runs import compare_period
from reconciliation.states import DriftCause
from tests.factories import CustomerAccountFactory
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line
from tests.reconciliation.lines import fee, job, ledger, terms, usage
from tests.reconciliation.test_corrections import OCTOBER, add_note, list_usage, make_item, read

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Account:
    return CustomerAccountFactory.create()


def inside(tax_minor: int, *, percentage: str | None = "19") -> dict[str, Any]:
    """The fields of a line, or of a credit, with so much of tax in its amount."""
    told = {"amount_minor": tax_minor, "taxable_minor": None, "percentage": percentage, "reason": ""}
    return {
        "tax_minor": tax_minor,
        "inclusive_tax_minor": tax_minor,
        "taxes": [{**told, "inclusive": True, "rate": "txr_1"}],
    }


def compare(legacy: LedgerEntry, stripe: LedgerEntry, **plan: Any) -> list[tuple[str, DriftCause, int]]:
    return [(one.kind, one.cause, one.difference_minor) for one in find(legacy, stripe, **plan)]


def find(legacy: LedgerEntry, stripe: LedgerEntry, **plan: Any) -> list[Difference]:
    return compare_entries(legacy=legacy, stripe=stripe, terms=terms(**plan), currency="usd")


def test_a_price_with_the_tax_that_legacy_adds_is_no_drift(account):
    add_stripe_invoice(account, make_stripe_line("sub", 11900, **inside(1900)))
    entry = read(account)
    assert (entry.tax_minor, entry.total_minor) == (1900, 11900)
    assert compare(ledger(fee(10000), tax=1900), entry) == []


def test_a_discount_goes_off_before_the_tax(account):
    # 119.00 - 11.90 = 107.10, of which 17.10 is tax.
    add_stripe_invoice(account, make_stripe_line("sub", 11900, discount_minor=1190, **inside(1710)))
    entry = read(account)
    assert compare(ledger(fee(9000), tax=1710), entry) == []
    assert entry.total_minor == 10710


def test_a_net_price_at_which_stripe_includes_the_tax_is_drift_of_both(account):
    # 100.00 hold 15.97: the customer pays 19.00 less than legacy asked for.
    add_stripe_invoice(account, make_stripe_line("sub", 10000, **inside(1597)))
    entry, legacy = read(account), ledger(fee(10000), tax=1900)
    assert compare(legacy, entry, fees=(10000,)) == [
        ("sub", DriftCause.FLAT_FEE_DIFFERS, -1597),
        ("tax", DriftCause.TAX_DIFFERS, -303),
    ]
    assert entry.total_minor - legacy.total_minor == -1900
    (drift, _) = find(legacy, entry, fees=(10000,))
    assert drift.explanation == (
        "the imported plan says 100.00 USD: legacy follows it, Stripe does not; "
        "Stripe's prices hold 15.97 USD of tax, which is left out"
    )


def test_the_same_total_without_legacy_s_tax_is_drift_all_the_same(account):
    add_stripe_invoice(account, make_stripe_line("sub", 11900, **inside(1900)))
    found = find(ledger(fee(11900)), read(account))
    assert [(one.kind, one.difference_minor) for one in found] == [("sub", -1900), ("tax", 1900)]
    assert sum(one.gross_minor for one in found) == 3800


def test_usage_is_compared_at_the_price_without_the_tax(account):
    # 0.595 cents with 19 % are 0.5: 5.95 hold 0.95.
    tier = make_stripe_line("ST", 595, quantity=1000, unit_amount_decimal=Decimal("0.595"), **inside(95))
    add_stripe_invoice(account, tier)
    entry = read(account)
    assert list_usage(entry) == [(1000, 500, Decimal("0.5"))]
    assert compare(ledger(usage("ST", 1000, "0.5", 500), tax=95), entry) == []
    plan = {"tiers": {"ST": [(None, "0.5")]}}
    (drift,) = find(ledger(usage("ST", 900, "0.5", 450), tax=95), entry, **plan)
    assert (drift.cause, drift.difference_minor) == (DriftCause.QUANTITY_DIFFERS, 50)
    assert "not in the imported plan" not in drift.explanation


def test_a_rate_that_stripe_does_not_tell_leaves_amounts_to_compare(account):
    tier = make_stripe_line(
        "ST", 595, quantity=1000, unit_amount_decimal=Decimal("0.595"), **inside(95, percentage=None)
    )
    add_stripe_invoice(account, tier)
    assert list_usage(read(account)) == [(1000, 500, None)]
    assert compare(ledger(usage("ST", 1000, "0.5", 500), tax=95), read(account)) == []


def test_a_true_up_s_tiers_share_the_tax_of_its_item(account):
    # 8.33 hold 1.33 of tax: 0.95 in the first tier, 0.38 in the second.
    item = make_item(833, units="1800", tiers="0.595:1000:595;0.2975:800:238")
    for name, value in inside(133).items():
        setattr(item, name, value)
    add_stripe_invoice(account, item)
    entry = read(account)
    assert list_usage(entry) == [(1000, 500, Decimal("0.5")), (800, 200, Decimal("0.25"))]
    assert entry.total_minor == 833


def test_credits_take_their_tax_back_with_them(account):
    tier = make_stripe_line("ST", 595, quantity=1000, unit_amount_decimal=Decimal("0.595"), **inside(95))
    flat = make_stripe_line("sub", 11900, **inside(1900))
    invoice = add_stripe_invoice(account, tier, flat)
    # 1.19 of usage are 200 units; 11.90 are given back of nothing that is here.
    add_note(
        invoice,
        {"amount_minor": 119, "invoice_line": tier.stripe_line_id, **inside(19)},
        {"amount_minor": 1190, "kind": "sub", **inside(190)},
    )
    entry = read(account)
    assert list_usage(entry) == [(800, 400, Decimal("0.5"))]
    assert [line.amount_minor for line in entry.lines if line.kind == "sub"] == [10000, -1000]
    assert (entry.tax_minor, entry.total_minor) == (1786, 11186)


def test_a_true_up_s_credit_note_is_without_its_tax(account):
    tier = make_stripe_line("ST", 595, quantity=1000, unit_amount_decimal=Decimal("0.595"), **inside(95))
    invoice = add_stripe_invoice(account, tier)
    metadata = {"true_up": "abc", "kind": "ST", "units": "-200", "tiers": "0.595:-200:-119"}
    add_note(
        invoice, {"amount_minor": 119, "invoice_line": tier.stripe_line_id, **inside(19)}, metadata=metadata
    )
    entry = read(account)
    assert list_usage(entry) == [(800, 400, Decimal("0.5"))]
    assert entry.tax_minor == 76


def test_a_requested_job_is_what_the_customer_pays():
    # 50.00 were asked for and billed, 7.98 of it tax.
    jobs = (JobTerms(9, "Requested", 5000, True, is_requested=True),)
    billed = LedgerLine("managed", 4202, 1, None, job_id=9, inclusive_tax_minor=798)
    stripe = LedgerEntry(1001, "usd", (fee(100), billed), {"S-1": 798})
    legacy = add_requested_jobs(ledger(fee(100)), jobs, stripe)
    assert legacy.total_minor == stripe.total_minor == 5100
    assert compare(legacy, stripe, jobs=jobs) == []
    # A job of the old service has its tax beside it there: the same amount is less money.
    assert compare(ledger(fee(100), job(9, 5000), tax=950), stripe) == [
        ("managed", DriftCause.JOB_AMOUNT_DIFFERS, -798),
        ("tax", DriftCause.TAX_DIFFERS, -152),
    ]


@pytest.mark.django_db(databases=["default", "legacy"])
@pytest.mark.usefixtures("legacy_tables")
def test_sampled_units_are_held_against_the_price_as_stripe_has_it(account):
    sampled = make_stripe_line(
        "sampled",
        60,
        quantity=120,
        unit_amount_decimal=Decimal("0.5"),
        product="prod_gb",
        **inside(10),
    )
    add_stripe_invoice(account, sampled)
    (comparison,) = compare_period(period=OCTOBER, payer_ids=[account.pk])
    # Nothing was sampled here: the whole price is too much, and no tax twice.
    assert (comparison.legacy_minor, comparison.stripe_minor) == (0, 60)
    assert [one.kind for one in comparison.differences] == ["sampled"]
