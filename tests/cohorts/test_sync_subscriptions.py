"""Subscriptions follow their accounts' plans: against the stand-in for Stripe, over a month's end and another."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from billing_worker import gateway
from billing_worker.accounts.models import Account, AccountPlan, AccountTier, AuditEntry, TestClock
from billing_worker.alerts.models import Alert
from billing_worker.catalog.services import apply_catalog
from billing_worker.core.periods import Period
from billing_worker.mirror.models import StripeSubscription
from cohorts.changes import (
    HeldItem,
    ItemChange,
    WantedItem,
    compute_early_additions,
    compute_licensed_changes,
    compute_metered_changes,
    leaves_nothing,
)
from cohorts.models import Cohort, SubscriptionChange
from cohorts.services import (
    ProvisioningOptions,
    advance_clocks,
    create_cohort,
    provision_cohort,
    start_dual_run,
    sync_subscriptions,
)
from tests.factories import NOW, AccountFactory, AccountPlanFactory, BillingLeaseFactory, make_tiers

OCTOBER, NOVEMBER = Period(2026, 10), Period(2026, 11)
FIRST = date(2026, 11, 1)
LAST_EVENING = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)


def fee(id: str, price: str, quantity: int = 1, accounts: str = "1") -> HeldItem:
    return HeldItem(id, price, "prod_fee", quantity, {"account_ids": accounts})


def want(price: str, quantity: int = 1, accounts: str = "1") -> WantedItem:
    return WantedItem(price, "prod_fee", quantity, accounts)


@pytest.mark.parametrize(
    ("held", "wanted", "changes"),
    [
        ([fee("a", "p1")], [want("p1")], []),
        ([fee("a", "p1")], [want("p2")], [ItemChange("a", "p2", 1, "1")]),
        ([fee("a", "p1", 2, "1,2")], [want("p1"), want("p2", 1, "2")],
         [ItemChange("a", "", 1, "1"), ItemChange("", "p2", 1, "2")]),
        ([fee("a", "p1"), fee("b", "p2", 1, "2")], [want("p2", 2, "1,2")],
         [ItemChange("b", "", 2, "1,2"), ItemChange("a", is_removal=True)]),
        ([fee("a", "p1")], [], [ItemChange("a", is_removal=True)]),
        ([HeldItem("m", "tiers", "prod_st", None)], [want("p1")], [ItemChange("", "p1", 1, "1")]),
    ],
)  # fmt: skip
def test_fees(held, wanted, changes):
    assert list(compute_licensed_changes(held, wanted)) == changes


def test_tiers_keep_their_item():
    held = [fee("a", "p1"), HeldItem("m", "old", "prod_st", None), HeldItem("n", "gone", "prod_rm", None)]
    wanted = [WantedItem("new", "prod_st"), WantedItem("more", "prod_cv")]
    changes = [ItemChange("m", "new"), ItemChange("", "more"), ItemChange("n", is_removal=True)]
    assert list(compute_metered_changes(held, wanted)) == changes
    assert compute_early_additions(held, wanted, used_products=frozenset()) == (ItemChange("", "more"),)
    assert compute_early_additions(held, wanted, used_products=frozenset({"prod_cv"})) == ()


def test_the_last_item_is_not_taken_away():
    held = [fee("a", "p1")]
    assert leaves_nothing(held, [ItemChange("a", is_removal=True)])
    assert not leaves_nothing(held, [ItemChange("a", is_removal=True), ItemChange("", "p2", 1)])
    assert not leaves_nothing(held, [])


@pytest.fixture
def accounts(stripe) -> tuple[Account, ...]:
    """A payer with tiers and its child, an account that gets tiers in November, and one whose plan ends."""
    payer = AccountFactory.create(id=5001)
    child = AccountFactory.create(id=5002, parent=payer)
    gaining = AccountFactory.create(id=5003)
    leaving = AccountFactory.create(id=5004)
    until, since = {"effective_to": FIRST}, {"effective_from": FIRST}
    for account, amount, dates in (
        (payer, 49900, {}),
        (child, 49900, until),
        (child, 59900, since),
        (gaining, 24900, until),
        (gaining, 19900, since),
        (leaving, 14900, until),
    ):
        AccountPlanFactory.create(account=account, unit_amount_decimal=Decimal(amount), **dates)
    make_tiers(payer, "ST", (100_000, "0"), (None, "0.24"), **until)
    make_tiers(payer, "ST", (50_000, "0"), (None, "0.30"), **since)
    make_tiers(gaining, "RM", (None, "0.5"), **since)
    make_tiers(leaving, "CV", (None, "0.4"), **until)
    return payer, child, gaining, leaving


@pytest.fixture
def cohort(accounts) -> Cohort:
    """In its dual run, in October's time."""
    for day in (date(2026, 10, 1), FIRST):
        apply_catalog(at=day)
    cohort = create_cohort(name="c", account_ids=[one.pk for one in accounts], actor="test", now=NOW)
    options = ProvisioningOptions(use_test_clocks=True, test_payment_method="pm_card_visa")
    provision_cohort(cohort_id=cohort.pk, period=OCTOBER, options=options, actor="test", now=NOW)
    return start_dual_run(cohort_id=cohort.pk, actor="test", now=NOW)


def move(*when: int) -> None:
    advance_clocks(clocks=list(TestClock.objects.all()), to=datetime(2026, *when, tzinfo=UTC))


def sync(**options) -> dict[int, str]:
    return {
        result.account_id: result.outcome for result in sync_subscriptions(actor="test", now=NOW, **options)
    }


def use(account: Account, kind: str, value: int, *when: int) -> None:
    account.refresh_from_db()
    gateway.send_meter_event(
        event_name=f"impressions_{kind}", customer=account.stripe_customer_id or "", value=value,
        identifier=f"{account.pk}:{kind}:{when}", at=datetime(2026, *when, tzinfo=UTC),
    )  # fmt: skip


def bill(account: Account, period: Period) -> list[tuple[int, int]]:
    """Quantity and amount of every line whose own period lies in the month; free ones left out."""
    account.refresh_from_db()
    lines = [
        line
        for invoice in gateway.list_invoices(customer=account.stripe_customer_id)
        for line in invoice.lines
    ]
    assert not any(line.is_proration for line in lines)
    return sorted(
        (line.quantity or 0, line.amount_minor)
        for line in lines
        if line.amount_minor and line.period_start == period.start_at
    )


@pytest.mark.django_db
def test_november_is_billed_by_november_s_plans(cohort, accounts):
    payer, _, gaining, leaving = accounts
    move(10, 20)
    assert set(sync().values()) == {"unchanged"}, "October is billed as it was signed up for"

    move(10, 31, 23, 30)
    use(payer, "st", 300_000, 10, 31, 23)
    use(leaving, "cv", 1_000, 10, 31, 23)
    assert sync(is_dry_run=True) == {5001: "planned", 5003: "planned", 5004: "planned"}
    assert not SubscriptionChange.objects.exists()
    assert sync() == {5001: "changed", 5003: "changed", 5004: "changed"}
    assert set(sync().values()) == {"unchanged"}
    move(11, 1, 0, 30)
    assert sync()[5001] == "waiting", "October's usage is still being rated"
    move(11, 1, 2)
    assert sync() == {5001: "changed", 5003: "unchanged", 5004: "unchanged"}
    assert set(sync().values()) == {"unchanged"}
    use(payer, "st", 200_000, 11, 1, 1)
    use(gaining, "rm", 1_000, 11, 1, 0, 10)
    BillingLeaseFactory.create_batch(1, account=payer, period="2026-12")
    move(11, 30)
    assert sync()[5001] == "unchanged"
    move(12, 1, 2)

    # Two fees of 499.00; 200,000 past the free 100,000 at 0.24 cents.
    assert bill(payer, OCTOBER) == [(2, 99800), (200_000, 48000)]
    # One of 499.00, one of 599.00; 150,000 past the free 50,000 at 0.30 cents.
    assert bill(payer, NOVEMBER) == [(1, 49900), (1, 59900), (150_000, 45000)]
    assert bill(gaining, OCTOBER) == [(1, 24900)]
    assert bill(gaining, NOVEMBER) == [(1, 19900), (1_000, 500)]
    assert bill(leaving, OCTOBER) == [(1, 14900), (1_000, 400)]
    assert bill(leaving, NOVEMBER) == []
    assert gateway.get_subscription(leaving.cohort_members.get().stripe_subscription_id).status == "canceled"
    assert AuditEntry.objects.filter(action="subscription.changed").count() == 4
    assert set(SubscriptionChange.objects.values_list("state", flat=True)) == {"applied"}
    told = SubscriptionChange.objects.get(account=5001, period="2026-11", number=1)
    assert told.summary == "1 × fee of 499.00 USD; 1 × fee of 599.00 USD"


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_lost_answer_is_asked_for_again_and_done_once(cohort, stripe, kind):
    move(10, 31, 23, 30)
    path = "/v1/subscriptions/*"
    stripe.control("POST", "/_sandbox/faults", {"kind": kind, "method": "POST", "path": path})
    assert set(sync().values()) == {"failed"}
    assert Alert.objects.filter(name="subscription_sync_failed", status="open").count() == 3
    pending = list(SubscriptionChange.objects.filter(state="pending").values_list("pk", flat=True))
    stripe.control("DELETE", "/_sandbox/faults")
    done = set(sync().values())
    assert done == ({"changed"} if kind == "drop_before" else {"unchanged"})
    assert not Alert.objects.filter(name="subscription_sync_failed", status="open").exists()
    assert list(SubscriptionChange.objects.values_list("pk", flat=True)) == pending
    fees = [item for item in get_subscription(5001).items if item.quantity is not None]
    assert sorted(item.quantity or 0 for item in fees) == [1, 1]
    assert set(SubscriptionChange.objects.values_list("state", flat=True)) == {"applied"}


@pytest.mark.django_db
def test_two_workers_at_once_change_it_once(cohort, monkeypatch):
    move(10, 31, 23, 30)
    change, nested = gateway.change_subscription, []

    def change_while_another_does(subscription, **options):
        if not nested:
            nested.append(True)
            nested.append(sync())
        return change(subscription, **options)

    monkeypatch.setattr(gateway, "change_subscription", change_while_another_does)
    assert set(sync().values()) <= {"changed", "unchanged"}
    assert len(nested) == 2
    assert len([item for item in get_subscription(5001).items if item.quantity is not None]) == 2
    assert SubscriptionChange.objects.count() == 3
    assert AuditEntry.objects.filter(action="subscription.changed").count() == 3


@pytest.mark.django_db
def test_what_is_right_in_the_mirror_costs_no_call(cohort, monkeypatch):
    for account in (5001, 5003, 5004):
        mirror(account)

    def refuse(_):
        raise AssertionError("Stripe was asked")

    monkeypatch.setattr(gateway, "get_subscription", refuse)
    assert set(sync().values()) == {"unchanged"}


@pytest.mark.django_db
def test_a_missing_price_is_told_and_keeps_nobody_else(cohort, capsys):
    move(10, 31, 23, 30)
    AccountPlan.objects.filter(account=5003, effective_from=FIRST).update(unit_amount_decimal=Decimal(777))
    with pytest.raises(CommandError) as failed:
        call_command("sync_subscriptions", "--cohort", "c")
    assert failed.value.returncode == 2
    said = capsys.readouterr().out
    assert "account 5003: failed: there is no price flat_usd_777: run catalog_apply" in said
    assert "2 changed, 1 failed, 0 unchanged" in said
    apply_catalog(at=FIRST)
    call_command("sync_subscriptions")
    assert "1 changed, 2 unchanged" in capsys.readouterr().out


@pytest.mark.django_db
def test_a_month_that_legacy_bills_is_left_alone(cohort, accounts):
    for account in accounts:
        account.leases.filter(period="2026-11").update(biller="legacy")
    move(10, 31, 23, 30)
    assert set(sync().values()) == {"unchanged"}


@pytest.mark.django_db
def test_a_plan_that_is_taken_back_takes_the_change_back(cohort):
    move(10, 31, 12)
    sync()
    AccountPlan.objects.filter(account=5004).update(effective_to=None)
    AccountTier.objects.filter(account=5004).update(effective_to=None)
    assert get_subscription(5004).cancel_at_period_end
    assert sync()[5004] == "changed"
    assert not get_subscription(5004).cancel_at_period_end


def get_subscription(account_id: int) -> gateway.Subscription:
    account = Account.objects.get(pk=account_id)
    return gateway.get_subscription(account.cohort_members.get().stripe_subscription_id)


def mirror(account_id: int) -> None:
    held = get_subscription(account_id)
    StripeSubscription.objects.create(
        stripe_subscription_id=held.id, account_id=account_id, customer=held.customer, status=held.status,
        current_period_start=OCTOBER.start_at, current_period_end=OCTOBER.end_at, created_at=held.created_at,
        last_event_at=NOW,
        items=[
            {"id": item.id, "price": item.price, "product": item.product, "quantity": item.quantity,
             "metadata": dict(item.metadata)}
            for item in held.items
        ],
    )  # fmt: skip
