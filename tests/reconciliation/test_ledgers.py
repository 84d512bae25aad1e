"""Both ledgers and the plan as they are read from the databases."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing_worker.accounts.states import AccountStatus, JobStatus
from billing_worker.core.periods import Period
from billing_worker.legacy.models import LegacyInvoiceLine
from billing_worker.legacy.selectors import LegacyUnavailable
from reconciliation.ledgers import read_legacy_ledger, read_payer_terms, read_stripe_ledger
from tests.factories import (
    AccountFactory,
    AccountPlanFactory,
    CustomerAccountFactory,
    ManagedJobFactory,
    make_tiers,
)
from tests.legacy.tables import add_invoice, add_line
from tests.reconciliation.factories import (
    DECEMBER_FIRST,
    NOVEMBER_FIRST,
    add_stripe_invoice,
    make_stripe_line,
)

pytestmark = pytest.mark.django_db(databases=["default", "legacy"])
OCTOBER = Period(2026, 10)


def add_usage_line(line_id: int, inv_id: int, kind: str, quantity: int, cpm: str, amount: str) -> None:
    LegacyInvoiceLine(
        id=line_id, inv_id=inv_id, kind=kind, description=kind, quantity=quantity,
        unit_rate=Decimal(cpm), amount=Decimal(amount),
    ).save(using="legacy", force_insert=True)  # fmt: skip


@pytest.mark.usefixtures("legacy_tables")
class TestLegacy:
    def test_dollars_per_thousand_become_minor_units_per_unit(self):
        payer = CustomerAccountFactory.create()
        add_invoice(11, payer.pk, "646.00")
        add_line(1, 11, "sub", "499.00")
        add_usage_line(2, 11, "ST", 61_250, "2.40", "147.00")
        entry = read_legacy_ledger(period=OCTOBER, payer_ids=[payer.pk])[payer.pk, "usd"]
        assert [
            (line.kind, line.amount_minor, line.quantity, line.unit_amount_decimal) for line in entry.lines
        ] == [
            ("sub", 49900, 1, Decimal(49900)),
            ("ST", 14700, 61_250, Decimal("0.24")),
        ]
        assert entry.total_minor == 64600
        assert entry.invoices == ("L-11",)

    def test_void_invoices_other_months_and_strangers_are_left_out(self):
        payer = CustomerAccountFactory.create()
        for inv_id, values in ((11, {"status": "void"}), (12, {"period": "2026-09"})):
            add_invoice(inv_id, payer.pk, "5.00", **values)
        add_invoice(13, payer.pk + 1, "5.00")
        assert read_legacy_ledger(period=OCTOBER, payer_ids=[payer.pk]) == {}

    def test_an_invoice_that_legacy_put_on_a_child_counts_for_its_payer(self):
        payer = CustomerAccountFactory.create()
        child = AccountFactory.create(parent=payer)
        add_invoice(11, child.pk, "89.00")
        add_line(1, 11, "sub", "89.00")
        ledger = read_legacy_ledger(period=OCTOBER, payer_ids=[payer.pk])
        assert ledger[payer.pk, "usd"].total_minor == 8900

    def test_yen(self):
        payer = CustomerAccountFactory.create(currency="jpy")
        add_invoice(11, payer.pk, "48000.00", currency="JPY")
        add_line(1, 11, "sub", "48000.00")
        assert read_legacy_ledger(period=OCTOBER, payer_ids=[payer.pk])[payer.pk, "jpy"].total_minor == 48000

    @pytest.mark.parametrize(
        ("values", "line"),
        [({}, "498.00"), ({"subtotal": Decimal("498.00")}, "499.00"), ({"tax": Decimal("1.00")}, "499.00")],
    )
    def test_an_invoice_that_contradicts_itself_is_a_problem_of_its_payer_alone(self, values, line):
        payer, other = CustomerAccountFactory.create(), CustomerAccountFactory.create()
        add_invoice(11, payer.pk, "499.00", **values)
        add_line(1, 11, "sub", line)
        add_invoice(12, other.pk, "499.00")
        add_line(2, 12, "sub", "499.00")
        ledger = read_legacy_ledger(period=OCTOBER, payer_ids=[payer.pk, other.pk])
        assert "legacy invoice L-11: " in ledger[payer.pk, "usd"].problems[0]
        assert ledger[other.pk, "usd"].problems == ()

    def test_a_fraction_of_a_yen_is_a_problem(self):
        payer = CustomerAccountFactory.create(currency="jpy")
        add_invoice(11, payer.pk, "10.50", currency="JPY")
        add_line(1, 11, "sub", "10.50")
        (problem,) = read_legacy_ledger(period=OCTOBER, payer_ids=[payer.pk])[payer.pk, "jpy"].problems
        assert "not a whole number of minor units" in problem


def test_a_legacy_database_without_tables_is_told_in_one_line():
    with pytest.raises(LegacyUnavailable, match="LEGACY_DATABASE_URL"):
        read_legacy_ledger(period=OCTOBER, payer_ids=[1])


class TestStripe:
    def test_lines_count_by_their_own_period_whatever_invoice_they_are_on(self):
        payer = CustomerAccountFactory.create()
        add_stripe_invoice(payer, make_stripe_line("sub", 49900))
        add_stripe_invoice(
            payer,
            make_stripe_line("sub", 52900, period_start=NOVEMBER_FIRST, period_end=DECEMBER_FIRST),
            make_stripe_line("ST", 14700, quantity=61_250, unit_amount_decimal=Decimal("0.24")),
            make_stripe_line("managed", 125000, metadata={"kind": "managed", "job_id": "7"},
                             period_start=datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)),
        )  # fmt: skip
        entry = read_stripe_ledger(period=OCTOBER, payer_ids=[payer.pk])[payer.pk, "usd"]
        assert [(line.kind, line.amount_minor, line.job_id) for line in entry.lines] == [
            ("sub", 49900, None),
            ("ST", 14700, None),
            ("managed", 125000, 7),
        ]
        november = read_stripe_ledger(period=OCTOBER.next(), payer_ids=[payer.pk])
        assert november[payer.pk, "usd"].total_minor == 52900

    def test_discounts_and_tax_are_part_of_what_is_billed(self):
        payer = CustomerAccountFactory.create()
        add_stripe_invoice(payer, make_stripe_line("sub", 49900, discount_minor=900, tax_minor=9310))
        entry = read_stripe_ledger(period=OCTOBER, payer_ids=[payer.pk])[payer.pk, "usd"]
        assert (entry.total_minor, entry.tax_minor) == (58310, 9310)

    def test_void_invoices_and_strangers_bill_nothing(self):
        payer = CustomerAccountFactory.create()
        add_stripe_invoice(payer, make_stripe_line("sub", 49900), status="void")
        add_stripe_invoice(CustomerAccountFactory.create(), make_stripe_line("sub", 49900))
        assert read_stripe_ledger(period=OCTOBER, payer_ids=[payer.pk]) == {}

    @pytest.mark.parametrize(
        ("values", "problem"),
        [
            ({"status": "draft", "number": ""}, "is still a draft"),
            ({"lines_complete": False}, "not every line of Stripe's invoice"),
        ],
    )
    def test_what_is_not_whole_is_a_problem(self, values, problem):
        payer = CustomerAccountFactory.create()
        add_stripe_invoice(payer, make_stripe_line("sub", 1), make_stripe_line("ST", 2), **values)
        (found,) = read_stripe_ledger(period=OCTOBER, payer_ids=[payer.pk])[payer.pk, "usd"].problems
        assert problem in found

    def test_metadata_that_is_no_number_is_no_job(self):
        payer = CustomerAccountFactory.create()
        add_stripe_invoice(payer, make_stripe_line("managed", 1, metadata={"job_id": "٣"}))
        entry = read_stripe_ledger(period=OCTOBER, payer_ids=[payer.pk])[payer.pk, "usd"]
        assert entry.lines[0].job_id is None


class TestTerms:
    def test_a_family_is_one_payer(self):
        payer = CustomerAccountFactory.create(opened_at=datetime(2026, 10, 12, 9, tzinfo=UTC))
        child = AccountFactory.create(parent=payer)
        grandchild = AccountFactory.create(parent=child)
        own = CustomerAccountFactory.create(parent=payer)
        for account, amount in ((payer, "24900"), (child, "8900"), (grandchild, "9999"), (own, "1")):
            AccountPlanFactory.create(account=account, unit_amount_decimal=Decimal(amount))
        make_tiers(payer, "ST", (100_000, "0"), (None, "0.24"))
        due = ManagedJobFactory.create(account=grandchild)
        earlier = ManagedJobFactory.create(account=payer, status=JobStatus.BILLED)
        found = read_payer_terms(period=OCTOBER, payer_ids=[payer.pk, own.pk])
        # 249.00 x 20 / 31 days = 160.645
        assert found[payer.pk].terms.flat_fees_minor == (16065, 8900, 9999)
        assert [tier.up_to for tier in found[payer.pk].terms.tiers["ST"]] == [100_000, None]
        assert {(job.job_id, job.is_due) for job in found[payer.pk].terms.jobs} == {
            (due.pk, True),
            (earlier.pk, False),
        }
        assert found[own.pk].terms.flat_fees_minor == (1,)

    def test_suspended_and_closed(self):
        suspended = CustomerAccountFactory.create(status=AccountStatus.SUSPENDED)
        closed = CustomerAccountFactory.create(
            status=AccountStatus.CLOSED, closed_at=datetime(2026, 7, 1, tzinfo=UTC)
        )
        for account in (suspended, closed):
            AccountPlanFactory.create(account=account, effective_from=date(2020, 1, 1))
            make_tiers(account, "ST", (None, "0.24"))
        found = read_payer_terms(period=OCTOBER, payer_ids=[suspended.pk, closed.pk])
        assert (found[suspended.pk].terms.flat_fees_minor, found[suspended.pk].terms.tiers) == ((49900,), {})
        assert (found[closed.pk].terms.flat_fees_minor, found[closed.pk].terms.tiers) == ((), {})


@pytest.mark.usefixtures("legacy_tables")
def test_queries_do_not_grow_with_the_book(django_assert_max_num_queries):
    payers = [CustomerAccountFactory.create() for _ in range(40)]
    for number, payer in enumerate(payers):
        AccountFactory.create(parent=payer)
        AccountPlanFactory.create(account=payer)
        add_stripe_invoice(payer, make_stripe_line("sub", 49900))
        add_invoice(number + 1, payer.pk, "499.00")
        add_line(number + 1, number + 1, "sub", "499.00")
    ids = [payer.pk for payer in payers]
    with django_assert_max_num_queries(2, using="legacy"), django_assert_max_num_queries(13):
        assert len(read_legacy_ledger(period=OCTOBER, payer_ids=ids)) == 40
        assert len(read_stripe_ledger(period=OCTOBER, payer_ids=ids)) == 40
        assert len(read_payer_terms(period=OCTOBER, payer_ids=ids)) == 40
