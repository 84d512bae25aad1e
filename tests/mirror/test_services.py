"""Our projections: complete, resolved to accounts and kinds, and never moved back by a late event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from billing_worker import gateway
from billing_worker.catalog.models import CatalogProduct
from billing_worker.mirror.models import (
    StripeCreditNote,
    StripeInvoice,
    StripeInvoiceLine,
    StripeSubscription,
)
from billing_worker.mirror.selectors import NotMirrored, get_invoice
from billing_worker.mirror.services import NeedsReading, Reading, adopt_rows, apply_payload, read_object
from tests.factories import AccountFactory
from tests.mirror.samples import (
    NOVEMBER,
    make_credit_note,
    make_invoice,
    make_job_line,
    make_line,
    make_paid_invoice,
    make_subscription,
)

pytestmark = pytest.mark.django_db

AT = datetime.fromtimestamp(NOVEMBER, UTC)
SECOND = timedelta(seconds=1)


def test_an_invoice_becomes_a_row_with_its_payer(account) -> None:
    assert apply_payload(make_paid_invoice(), event_created_at=AT)
    invoice = get_invoice("in_1")
    assert invoice.account == account
    assert (invoice.number, invoice.status, invoice.currency) == ("EXAMPLE-0001", "paid", "usd")
    assert (invoice.total_minor, invoice.amount_paid_minor, invoice.amount_remaining_minor) == (20, 20, 0)
    assert (invoice.subscription, invoice.test_clock) == ("sub_1", "clock_1")
    assert invoice.period_start == datetime(2026, 10, 1, tzinfo=UTC)
    assert invoice.finalized_at == AT
    assert invoice.paid_at == AT + 60 * SECOND
    assert invoice.lines_complete
    assert invoice.customer_details is not None
    assert (invoice.customer_details["name"], invoice.customer_details["email"]) == (
        "Example Ltd",
        "billing@example.com",
    )
    assert invoice.customer_details["address"] == {
        "line1": "1 Example Street", "line2": "", "city": "Springfield", "state": "", "postal_code": "",
        "country": "US",
    }  # fmt: skip
    [line] = invoice.lines.all()
    assert (line.amount_minor, line.quantity, line.unit_amount_decimal) == (20, 400, Decimal("0.05"))
    assert (line.price, line.product, line.subscription_item) == ("price_st", "prod_st", "si_1")


@pytest.mark.usefixtures("account", "catalog")
def test_lines_know_their_kind_and_account() -> None:
    AccountFactory.create(id=5002)
    CatalogProduct.objects.create(kind="gb_seconds_pro", stripe_product_id="prod_gb", name="GB-seconds (pro)")
    lines = [
        make_line(),
        make_job_line(),
        make_job_line(id="il_unknown", metadata={"kind": "managed", "account_id": "9999"}),
        make_job_line(id="il_odd", metadata={"kind": "gift", "account_id": "soon"}),
        make_job_line(id="il_endless", metadata={"kind": "managed", "account_id": "9" * 30}),
        make_job_line(id="il_arabic", metadata={"kind": "managed", "account_id": "٥٠٠٢"}),
        # A subscription's metadata is no word on what its line bills.
        make_line(
            id="il_foreign", metadata={"kind": "managed"}, pricing={"price_details": {"product": "prod_x"}}
        ),
        make_line(id="il_sampled", pricing={"price_details": {"product": "prod_gb"}}),
        make_line(id="il_bare", pricing=None, parent=None, quantity=None),
    ]
    apply_payload(make_invoice(lines=lines), event_created_at=AT)
    found = {line.stripe_line_id: (line.kind, line.account_id) for line in StripeInvoiceLine.objects.all()}
    assert found == {
        "il_1": ("ST", 5001),
        "il_job": ("managed", 5002),
        "il_unknown": ("managed", 5001),
        "il_odd": ("custom", 5001),
        "il_endless": ("managed", 5001),
        "il_arabic": ("managed", 5001),
        "il_foreign": ("custom", 5001),
        "il_sampled": ("sampled", 5001),
        "il_bare": ("custom", 5001),
    }


def test_a_foreign_customer_is_mirrored_and_belongs_to_nobody() -> None:
    apply_payload(make_invoice(customer="cus_foreign"), event_created_at=AT)
    assert get_invoice("in_1").account is None


def test_rows_that_came_before_their_account_are_adopted() -> None:
    apply_payload(make_invoice(), event_created_at=AT)
    apply_payload(make_subscription(), event_created_at=AT)
    apply_payload(make_credit_note(), event_created_at=AT)
    assert adopt_rows() == 0
    AccountFactory.create(id=5001, stripe_customer_id="cus_1")
    assert adopt_rows() == 3
    assert adopt_rows() == 0
    assert get_invoice("in_1").account_id == 5001
    assert StripeInvoiceLine.objects.get().account_id == 5001


@pytest.mark.usefixtures("account")
def test_lines_follow_a_draft_and_keep_their_keys() -> None:
    draft = make_invoice(status="draft", lines=[make_line(), make_line(id="il_2", amount=5)])
    apply_payload(draft, event_created_at=AT)
    key = StripeInvoiceLine.objects.get(stripe_line_id="il_1").pk
    final = make_invoice(lines=[make_line(id="il_3", amount=7), make_line(amount=30, quantity=600)])
    apply_payload(final, event_created_at=AT + SECOND)
    lines = get_invoice("in_1").lines.all()
    assert [(line.stripe_line_id, line.position, line.amount_minor) for line in lines] == [
        ("il_3", 0, 7),
        ("il_1", 1, 30),
    ]
    assert lines[1].pk == key


def test_an_older_event_changes_nothing() -> None:
    apply_payload(make_paid_invoice(), event_created_at=AT + 60 * SECOND)
    assert not apply_payload(make_invoice(), event_created_at=AT)
    assert get_invoice("in_1").status == "paid"


def test_going_back_is_doubted_even_if_it_claims_to_be_news() -> None:
    apply_payload(make_paid_invoice(), event_created_at=AT)
    with pytest.raises(NeedsReading) as need:
        apply_payload(make_invoice(), event_created_at=AT + SECOND)
    assert (need.value.kind, need.value.object_id, need.value.version) == ("invoice", "in_1", 1)


def test_the_same_second_and_content_is_nothing_new() -> None:
    apply_payload(make_invoice(), event_created_at=AT)
    assert not apply_payload(make_invoice(), event_created_at=AT)
    assert get_invoice("in_1").version == 1


def test_the_same_second_with_other_content_is_read_again() -> None:
    apply_payload(make_invoice(), event_created_at=AT)
    with pytest.raises(NeedsReading):
        apply_payload(make_invoice(attempt_count=1), event_created_at=AT)


def test_taxes_in_prices_come_to_rows_from_before_them_by_the_same_event() -> None:
    """1.19 with 0.19 inside and 1.00 with 0.07 on top, mirrored by the release before: it took both for on top."""

    def tax(amount: int, behavior: str) -> dict[str, Any]:
        return {
            "amount": amount,
            "taxable_amount": 100,
            "tax_behavior": behavior,
            "tax_rate_details": {"tax_rate": f"txr_{behavior}"},
            "taxability_reason": "not_available",
        }

    lines = [
        make_line(id="il_in", amount=119, taxes=[tax(19, "inclusive")]),
        make_line(id="il_on", amount=100, taxes=[tax(7, "exclusive")]),
    ]
    payload = make_invoice(lines=lines)
    payload |= {"total_taxes": [tax(19, "inclusive"), tax(7, "exclusive")], "total_excluding_tax": 200}
    apply_payload(payload, event_created_at=AT)
    StripeInvoice.objects.update(inclusive_tax_minor=0, total_excluding_tax_minor=None)
    StripeInvoiceLine.objects.update(inclusive_tax_minor=0, taxes=[])

    with pytest.raises(NeedsReading) as need:
        apply_payload(payload, event_created_at=AT)
    reading = Reading(content=gateway.parse_invoice(payload), version=need.value.version)
    assert apply_payload(payload, event_created_at=AT, reading=reading)
    invoice = get_invoice("in_1")
    assert (invoice.total_tax_minor, invoice.inclusive_tax_minor) == (26, 19)
    assert invoice.total_excluding_tax_minor == 200
    told = [(line.tax_minor, line.inclusive_tax_minor, line.taxes[0]) for line in invoice.lines.all()]
    plain = {"taxable_minor": 100, "percentage": None, "reason": "not_available"}
    assert told == [
        (19, 19, {**plain, "amount_minor": 19, "inclusive": True, "rate": "txr_inclusive"}),
        (7, 0, {**plain, "amount_minor": 7, "inclusive": False, "rate": "txr_exclusive"}),
    ]


def test_a_first_page_of_lines_is_not_taken_for_all() -> None:
    cut = make_invoice()
    cut["lines"]["has_more"] = True
    with pytest.raises(NeedsReading) as need:
        apply_payload(cut, event_created_at=AT)
    assert need.value.version is None
    whole = gateway.parse_invoice(cut, lines=[make_line(id=f"il_{n}") for n in range(250)])
    apply_payload(cut, event_created_at=AT, reading=Reading(content=whole, version=None))
    invoice = get_invoice("in_1")
    assert invoice.lines.count() == 250
    assert invoice.lines_complete


def test_an_invoice_that_is_gone_keeps_what_the_event_told(monkeypatch) -> None:
    def find_nothing(invoice: str) -> Any:
        raise gateway.GatewayNotFound("gone", stripe_code="resource_missing", param=None, status=404)

    monkeypatch.setattr("billing_worker.gateway.invoices.call", lambda *a, **k: find_nothing("in_1"))
    cut = make_invoice()
    cut["lines"]["has_more"] = True
    with pytest.raises(NeedsReading) as need:
        apply_payload(cut, event_created_at=AT)
    apply_payload(cut, event_created_at=AT, reading=read_object(need.value))
    assert not get_invoice("in_1").lines_complete


def test_another_api_version_is_not_read_from_the_payload() -> None:
    with pytest.raises(NeedsReading):
        apply_payload({"object": "invoice", "id": "in_1"}, event_created_at=AT, is_foreign_version=True)


def test_a_reading_from_before_another_write_is_not_used() -> None:
    apply_payload(make_invoice(), event_created_at=AT)
    early = Reading(content=gateway.parse_invoice(make_invoice()), version=1)
    apply_payload(make_paid_invoice(), event_created_at=AT + SECOND)
    with pytest.raises(NeedsReading) as need:
        apply_payload(make_invoice(), event_created_at=AT + 2 * SECOND, reading=early)
    assert need.value.version == 2
    assert get_invoice("in_1").status == "paid"


def test_a_present_reading_wins_over_the_payload() -> None:
    apply_payload(make_paid_invoice(), event_created_at=AT)
    reading = Reading(content=gateway.parse_invoice(make_paid_invoice(attempt_count=2)), version=1)
    apply_payload(make_invoice(), event_created_at=AT + SECOND, reading=reading)
    invoice = get_invoice("in_1")
    assert (invoice.status, invoice.attempt_count, invoice.last_event_at) == ("paid", 2, AT + SECOND)


def test_any_order_of_an_invoices_life_ends_in_its_last_state() -> None:
    """Draft, open, paid, as events may arrive; Stripe holds the paid one whenever it is asked."""
    paid = gateway.parse_invoice(make_paid_invoice())
    life = [
        (make_invoice(status="draft", number=None), AT),
        (make_invoice(), AT + SECOND),
        (make_invoice(attempt_count=1), AT + SECOND),
        (make_paid_invoice(), AT + 2 * SECOND),
    ]
    for order in permutations(life):
        StripeInvoice.objects.all().delete()
        reached = 0
        for payload, at in order:
            try:
                apply_payload(payload, event_created_at=at)
            except NeedsReading as need:
                apply_payload(
                    payload, event_created_at=at, reading=Reading(content=paid, version=need.version)
                )
            rank = ["draft", "open", "paid"].index(get_invoice("in_1").status)
            assert rank >= reached, "never back"
            reached = rank
        assert get_invoice("in_1").status == "paid"


def test_subscriptions_follow_until_they_end(account) -> None:
    apply_payload(make_subscription(status="past_due"), event_created_at=AT)
    apply_payload(make_subscription(), event_created_at=AT + SECOND)
    row = StripeSubscription.objects.get()
    assert (row.status, row.account, row.current_period_end) == (
        "active",
        account,
        datetime(2026, 11, 1, tzinfo=UTC),
    )
    assert row.items == [
        {
            "id": "si_1",
            "price": "price_st",
            "product": "prod_st",
            "quantity": None,
            "metadata": {"kind": "ST"},
        }
    ]
    ended = make_subscription(status="canceled", ended_at=NOVEMBER + 2)
    apply_payload(ended, event_created_at=AT + 2 * SECOND)
    with pytest.raises(NeedsReading):
        apply_payload(make_subscription(), event_created_at=AT + 3 * SECOND)
    row.refresh_from_db()
    assert row.status == "canceled"


def test_credit_notes(account) -> None:
    apply_payload(make_credit_note(), event_created_at=AT)
    apply_payload(make_credit_note(status="void", voided_at=NOVEMBER + 5), event_created_at=AT + 5 * SECOND)
    apply_payload(make_credit_note(), event_created_at=AT + SECOND)
    note = StripeCreditNote.objects.get()
    assert (note.status, note.amount_minor, note.stripe_invoice_id, note.account) == (
        "void",
        10,
        "in_1",
        account,
    )


def test_objects_without_a_projection_are_left_alone() -> None:
    assert not apply_payload({"object": "customer", "id": "cus_1"}, event_created_at=AT)


def test_an_unknown_invoice_says_what_to_do() -> None:
    with pytest.raises(NotMirrored, match="backfill_events"):
        get_invoice("in_none")
