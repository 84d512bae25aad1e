"""Lines of credit notes: whose they are and what they take back, whichever of note and invoice comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing_worker import gateway
from billing_worker.mirror.models import StripeCreditNote, StripeCreditNoteLine
from billing_worker.mirror.services import NeedsReading, Reading, adopt_rows, apply_payload
from tests.factories import AccountFactory
from tests.mirror.samples import (
    NOVEMBER,
    make_credit_line,
    make_credit_note,
    make_invoice,
    make_job_line,
    make_line,
)

pytestmark = pytest.mark.django_db

AT = datetime.fromtimestamp(NOVEMBER, UTC)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER_START = datetime(2026, 11, 1, tzinfo=UTC)
TAX = {
    "amount": 2,
    "taxable_amount": 10,
    "tax_behavior": "exclusive",
    "tax_rate_details": {"tax_rate": "txr_1"},
    "taxability_reason": "standard_rated",
}


def make_taxed_invoice() -> dict[str, Any]:
    lines = [make_line(taxes=[{**TAX, "amount": 4, "taxable_amount": 20}]), make_job_line()]
    return make_invoice(lines=lines, default_tax_rates=[{"id": "txr_1", "percentage": 20}])


def make_full_note(**changes: Any) -> dict[str, Any]:
    """Half of the impressions with their tax, some of a child's job, and two amounts that refer to no line."""
    named = {"kind": "RM", "account_id": "5002", "period": "2026-09"}
    lines = [
        make_credit_line(taxes=[TAX]),
        make_credit_line(id="cnli_2", invoice_line_item="il_job", amount=56, quantity=1),
        make_credit_line(id="cnli_3", invoice_line_item=None, amount=7, metadata=named),
        make_credit_line(
            id="cnli_4",
            invoice_line_item=None,
            amount=1,
            metadata={"kind": "gift", "account_id": "9" * 40, "period": "soon"},
        ),
    ]
    return make_credit_note(lines=lines, **changes)


def list_lines() -> list[tuple[Any, ...]]:
    lines = StripeCreditNoteLine.objects.order_by("position")
    return [(line.kind, line.account_id, line.amount_minor, line.period_start) for line in lines]


@pytest.mark.usefixtures("account", "catalog")
@pytest.mark.parametrize("is_note_first", [False, True])
def test_lines_say_what_they_take_back(is_note_first) -> None:
    AccountFactory.create(id=5002)
    objects = [make_taxed_invoice(), make_full_note()]
    for payload in reversed(objects) if is_note_first else objects:
        apply_payload(payload, event_created_at=AT)
    assert list_lines() == [
        ("ST", 5001, 10, OCTOBER),
        ("managed", 5002, 56, OCTOBER),
        ("RM", 5002, 7, datetime(2026, 9, 1, tzinfo=UTC)),
        ("custom", 5001, 1, None),
    ]
    taxed = StripeCreditNoteLine.objects.get(stripe_line_id="cnli_1")
    assert (taxed.period_end, taxed.quantity, taxed.tax_minor) == (NOVEMBER_START, 200, 2)
    assert taxed.taxes == [
        {"amount_minor": 2, "taxable_minor": 10, "percentage": "20", "reason": "standard_rated"}
    ]


@pytest.mark.usefixtures("account", "catalog")
def test_a_note_s_metadata_names_what_its_lines_do_not() -> None:
    note = make_credit_note(
        lines=[make_credit_line(invoice_line_item=None)], metadata={"kind": "CV", "period": "2026-10"}
    )
    apply_payload(note, event_created_at=AT)
    assert list_lines() == [("CV", 5001, 10, OCTOBER)]


@pytest.mark.usefixtures("account", "catalog")
def test_lines_keep_their_keys_and_those_that_went_are_removed() -> None:
    apply_payload(make_full_note(), event_created_at=AT)
    key = StripeCreditNoteLine.objects.get(stripe_line_id="cnli_1").pk
    later = make_credit_note(lines=[make_credit_line(description="Changed")], memo="Changed")
    apply_payload(later, event_created_at=AT + timedelta(seconds=1))
    line = StripeCreditNoteLine.objects.get()
    assert (line.pk, line.description) == (key, "Changed")


def test_a_first_page_of_lines_is_read_whole() -> None:
    cut = make_credit_note()
    cut["lines"]["has_more"] = True
    with pytest.raises(NeedsReading) as need:
        apply_payload(cut, event_created_at=AT)
    assert need.value.kind == "credit_note"
    lines = [make_credit_line(id=f"cnli_{n}") for n in range(120)]
    reading = Reading(content=gateway.parse_credit_note(cut, lines=lines), version=None)
    apply_payload(cut, event_created_at=AT, reading=reading)
    note = StripeCreditNote.objects.get()
    assert (note.lines.count(), note.lines_complete) == (120, True)


def test_lines_are_adopted_with_their_note() -> None:
    apply_payload(make_credit_note(), event_created_at=AT)
    AccountFactory.create(id=5001, stripe_customer_id="cus_1")
    assert adopt_rows() == 1
    assert StripeCreditNoteLine.objects.get().account_id == 5001


def test_how_an_amount_was_given_back() -> None:
    note = gateway.parse_credit_note(
        make_credit_note(
            pre_payment_amount=1,
            post_payment_amount=9,
            refunds=[{"amount_refunded": 4, "refund": "re_1", "type": "refund"}],
            out_of_band_amount=2,
            total_taxes=[TAX],
            discount_amount=3,
        )
    )
    assert (note.pre_payment_minor, note.post_payment_minor) == (1, 9)
    assert (note.refunded_minor, note.out_of_band_minor) == (4, 2)
    assert (note.total_tax_minor, note.total_discount_minor) == (2, 3)
