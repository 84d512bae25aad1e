"""What becomes a true-up, once, and what it comes to: every expected amount is worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.accounts.states import AccountStatus
from billing_worker.alerts.models import Alert
from billing_worker.catalog.models import CatalogProduct, SampledMeter, SampledPrice, SampledTier
from billing_worker.core.periods import Period
from billing_worker.core.rating import Tier, rate_graduated
from metering.models import BilledUsage, MeterEvent, TrueUpPart
from metering.services.sending.claims import claim_events, expire_old
from metering.states import EventState
from metering.true_ups.arithmetic import compute_true_up, load_step
from metering.true_ups.billed import record_billed_usage, record_missing
from metering.true_ups.states import TrueUpState
from tests.factories import BillingLeaseFactory, CustomerAccountFactory
from tests.metering.factories import MeterEventFactory
from tests.metering.true_up_world import (
    FINALIZED,
    NOW,
    bill,
    list_states,
    make_payer,
    propose,
    tell,
)
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

pytestmark = pytest.mark.django_db
LEASE = timedelta(minutes=2)


def claim() -> list[int]:
    return [call.pk for call in claim_events(now=NOW, limit=500, token="token", lease=LEASE)]


def test_late_usage_costs_what_the_whole_month_costs_more():
    payer = make_payer(name="Quarry Lane Bakery")
    invoice = bill(payer, units=250_000)
    tell(payer, 60_001)
    assert claim() == [], "Stripe would count it and never bill it"

    (true_up,) = propose()

    # 50,000 more at 0.2 make 10,000; 10,001 at 0.1255 are 1,255.1255.
    assert (true_up.units, true_up.units_before, true_up.amount_minor) == (60_001, 250_000, 11_255)
    assert [load_step(row).dump() for row in true_up.arithmetic] == true_up.arithmetic == [
        {
            "tier": 2,
            "unit_amount_decimal": "0.2",
            "units_before": 150_000,
            "units_after": 200_000,
            "before_minor": 30_000,
            "after_minor": 40_000,
        },
        {
            "tier": 3,
            "unit_amount_decimal": "0.1255",
            "units_before": 0,
            "units_after": 10_001,
            "before_minor": 0,
            "after_minor": 1_255,
        },
    ]  # fmt: skip
    assert (true_up.state, true_up.currency, true_up.notes) == ("proposed", "usd", [])
    assert (true_up.payer, true_up.period, true_up.stripe_invoice_id) == (
        payer,
        "2026-10",
        invoice.stripe_invoice_id,
    )
    assert list_states() == {f"{payer.pk}:2026-10-30:ST": "skipped"}
    assert MeterEvent.objects.get().reason == f"billed as true-up {true_up.pk}"
    assert Alert.objects.get(name="true_up_waiting", status="open").detail.startswith(
        "1 true-ups over 112.55 USD wait"
    )


def test_further_late_usage_is_proposed_for_its_own_units_only():
    payer = make_payer()
    bill(payer, units=299_990)
    tell(payer, 20)
    (first,) = propose()
    assert propose() == []
    tell(payer, 30, reason="found ten more")
    (second,) = propose()
    # Ten units at 0.2 and ten at 0.1255 (1.255 is one); then ten more there, where twenty are 2.51, three.
    assert (first.amount_minor, second.units_before, second.units, second.amount_minor) == (3, 300_010, 10, 2)
    assert TrueUpPart.objects.count() == MeterEvent.objects.count() == 2


def test_a_restatement_downwards_takes_back_from_the_highest_tier():
    payer = make_payer()
    tell(payer, 310_000)
    MeterEvent.objects.update(state=EventState.SENT, sent_at=FINALIZED - timedelta(days=1))
    bill(payer, units=310_000)
    tell(payer, 290_000, reason="double counted")
    (true_up,) = propose()
    # 10,000 at 0.1255 and 10,000 at 0.2.
    assert (true_up.units, true_up.amount_minor, true_up.is_credit) == (-20_000, -3_255, True)


def test_units_in_a_free_tier_are_noted_and_nobody_is_asked():
    payer = make_payer()
    bill(payer, units=1_000)
    tell(payer, 99_000)
    (free,) = propose()
    assert (free.state, free.amount_minor) == (TrueUpState.NO_CHARGE, 0)
    assert not Alert.objects.filter(name="true_up_waiting").exists()
    tell(payer, 99_010, reason="ten more")
    (charged,) = propose()
    assert (charged.units_before, charged.amount_minor) == (100_000, 2)


def test_a_meter_event_is_in_one_true_up_by_the_database():
    payer = make_payer()
    bill(payer)
    tell(payer, 5_000)
    (true_up,) = propose()
    part = TrueUpPart.objects.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        TrueUpPart.objects.create(true_up=true_up, event=part.event, value=1)


def test_what_a_sender_has_claimed_or_may_have_sent_is_left_alone():
    payer = make_payer()
    MeterEventFactory.create(account=payer, bucket="2026-10-04")
    assert len(claim()) == 1
    MeterEventFactory.create(account=payer, bucket="2026-10-05", uncertain_at=NOW, attempts=1)
    MeterEventFactory.create(account=payer, bucket="2026-10-06", state=EventState.UNRESOLVED)
    MeterEventFactory.create(account=payer, bucket="2026-10-07", state=EventState.SHADOW)
    MeterEventFactory.create(account=payer, bucket="2026-10-08", state=EventState.REJECTED, reason="no")
    MeterEventFactory.create(account=payer, bucket="2026-10-09", state=EventState.SKIPPED, reason="suspended")
    bill(payer)
    assert propose() == []
    assert claim() == []


def test_children_count_through_their_payer_s_tiers():
    payer = make_payer()
    children = [CustomerAccountFactory.create(parent=payer, stripe_customer_id=None) for _ in range(2)]
    for child in children:
        BillingLeaseFactory.create(account=child)
    bill(payer, units=299_000)
    for child in reversed(children):
        tell(child, 1_000)
    first, second = propose()
    assert [(true_up.account, true_up.payer, true_up.units_before) for true_up in (first, second)] == [
        (children[0], payer, 299_000),
        (children[1], payer, 300_000),
    ]
    assert (first.amount_minor, second.amount_minor) == (200, 126)


def test_expired_usage_is_offered_with_or_without_an_invoice():
    payer = make_payer()
    MeterEventFactory.create(
        account=payer, bucket="2026-10-02", value=150_000, state=EventState.SENT, sent_at=NOW
    )
    MeterEventFactory.create(account=payer, bucket="2026-10-01", value=1_000)
    assert expire_old(now=datetime(2026, 11, 6, 12, 1, tzinfo=UTC)) == 1
    assert Alert.objects.filter(name="meter_event_expired", status="open").exists()
    (true_up,) = propose()
    assert (true_up.units_before, true_up.amount_minor, true_up.stripe_invoice_id) == (150_000, 200, "")
    assert "no finalized invoice" in true_up.notes[0]
    assert not Alert.objects.filter(name="meter_event_expired", status="open").exists()
    assert MeterEvent.objects.get(bucket="2026-10-01").state == EventState.SKIPPED


def test_what_was_sent_during_finalization_is_found_by_what_the_invoice_lacks():
    payer = make_payer()
    for day, value, minutes in (("01", 100_000, -300), ("02", 5_000, -5), ("03", 700, -4), ("04", 300, 2)):
        MeterEventFactory.create(
            account=payer, bucket=f"2026-10-{day}", value=value, state=EventState.SENT,
            sent_at=FINALIZED + timedelta(minutes=minutes),
        )  # fmt: skip
    bill(payer, units=105_000)
    (true_up,) = propose()
    assert (true_up.units, true_up.amount_minor) == (1_000, 200)
    assert set(true_up.parts.values_list("event__bucket", flat=True)) == {"2026-10-03", "2026-10-04"}
    assert set(MeterEvent.objects.values_list("state", flat=True)) == {EventState.SENT}
    assert propose() == []


def test_a_shortage_that_no_newest_events_explain_is_left_to_reconciliation():
    payer = make_payer()
    MeterEventFactory.create(
        account=payer, bucket="2026-10-01", value=500, state=EventState.SENT, sent_at=FINALIZED
    )
    bill(payer, units=499)
    assert propose() == []


def test_a_sampled_meter_is_billed_at_its_own_price():
    payer = make_payer()
    meter = SampledMeter.objects.create(
        name="gb_seconds", title="GB-seconds", quantity="gb_seconds", billing_mode="unified", bucket="day",
        created_at=NOW,
    )  # fmt: skip
    tier = SampledTier.objects.create(meter=meter, event_name="gb_seconds")
    SampledPrice.objects.create(
        tier=tier, currency="usd", tiers=[{"up_to": None, "unit_amount_decimal": "0.5"}]
    )
    CatalogProduct.objects.create(kind="gb_seconds", name="GB-seconds", stripe_product_id="prod_gb")
    line = make_stripe_line(
        "sampled",
        51,
        quantity=101,
        unit_amount_decimal=Decimal("0.5"),
        product="prod_gb",
        subscription_item="si_2",
    )
    invoice = add_stripe_invoice(payer, line, finalized_at=FINALIZED, billing_reason="subscription_cycle")
    assert record_billed_usage(invoice=invoice, now=FINALIZED) == 1
    MeterEventFactory.create(account=payer, meter="gb_seconds", event_name="gb_seconds", value=2)
    assert claim() == []
    (true_up,) = propose()
    assert (true_up.meter, true_up.amount_minor, true_up.notes) == ("gb_seconds", 1, [])


def test_a_person_is_told_what_does_not_fit():
    payer = make_payer(status=AccountStatus.SUSPENDED)
    bill(payer, units=250_000)
    BilledUsage.objects.update(amount_minor=29_000)
    MeterEventFactory.create(account=payer, value=1_000)
    (true_up,) = propose()
    assert "asks 290.00 USD for 250,000 units" in true_up.notes[0] or "no price" in true_up.notes[0]
    assert "suspended" in true_up.notes[-1]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"finalized_at": None, "status": "draft"}, {}),
        ({"billing_reason": "subscription_threshold"}, {}),
        ({"created_at": datetime(2026, 10, 20, tzinfo=UTC)}, {}),
        ({}, {"period_end": datetime(2026, 10, 1, tzinfo=UTC)}),
        ({}, {"invoice_item": "ii_1"}),
        ({}, {"kind": "sub"}),
        ({}, {"kind": "custom", "product": "prod_unknown"}),
        ({"account": None}, {}),
    ],
)
def test_what_does_not_bill_a_period(changes, line):
    payer = make_payer()
    stripe_line = make_stripe_line("ST", 0, quantity=0, subscription_item="si_1")
    for name, value in line.items():
        setattr(stripe_line, name, value)
    invoice = add_stripe_invoice(
        payer, stripe_line, finalized_at=FINALIZED, billing_reason="subscription_cycle"
    )
    for name, value in changes.items():
        setattr(invoice, name, value)
    invoice.save()
    assert record_billed_usage(invoice=invoice, now=NOW) == 0
    assert record_missing(now=NOW) == 0
    MeterEventFactory.create(account=payer)
    assert len(claim()) == 1


def test_only_the_billed_stretch_of_the_billed_meter_is_closed():
    payer = make_payer()
    half = datetime(2026, 10, 20, tzinfo=UTC)
    line = make_stripe_line("ST", 0, quantity=0, subscription_item="si_1", period_end=half)
    add_stripe_invoice(payer, line, finalized_at=half, created_at=half, billing_reason="subscription_update")
    before = MeterEventFactory.create(account=payer, bucket="2026-10-19")
    after = MeterEventFactory.create(account=payer, bucket="2026-10-20")
    other = MeterEventFactory.create(account=payer, bucket="2026-10-19", meter="RM")
    (true_up,) = propose()
    assert [part.event for part in true_up.parts.all()] == [before]
    assert set(claim()) == {after.pk, other.pk}


def test_a_lost_webhook_is_made_up_for_and_runs_can_be_narrowed():
    payer, other = make_payer(), make_payer()
    for account in (payer, other):
        bill(account, record=False)
        MeterEventFactory.create(account=account, value=1_000)
    assert propose(account_id=other.pk + 1) == []
    assert propose(period=Period(2026, 9)) == []
    (true_up,) = propose(account_id=payer.pk)
    assert true_up.account == payer
    assert [late.account for late in propose(period=Period(2026, 10))] == [other]


TIERS = [Tier(100, Decimal("0")), Tier(1_000, Decimal("0.37")), Tier(None, Decimal("0.123456"))]


@given(
    first=st.integers(0, 5_000),
    late=st.lists(st.integers(-3_000, 3_000).filter(bool), min_size=1, max_size=6),
)
def test_true_ups_add_up_to_the_bill_for_everything(first, late):
    counted, billed = first, sum(charge.amount_minor for charge in rate_graduated(first, TIERS))
    for units in late:
        steps = compute_true_up(units_before=counted, units=units, tiers=TIERS)
        billed += sum(step.difference_minor for step in steps)
        counted += units
    assert billed == sum(charge.amount_minor for charge in rate_graduated(counted, TIERS))
