"""Who decides about true-ups, in which order, and what is credited where."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from billing_worker.accounts.models import AuditEntry
from billing_worker.alerts.models import Alert
from billing_worker.mirror.models import StripeCreditNote, StripeCreditNoteLine
from metering.models import BilledUsage, MeterEvent, TrueUp, UsageRecord
from metering.states import EventState
from metering.true_ups.crediting import NothingToCredit
from metering.true_ups.deciding import (
    AlreadyDecided,
    EarlierUndecided,
    FiguresChanged,
    OwnFigures,
    ReasonMissing,
    approve_true_up,
    reject_true_up,
)
from tests.metering.factories import MeterEventFactory
from tests.metering.true_up_world import FINALIZED, NOW, bill, make_payer, propose, tell
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

pytestmark = pytest.mark.django_db


def approve(true_up: TrueUp, *, actor: str = "ann", reason: str = "agreed with the customer") -> TrueUp:
    return approve_true_up(true_up_id=true_up.pk, actor=actor, reason=reason, now=NOW)


def reject(true_up: TrueUp, *, reason: str = "a gift") -> TrueUp:
    return reject_true_up(true_up_id=true_up.pk, actor="ann", reason=reason, now=NOW)


def propose_two() -> list[TrueUp]:
    """Ten units up to the bound of a tier, then ten above it."""
    payer = make_payer()
    bill(payer, units=299_990)
    tell(payer, 10)
    first = propose()
    tell(payer, 20, reason="more")
    return first + propose()


def test_an_approval_is_audited_with_figures_and_reason():
    first, _ = propose_two()
    approve(first)
    first.refresh_from_db()
    assert (first.state, first.decided_by, first.decision_reason) == (
        "approved",
        "ann",
        "agreed with the customer",
    )
    entry = AuditEntry.objects.get(action="metering.true_up_approved")
    assert (entry.actor, entry.reason, entry.subject_id) == ("ann", "agreed with the customer", str(first.pk))
    assert (entry.after["units"], entry.after["amount_minor"]) == (10, 2)
    with pytest.raises(AlreadyDecided, match="approved already"):
        reject(first)


def test_a_decision_needs_a_reason_and_other_eyes():
    first, _ = propose_two()
    with pytest.raises(ReasonMissing):
        approve(first, reason="  ")
    with pytest.raises(ReasonMissing):
        reject(first, reason="")
    UsageRecord.objects.filter(revision=0).update(author="ann")
    with pytest.raises(OwnFigures, match="somebody else"):
        approve(first)
    assert approve(first, actor="ben").state == "approved"


def test_amounts_build_on_each_other_so_the_earlier_is_decided_first():
    first, second = propose_two()
    with pytest.raises(EarlierUndecided, match=f"decide true-up {first.pk} first"):
        approve(second)
    approve(first)
    assert approve(second).amount_minor == 1


def test_without_a_rejected_one_the_later_cost_what_they_then_cost():
    first, second = propose_two()
    assert (second.amount_minor, second.units_before) == (1, 300_000)
    reject(first)
    second.refresh_from_db()
    assert (second.amount_minor, second.units_before) == (2, 299_990)
    assert approve(second).state == "approved"
    event = MeterEvent.objects.get(true_up_part__true_up=first)
    assert (event.state, event.reason) == ("skipped", f"true-up {first.pk} rejected by ann: a gift")
    assert propose() == [], "what was rejected is never proposed again"
    assert not Alert.objects.filter(name="true_up_waiting", status="open").exists()


def test_figures_that_changed_since_are_shown_before_they_are_approved():
    first, _ = propose_two()
    BilledUsage.objects.update(units=400_000)
    with pytest.raises(FiguresChanged):
        approve(first)
    first.refresh_from_db()
    assert (first.state, first.amount_minor, first.units_before) == ("proposed", 1, 400_000)
    assert approve(first).amount_minor == 1


def test_the_database_refuses_what_no_service_writes():
    first, _ = propose_two()
    for changes in (
        {"state": "approved"},
        {"state": "settled", "decided_at": NOW, "decided_by": "a", "decision_reason": "b"},
        {"state": "no_charge"},
        {"state": "calling", "decided_at": NOW, "decided_by": "a", "decision_reason": "b"},
        {"state": "soon"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            TrueUp.objects.filter(pk=first.pk).update(**changes)


def take_back(*, billed: int = 310_000, left: int = 290_000) -> TrueUp:
    """The month was billed with more than was used. 20,000 fewer: 10,000 at 0.1255 and 10,000 at 0.2, 3,255 cents."""
    payer = make_payer()
    tell(payer, billed)
    MeterEvent.objects.update(state=EventState.SENT, sent_at=FINALIZED - timedelta(days=1))
    bill(payer, units=billed)
    tell(payer, left, reason="double counted")
    (true_up,) = propose()
    return true_up


def list_parts(true_up: TrueUp) -> list[tuple[Decimal | None, int, int]]:
    lines = {
        line.stripe_line_id: line
        for invoice in true_up.payer.stripe_invoices.all()
        for line in invoice.lines.all()
    }
    return [
        (lines[part["invoice_line"]].unit_amount_decimal, part["amount_minor"], part["units"])
        for part in true_up.credit_lines
    ]


def test_a_credit_takes_each_tier_s_units_from_that_tier_s_line():
    true_up = approve(take_back())
    assert true_up.credited_invoice_id == true_up.stripe_invoice_id
    assert list_parts(true_up) == [(Decimal("0.1255"), 1_255, 10_000), (Decimal("0.2"), 2_000, 10_000)]


def credit(true_up: TrueUp, amount_minor: int, *, line: int = 1) -> None:
    """Somebody has credited the invoice's second line with this much."""
    invoice = true_up.payer.stripe_invoices.get(stripe_invoice_id=true_up.stripe_invoice_id)
    note = StripeCreditNote.objects.create(
        stripe_credit_note_id=f"cn_{amount_minor}_{line}", stripe_invoice_id=invoice.stripe_invoice_id,
        account=true_up.payer, customer=invoice.customer, status="issued", currency="usd",
        amount_minor=amount_minor, subtotal_minor=amount_minor, total_minor=amount_minor, created_at=NOW,
        last_event_at=NOW,
    )  # fmt: skip
    StripeCreditNoteLine.objects.create(
        credit_note=note, stripe_line_id="cnli_1", position=0, kind="ST", amount_minor=amount_minor,
        currency="usd", invoice_line=invoice.lines.all()[line].stripe_line_id,
    )  # fmt: skip


def test_a_credit_is_limited_to_what_the_invoice_has_left():
    true_up = take_back()
    credit(true_up, 38_001)
    # 41,255 were billed: 3,254 are left.
    with pytest.raises(NothingToCredit, match=r"32\.55 USD can't be credited: at most 32\.54 USD"):
        approve(true_up)
    true_up.refresh_from_db()
    assert true_up.state == "proposed"
    StripeCreditNote.objects.update(status="void")
    assert approve(true_up).state == "approved"


def test_an_amount_without_lines_is_less_to_credit_too():
    true_up = take_back()
    credit(true_up, 38_001)
    StripeCreditNoteLine.objects.update(invoice_line="")
    with pytest.raises(NothingToCredit, match=r"at most 32\.54 USD"):
        approve(true_up)


def test_a_line_that_has_less_left_is_helped_out_by_the_others():
    true_up = take_back()
    credit(true_up, 1_000, line=2)
    approved = approve(true_up)
    assert sum(part["amount_minor"] for part in approved.credit_lines) == 3_255
    assert sum(part["units"] for part in approved.credit_lines) == 20_000
    by_rate = {rate: minor for rate, minor, _ in list_parts(approved)}
    assert by_rate == {Decimal("0.1255"): 255, Decimal("0.2"): 3_000}


def test_two_credits_do_not_take_the_same_cents():
    first = take_back(billed=110_000, left=105_000)
    approve(first)
    tell(first.account, 99_000, reason="less")
    (second,) = propose()
    # 2,000 were billed: 1,000 go with the first, and the second takes back the other thousand.
    assert second.amount_minor == -1_000
    assert approve(second).state == "approved"
    credit(second, 1)
    tell(first.account, 99_500, reason="more")
    assert propose()[0].state == "no_charge"


def test_an_earlier_true_up_s_own_invoice_line_can_be_credited():
    payer = make_payer()
    bill(payer, units=0)
    tell(payer, 110_000)
    (first,) = propose()
    approve(first)
    tell(payer, 105_000, reason="less")
    (second,) = propose()
    with pytest.raises(NothingToCredit, match="Wait for the next invoice"):
        approve(second)
    line = make_stripe_line(
        "ST", 2_000, invoice_item="ii_9", metadata={"true_up": first.reference, "meter": "ST"}
    )
    december = add_stripe_invoice(payer, line, finalized_at=NOW, created_at=NOW)
    approved = approve(second)
    assert (approved.credited_invoice_id, approved.amount_minor) == (december.stripe_invoice_id, -1_000)
    assert approved.credit_lines == [
        {"invoice_line": line.stripe_line_id, "amount_minor": 1_000, "units": 5_000}
    ]


def test_void_invoices_and_other_months_lines_give_nothing_back():
    true_up = take_back()
    invoice = true_up.payer.stripe_invoices.get()
    september = make_stripe_line("ST", 99_999, period_start=FINALIZED)
    add_stripe_invoice(true_up.payer, september, finalized_at=FINALIZED)
    add_stripe_invoice(true_up.payer, make_stripe_line("sub", 99_999), finalized_at=FINALIZED)
    invoice.status = "void"
    invoice.save()
    with pytest.raises(NothingToCredit, match=r"at most 0\.00 USD"):
        approve(true_up)


def test_an_event_given_up_before_is_not_proposed():
    payer = make_payer()
    bill(payer)
    MeterEventFactory.create(account=payer, state=EventState.SKIPPED, reason="given up")
    assert propose() == []
