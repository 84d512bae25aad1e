"""Ten thousand payers are reconciled in one run, in a number of queries that does not follow from their number."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing_worker.accounts.models import Account, AccountPlan
from billing_worker.core.periods import Period
from billing_worker.legacy.models import LegacyInvoice, LegacyInvoiceLine
from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine
from reconciliation.models import AccountResult, Drift
from reconciliation.services import run_reconciliation
from tests.factories import AccountFactory
from tests.reconciliation.factories import NOVEMBER_FIRST, OCTOBER_FIRST, make_stripe_line

pytestmark = [
    pytest.mark.django_db(databases=["default", "legacy"]),
    pytest.mark.slow,
]
PAYERS = range(100_001, 110_001)
DRIFTING = PAYERS[:20]


@pytest.fixture
def big_book(legacy_tables: None) -> None:
    """Every payer has a flat fee and one usage line on both sides; twenty of them are a cent apart."""
    Account.objects.bulk_create(
        [AccountFactory.build(id=pk, stripe_customer_id=f"cus_{pk}") for pk in PAYERS], batch_size=500
    )
    AccountPlan.objects.bulk_create(
        [
            AccountPlan(
                account_id=pk,
                plan_name="Essential",
                unit_amount_decimal=Decimal(49900),
                effective_from=OCTOBER_FIRST.date(),
            )
            for pk in PAYERS
        ],
        batch_size=500,
    )
    fill_stripe()
    fill_legacy()


def fill_stripe() -> None:
    StripeInvoice.objects.bulk_create(
        [
            StripeInvoice(
                stripe_invoice_id=f"in_{pk}", account_id=pk, customer=f"cus_{pk}", status="open", currency="usd",
                subtotal_minor=64600, total_minor=64600, amount_due_minor=64600, amount_paid_minor=0,
                amount_remaining_minor=64600, period_start=OCTOBER_FIRST, period_end=NOVEMBER_FIRST,
                created_at=NOVEMBER_FIRST, last_event_at=NOVEMBER_FIRST,
            )
            for pk in PAYERS
        ],
        batch_size=500,
    )  # fmt: skip
    lines: list[StripeInvoiceLine] = []
    for invoice_pk, account_id in StripeInvoice.objects.values_list("pk", "account_id"):
        fee = make_stripe_line("sub", 49900 + (account_id in DRIFTING))
        usage = make_stripe_line("ST", 14700, quantity=61_250, unit_amount_decimal=Decimal("0.24"))
        for position, line in enumerate((fee, usage)):
            line.invoice_id, line.position, line.currency = invoice_pk, position, "usd"
            line.stripe_line_id = f"il_{position}"
            lines.append(line)
    StripeInvoiceLine.objects.bulk_create(lines, batch_size=500)


def fill_legacy() -> None:
    LegacyInvoice.objects.using("legacy").bulk_create(
        [
            LegacyInvoice(
                inv_id=pk, inv_uuid="", acct_id=pk, period="2026-10", invoice_no=f"L-{pk}", status="draft",
                currency="USD", subtotal=Decimal("646.00"), tax=Decimal(0), total=Decimal("646.00"),
                issued_at=NOVEMBER_FIRST,
            )
            for pk in PAYERS
        ],
        batch_size=500,
    )  # fmt: skip
    LegacyInvoiceLine.objects.using("legacy").bulk_create(
        [
            LegacyInvoiceLine(
                id=2 * pk + position, inv_id=pk, kind=kind, description=kind, quantity=quantity,
                unit_rate=Decimal(rate), amount=Decimal(amount),
            )
            for pk in PAYERS
            for position, (kind, quantity, rate, amount) in enumerate(
                [("sub", 1, "499.00", "499.00"), ("ST", 61_250, "2.40", "147.00")]
            )
        ],
        batch_size=500,
    )  # fmt: skip


@pytest.mark.usefixtures("big_book")
def test_ten_thousand_payers(django_assert_max_num_queries):
    # Two batches of reads, ten of results, and some for each of the twenty drifts.
    with django_assert_max_num_queries(4, using="legacy"), django_assert_max_num_queries(221):
        run = run_reconciliation(
            period=Period(2026, 10), payer_ids=PAYERS, scope="", now=datetime(2026, 11, 1, 6, tzinfo=UTC)
        )
    assert (run.accounts_checked, run.accounts_with_drift) == (10_000, 20)
    assert AccountResult.objects.filter(run=run, gross_minor=0).count() == 9_980
    assert set(Drift.objects.values_list("account_id", "stripe_minor", "legacy_minor")) == {
        (pk, 49901, 49900) for pk in DRIFTING
    }
