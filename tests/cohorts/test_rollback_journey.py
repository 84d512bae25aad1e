"""A cohort that Stripe billed in November goes back to legacy from December: the real SDK, test clocks, both books."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from billing_worker import gateway
from billing_worker.accounts.models import Account, AuditEntry, BillingLease, TestClock
from billing_worker.accounts.selectors import get_leased_payer_ids
from billing_worker.alerts.models import Alert
from billing_worker.catalog.services import apply_catalog
from billing_worker.core.errors import Conflict
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeInvoice, StripeSubscription
from billing_worker.webhooks.services import backfill_events
from billing_worker.webhooks.tasks import drain_inbox
from cohorts.models import Cohort, Rollback
from cohorts.rolling_back import list_remaining
from cohorts.services import (
    ProvisioningOptions,
    advance_clocks,
    create_cohort,
    extend_leases,
    provision_cohort,
    recheck_rollback,
    reconcile_cohort,
    request_rollback,
    settle_rollback,
    start_dual_run,
    sync_subscriptions,
)
from invoices.models import InvoiceDocument
from metering.config import get_grace, get_seam
from metering.draft_window.models import DraftHold
from metering.models import MeterEvent
from metering.parsing import parse_record
from metering.services.ingest import store_usage
from metering.services.roll_up import roll_up_usage
from reconciliation.models import AccountResult, Drift
from reconciliation.services import run_reconciliation
from tests.factories import AccountFactory, AccountPlanFactory, make_tiers
from tests.legacy.tables import add_invoice, add_line
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

pytestmark = [pytest.mark.django_db(databases=["default", "legacy"]), pytest.mark.journey]
NOVEMBER, DECEMBER, JANUARY = Period(2026, 11), Period(2026, 12), Period(2027, 1)
IN_NOVEMBER = datetime(2026, 11, 20, 9, tzinfo=UTC)
IN_DECEMBER = datetime(2026, 12, 10, 9, tzinfo=UTC)
IN_JANUARY = datetime(2027, 1, 2, 9, tzinfo=UTC)
OPTIONS = ProvisioningOptions(use_test_clocks=True, test_payment_method="pm_card_visa")


@pytest.fixture
def cohort(stripe, legacy_tables) -> Cohort:
    """A payer with tiers and its child, and one with a fee only: billed by Stripe from November on, now the 20th."""
    payer, alone = AccountFactory.create(id=5001), AccountFactory.create(id=5003)
    child = AccountFactory.create(id=5002, parent=payer)
    for account, amount in ((payer, 49900), (child, 9900), (alone, 24900)):
        AccountPlanFactory.create(account=account, unit_amount_decimal=Decimal(amount))
    make_tiers(payer, "ST", (100_000, "0"), (None, "0.24"))
    apply_catalog(at=date(2026, 11, 1))
    cohort = create_cohort(name="c", account_ids=[5001, 5002, 5003], actor="test", now=NOVEMBER.start_at)
    provision_cohort(
        cohort_id=cohort.pk, period=NOVEMBER, options=OPTIONS, actor="test", now=NOVEMBER.start_at
    )
    cohort = start_dual_run(cohort_id=cohort.pk, actor="test", now=NOVEMBER.start_at)
    move(IN_NOVEMBER)
    return cohort


def move(to: datetime) -> None:
    """The customers' clocks go on, and what Stripe tells of it is taken in."""
    advance_clocks(clocks=list(TestClock.objects.all()), to=to)
    backfill_events(since=NOVEMBER.start_at, now=NOVEMBER.start_at)
    drain_inbox(seconds=300)


def use(day: str, quantity: int, *, now: datetime) -> MeterEvent:
    """The child's usage of a day, told and rolled up."""
    raw = {"account_id": 5002, "period": day, "usage_type": "ST", "quantity": quantity}
    store_usage(records=[parse_record(raw, today=now.date())], author="key", now=now)
    list(roll_up_usage(now=now, grace=get_grace(), seam=get_seam()))
    return MeterEvent.objects.get(bucket=day)


def roll_back(cohort: Cohort, period: Period = DECEMBER, *, now: datetime = IN_NOVEMBER) -> Rollback:
    rollback = request_rollback(cohort_id=cohort.pk, period=period, reason="drift", actor="test", now=now)
    assert {one.outcome for one in settle_rollback(rollback_id=rollback.pk, actor="test", now=now)} == {
        "done"
    }
    rollback.refresh_from_db()
    return rollback


def get_leases(account_id: int) -> dict[str, str]:
    return dict(BillingLease.objects.filter(account=account_id).values_list("period", "biller"))


def bill_on_legacy(period: Period, *, ids: tuple[int, int], fee: str, usage: str = "0.00") -> None:
    first, second = ids
    total = str(Decimal(fee) + Decimal(usage))
    add_invoice(first, 5001, total, period=str(period))
    add_line(first * 10, first, "sub", "499.00")
    add_line(first * 10 + 1, first, "sub", str(Decimal(fee) - Decimal("499.00")))
    if Decimal(usage):
        add_line(first * 10 + 2, first, "ST", "0.00", quantity=100_000)
        paid = add_line(first * 10 + 3, first, "ST", usage, quantity=200_000)
        paid.unit_rate = Decimal("2.400000")
        paid.save(using="legacy")
    add_invoice(second, 5003, "249.00", period=str(period))
    add_line(second * 10, second, "sub", "249.00")


def test_november_at_stripe_december_at_legacy_and_january_at_stripe_again(cohort):
    sent = use("2026-11-19", 300_000, now=IN_NOVEMBER)
    assert sent.state == "pending"
    rollback = roll_back(cohort)

    assert (rollback.state, Cohort.objects.get().state) == ("done", "rolled_back")
    for account_id in (5001, 5002, 5003):
        assert get_leases(account_id) == {"2026-11": "stripe", "2026-12": "legacy"}
    for step in rollback.steps.all():
        held = gateway.get_subscription(step.stripe_subscription_id)
        assert (held.status, held.cancel_at) == ("active", DECEMBER.start_at)
    assert AuditEntry.objects.filter(action="lease.biller_set", after__biller="legacy").count() == 3
    assert extend_leases(actor="test", now=IN_NOVEMBER) == 0
    assert MeterEvent.objects.get().state == "pending", "November is still Stripe's"
    assert {one.outcome for one in sync_subscriptions(actor="test", now=IN_NOVEMBER)} == {"unchanged"}
    assert recheck_rollback(rollback_id=rollback.pk, actor="test", now=IN_NOVEMBER) is False

    gateway.send_meter_event(
        event_name="impressions_st", customer=Account.objects.get(pk=5001).stripe_customer_id or "", value=300_000,
        identifier="november", at=datetime(2026, 11, 19, 12, tzinfo=UTC),
    )  # fmt: skip
    MeterEvent.objects.update(state="sent", sent_at=IN_NOVEMBER)
    move(datetime(2026, 12, 1, 0, 10, tzinfo=UTC))
    assert list(DraftHold.objects.filter(period="2026-11").values_list("account_id", flat=True)) == [5001]
    assert any("draft" in line for line in list_remaining(rollback))
    move(IN_DECEMBER)
    assert use("2026-12-08", 1_000, now=IN_DECEMBER).state == "shadow"
    assert extend_leases(actor="test", now=IN_DECEMBER) == 3
    assert get_leases(5002)["2027-01"] == "legacy"
    move(IN_JANUARY)

    # One last invoice with the usage of November: 200,000 past the free 100,000 at 0.24 cents, and nothing else.
    last = StripeInvoice.objects.get(account_id=5001, created_at__gte=DECEMBER.start_at)
    assert (last.status, last.total_minor) == ("paid", 48000)
    assert InvoiceDocument.objects.get(invoice=last).account_id == 5001
    assert not StripeInvoice.objects.filter(account_id=5003, created_at__gte=DECEMBER.start_at).exists()
    ended = StripeSubscription.objects.values_list("status", "ended_at")
    assert set(ended) == {("canceled", DECEMBER.start_at)}
    assert recheck_rollback(rollback_id=rollback.pk, actor="test", now=IN_JANUARY) is False
    assert list_remaining(rollback) == []
    assert not Alert.objects.filter(status="open", name__contains="roll").exists()

    bill_on_legacy(NOVEMBER, ids=(1, 2), fee="598.00", usage="480.00")
    bill_on_legacy(DECEMBER, ids=(3, 4), fee="598.00")
    for period in (NOVEMBER, DECEMBER):
        run = reconcile_cohort(cohort_id=cohort.pk, period=period, actor="test", now=IN_JANUARY)
        assert (run.accounts_checked, run.accounts_with_drift) == (2, 0), list(Drift.objects.values())
    found = {
        (one.biller, one.legacy_minor, one.stripe_minor, one.difference_minor) for one in run.results.all()
    }
    assert found == {("legacy", 59800, 0, 0), ("legacy", 24900, 0, 0)}
    check_what_would_be_drift()
    check_moving_again(cohort)


def check_what_would_be_drift() -> None:
    """The daily run looks at handed back months too: what both billed is told, and what nobody did."""
    stray = add_stripe_invoice(
        Account.objects.get(pk=5003),
        make_stripe_line("sub", 24900, period_start=DECEMBER.start_at, period_end=DECEMBER.end_at),
    )
    payers = get_leased_payer_ids(DECEMBER)
    run_reconciliation(period=DECEMBER, payer_ids=payers, scope="", now=IN_JANUARY)
    twice = Drift.objects.get(state="open")
    assert (twice.account_id, twice.cause, twice.gross_minor) == (5003, "billed_twice", 24900)
    assert twice.explanation == (
        "the month was handed back to legacy, and both billed it: Stripe 249.00 USD, legacy 249.00 USD"
    )
    stray.delete()
    run = run_reconciliation(
        period=JANUARY, payer_ids=get_leased_payer_ids(JANUARY), scope="", now=JANUARY.end_at
    )
    assert {(one.account_id, one.gross_minor, one.drift_count) for one in AccountResult.objects.filter(run=run)} == {
        (5001, 59800, 1), (5003, 24900, 1),
    }  # fmt: skip
    assert "nobody billed it" in Drift.objects.get(account=5003, period="2027-01").explanation


def check_moving_again(first: Cohort) -> None:
    """The accounts join another cohort and are billed by Stripe from February on, by subscriptions of their own."""
    again = create_cohort(name="again", account_ids=[5001, 5002, 5003], actor="test", now=IN_JANUARY)
    provision_cohort(cohort_id=again.pk, period=JANUARY.next(), options=OPTIONS, actor="test", now=IN_JANUARY)
    start_dual_run(cohort_id=again.pk, actor="test", now=IN_JANUARY)
    old, new = (set(one.members.values_list("stripe_subscription_id", flat=True)) for one in (first, again))
    assert len(new) == 2
    assert not old & new
    assert get_leases(5002)["2027-02"] == "stripe"
    with pytest.raises(CommandError, match="legacy bills account 5001 since 2026-12"):
        call_command("rollback_cohort", cohort="c", withdraw=True, reason="too late")
    move(datetime(2027, 2, 1, 2, tzinfo=UTC))
    fees = StripeInvoice.objects.filter(created_at__gte=JANUARY.end_at).values_list(
        "account_id", "total_minor"
    )
    assert sorted(fees) == [(5001, 59800), (5003, 24900)]


def test_a_month_that_has_begun_is_refused_with_the_earliest(cohort):
    with pytest.raises(Conflict, match="2026-11 has begun at Stripe for account 5001, 5003; the earliest"):
        roll_back(cohort, NOVEMBER)
    assert not Rollback.objects.exists()
    with pytest.raises(CommandError) as refusal:
        call_command("rollback_cohort", "--cohort=c", "--from=2026-11", "--dry-run")
    assert refusal.value.returncode == 2
