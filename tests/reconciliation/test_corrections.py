"""A month that was corrected after it was billed compares like one that was right at once."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeCreditNote, StripeCreditNoteLine, StripeInvoice
from reconciliation.ledger_lines import LedgerEntry, LedgerLine, PayerTerms
from reconciliation.ledgers import read_stripe_ledger
from reconciliation.matching import compare_entries
from tests.factories import CustomerAccountFactory
from tests.reconciliation.factories import NOVEMBER_FIRST, add_stripe_invoice, make_stripe_line

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def make_tier(units: int, rate: str, **values: Any) -> Any:
    amount = int(units * Decimal(rate))
    return make_stripe_line("ST", amount, quantity=units, unit_amount_decimal=Decimal(rate), **values)


def make_item(amount_minor: int, **metadata: str) -> Any:
    """A true-up's item: Stripe gives it a quantity of one and the whole amount as its rate."""
    return make_stripe_line(
        "ST", amount_minor, invoice_item="ii_1", metadata={"true_up": "abc", "kind": "ST", **metadata}
    )


def add_note(
    invoice: StripeInvoice, *lines: dict[str, Any], metadata: dict[str, str] | None = None, **values: Any
) -> StripeCreditNote:
    """An issued credit note of these lines, each with its `amount_minor`."""
    total = sum(line["amount_minor"] for line in lines)
    note = StripeCreditNote.objects.create(
        **{
            "stripe_credit_note_id": f"cn_{StripeCreditNote.objects.count()}",
            "stripe_invoice_id": invoice.stripe_invoice_id,
            "account": invoice.account,
            "customer": invoice.customer,
            "number": f"{invoice.number}-CN",
            "status": "issued",
            "currency": "usd",
            "amount_minor": total,
            "subtotal_minor": total,
            "total_minor": total,
            "created_at": NOVEMBER_FIRST,
            "last_event_at": NOVEMBER_FIRST,
            "metadata": metadata or {},
            **values,
        }
    )
    for position, line in enumerate(lines):
        StripeCreditNoteLine.objects.create(
            **{
                "credit_note": note,
                "stripe_line_id": f"cnli_{position}",
                "position": position,
                "kind": "ST",
                "currency": "usd",
                "period_start": OCTOBER.start_at,
                "period_end": OCTOBER.end_at,
                **line,
            }
        )
    return note


def read(account: Any) -> LedgerEntry:
    return read_stripe_ledger(period=OCTOBER, payer_ids=[account.pk])[account.pk, "usd"]


def list_usage(entry: LedgerEntry) -> list[tuple[int, int, Decimal | None]]:
    return [
        (line.quantity, line.amount_minor, line.unit_amount_decimal)
        for line in entry.lines
        if line.kind == "ST"
    ]


def bill_as_legacy(account: Any, *tiers: tuple[int, str]) -> LedgerEntry:
    lines = [
        LedgerLine("ST", int(units * Decimal(rate)), units, Decimal(rate), invoice="L")
        for units, rate in tiers
    ]
    return LedgerEntry(account.pk, "usd", tuple(lines), {"L": 0})


def test_a_true_up_adds_to_the_tiers_of_its_month():
    account = CustomerAccountFactory.create()
    add_stripe_invoice(account, make_tier(1_000, "0.5"), make_tier(200, "0.25"), make_stripe_line("sub", 900))
    item = make_item(150, units="600", tiers="0.25:600:150")
    add_stripe_invoice(account, item, created_at=DECEMBER)
    entry = read(account)
    assert list_usage(entry) == [(1_000, 500, Decimal("0.5")), (800, 200, Decimal("0.25"))]
    legacy = bill_as_legacy(account, (1_000, "0.5"), (800, "0.25"))
    assert entry.total_minor == legacy.total_minor + 900
    differences = compare_entries(legacy=legacy, stripe=entry, terms=PayerTerms((), {}, ()), currency="usd")
    assert [difference.kind for difference in differences] == ["sub"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"units": "600", "tiers": "0.25:600:149"},
        {"units": "599", "tiers": "0.25:600:150"},
        {"units": "600", "tiers": "soon:600:150"},
        {"units": "600", "tiers": "0.25:600"},
        {"units": "600"},
    ],
)
def test_tiers_that_do_not_add_up_are_not_believed(metadata):
    account = CustomerAccountFactory.create()
    add_stripe_invoice(account, make_item(150, **metadata))
    assert list_usage(read(account)) == [(int(metadata["units"]), 150, None)]


def test_other_items_stay_as_they_are():
    account = CustomerAccountFactory.create()
    line = make_stripe_line("managed", 700, invoice_item="ii_2", metadata={"kind": "managed", "job_id": "9"})
    add_stripe_invoice(account, line)
    (found,) = read(account).lines
    assert (found.kind, found.amount_minor, found.quantity, found.job_id) == ("managed", 700, 1, 9)


def test_a_credit_note_takes_back_from_the_lines_that_it_names():
    account = CustomerAccountFactory.create()
    usage, fee = make_tier(1_000, "0.5", tax_minor=50), make_stripe_line("sub", 900)
    invoice = add_stripe_invoice(account, usage, fee)
    add_note(
        invoice,
        {"amount_minor": 100, "tax_minor": 10, "invoice_line": usage.stripe_line_id},
        {"amount_minor": 400, "kind": "sub", "invoice_line": fee.stripe_line_id},
    )
    entry = read(account)
    # 100 cents at half a cent are 200 units.
    assert list_usage(entry) == [(800, 400, Decimal("0.5"))]
    assert [(line.kind, line.amount_minor) for line in entry.lines if line.kind == "sub"] == [("sub", 500)]
    assert (entry.tax_minor, entry.total_minor) == (40, 940)


def test_a_true_up_s_credit_note_takes_back_by_tiers_whatever_lines_it_is_on():
    account = CustomerAccountFactory.create()
    high, low = make_tier(400, "0.25"), make_tier(1_000, "0.5")
    invoice = add_stripe_invoice(account, low, high)
    metadata = {"true_up": "abc", "kind": "ST", "units": "-500", "tiers": "0.5:-100:-50;0.25:-400:-100"}
    add_note(
        invoice,
        {"amount_minor": 30, "invoice_line": high.stripe_line_id},
        {"amount_minor": 120, "invoice_line": low.stripe_line_id, "tax_minor": 3},
        metadata=metadata,
    )
    entry = read(account)
    assert list_usage(entry) == [(900, 450, Decimal("0.5")), (0, 0, Decimal("0.25"))]
    assert entry.tax_minor == -3
    legacy = bill_as_legacy(account, (900, "0.5"))
    assert not [
        difference
        for difference in compare_entries(
            legacy=legacy, stripe=entry, terms=PayerTerms((), {}, ()), currency="usd"
        )
        if difference.kind == "ST"
    ]


def test_void_notes_other_months_and_other_payers_take_nothing_back():
    account, other = CustomerAccountFactory.create(), CustomerAccountFactory.create()
    usage = make_tier(1_000, "0.5")
    invoice = add_stripe_invoice(account, usage)
    named = {"amount_minor": 100, "invoice_line": usage.stripe_line_id}
    add_note(invoice, named, status="void")
    add_note(invoice, {**named, "period_start": NOVEMBER_FIRST})
    add_note(invoice, named, account=other)
    assert list_usage(read(account)) == [(1_000, 500, Decimal("0.5"))]


def test_an_amount_without_a_line_counts_for_the_month_of_its_invoice():
    account = CustomerAccountFactory.create()
    invoice = add_stripe_invoice(account, make_tier(1_000, "0.5"))
    later = add_stripe_invoice(
        account, make_stripe_line("sub", 5, period_start=NOVEMBER_FIRST), period_start=NOVEMBER_FIRST
    )
    loose = {"kind": "custom", "period_start": None, "period_end": None, "description": "goodwill"}
    add_note(invoice, {"amount_minor": 70, **loose})
    add_note(later, {"amount_minor": 9_999, **loose})
    entry = read(account)
    assert [(line.kind, line.amount_minor, line.description) for line in entry.lines[1:]] == [
        ("custom", -70, "goodwill")
    ]
    assert entry.total_minor == 430


def test_a_note_whose_lines_are_not_all_here_proves_nothing():
    account = CustomerAccountFactory.create()
    invoice = add_stripe_invoice(account, make_tier(1_000, "0.5"))
    add_note(invoice, {"amount_minor": 100, "invoice_line": "il_x"}, lines_complete=False)
    assert read(account).problems == (
        "not every line of Stripe's credit note " + f"{invoice.number}-CN is mirrored",
    )
