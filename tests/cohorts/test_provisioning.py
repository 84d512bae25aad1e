"""A cohort is set up at Stripe: against the stand-in as a process of its own, over HTTP."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.db.models import Count

from billing_worker import gateway
from billing_worker.accounts.models import Account, AuditEntry, TestClock
from billing_worker.alerts.models import Alert
from billing_worker.catalog.services import apply_catalog
from billing_worker.core.periods import Period
from billing_worker.gateway import GatewayUnavailable
from cohorts.models import Cohort, CohortMember
from cohorts.provisioning import CannotProvision
from cohorts.services import ProvisioningOptions, advance_clocks, create_cohort, provision_cohort
from cohorts.services.lifecycle import WrongCohortState
from cohorts.states import CohortState
from tests.factories import NOW, AccountFactory, AccountPlanFactory, CustomerAccountFactory, make_tiers

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)
ON_CLOCKS = ProvisioningOptions(use_test_clocks=True, test_payment_method="pm_card_visa")


@pytest.fixture
def family(stripe):
    """A payer with tiers, its child, an account that starts on the 12th, and three more; the catalog applied."""
    payer = AccountFactory.create(name="Northmere Group, Inc.", address_country="US")
    child = AccountFactory.create(parent=payer)
    late = AccountFactory.create(opened_at=datetime(2026, 10, 12, 9, tzinfo=UTC))
    others = AccountFactory.create_batch(3)
    for account, fee in (
        (payer, "49900"),
        (child, "49900"),
        (late, "24900"),
        *((one, "14900") for one in others),
    ):
        AccountPlanFactory.create(account=account, unit_amount_decimal=Decimal(fee))
    make_tiers(payer, "ST", (100_000, "0"), (None, "0.24"))
    apply_catalog(at=date(2026, 10, 1))
    return payer, child, late, *others


@pytest.fixture
def cohort(family) -> Cohort:
    return create_cohort(name="cohort-2", account_ids=[one.pk for one in family], actor="test", now=NOW)


def provision(cohort: Cohort, options: ProvisioningOptions = ON_CLOCKS) -> Cohort:
    return provision_cohort(cohort_id=cohort.pk, period=OCTOBER, options=options, actor="test", now=NOW)


def count_at_stripe() -> tuple[int, int]:
    """Customers and subscriptions that Stripe holds for our accounts."""
    customers = [pk for pk in Account.objects.values_list("stripe_customer_id", flat=True) if pk]
    return len(customers), sum(len(gateway.list_subscriptions(customer)) for customer in customers)


def test_customers_subscriptions_and_clocks(cohort, family):
    payer, child, *_ = family
    done = provision(cohort)
    assert (done.state, done.ready_at, done.dual_run_period) == (CohortState.READY, NOW, "2026-10")
    assert set(done.members.values_list("provisioning", flat=True)) == {"provisioned"}
    payer.refresh_from_db()
    child.refresh_from_db()
    assert child.stripe_customer_id is None, "it bills through its parent"
    assert (
        child.cohort_members.get().stripe_subscription_id == payer.cohort_members.get().stripe_subscription_id
    )
    subscription = gateway.get_subscription(payer.cohort_members.get().stripe_subscription_id)
    assert sorted(item.quantity or 0 for item in subscription.items) == [0, 2]
    assert subscription.started_at == datetime(2026, 10, 1, tzinfo=UTC)
    assert {item.period_end for item in subscription.items} == {datetime(2026, 11, 1, tzinfo=UTC)}
    assert gateway.get_customer(payer.stripe_customer_id).name == "Northmere Group, Inc."
    assert count_at_stripe() == (5, 5)
    # Four payers on the first take two clocks, the late one has its own.
    on_clocks = TestClock.objects.annotate(customers=Count("accounts")).values_list("frozen_at", "customers")
    assert sorted(on_clocks) == [
        (datetime(2026, 10, 1, tzinfo=UTC), 1),
        (datetime(2026, 10, 1, tzinfo=UTC), 3),
        (datetime(2026, 10, 12, tzinfo=UTC), 1),
    ]
    assert AuditEntry.objects.get(action="cohort.provisioned").after == {"period": "2026-10", "accounts": 6}


def test_the_first_invoices_bill_october_and_a_late_start_by_the_day(cohort, family):
    _, _, late, *_ = family
    provision(cohort)
    late.refresh_from_db()
    (invoice,) = gateway.list_invoices(customer=late.stripe_customer_id)
    (line,) = [line for line in invoice.lines if line.amount_minor]
    # 249.00 x 20 / 31 = 160.645
    assert (line.amount_minor, line.period_start, line.period_end) == (
        16065, datetime(2026, 10, 12, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip


def test_clocks_move_together_and_only_forward(cohort):
    provision(cohort)
    to = datetime(2026, 11, 1, 2, tzinfo=UTC)
    assert advance_clocks(clocks=list(TestClock.objects.all()), to=to) == 3
    assert set(TestClock.objects.values_list("frozen_at", "is_ready")) == {(to, True)}
    assert advance_clocks(clocks=list(TestClock.objects.all()), to=to) == 0
    for account in Account.objects.filter(test_clock__isnull=False):
        assert len(list(gateway.list_invoices(customer=account.stripe_customer_id))) == 2


def test_clocks_go_further_than_one_step_allows(cohort):
    provision(cohort)
    to = datetime(2027, 1, 15, tzinfo=UTC)
    advance_clocks(clocks=list(TestClock.objects.all()), to=to)
    assert set(TestClock.objects.values_list("frozen_at", flat=True)) == {to}


@pytest.mark.parametrize("path", ["/v1/customers", "/v1/subscriptions", "/v1/test_helpers/test_clocks"])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_interrupted_anywhere_and_repeated_it_creates_everything_once(cohort, stripe, path, kind):
    """The connection breaks, before or after Stripe did it; the repeat makes what is missing and nothing else."""
    stripe.control("POST", "/_sandbox/faults", {"kind": kind, "method": "POST", "path": path})
    with pytest.raises(GatewayUnavailable):
        provision(cohort)
    cohort.refresh_from_db()
    assert cohort.state == CohortState.DRAFT
    stripe.control("DELETE", "/_sandbox/faults")
    assert provision(cohort).state == CohortState.READY
    assert count_at_stripe() == (5, 5)
    events = [event["type"] for event in gateway.list_events(created_from=datetime(2026, 1, 1, tzinfo=UTC))]
    assert events.count("customer.created") == 5
    assert events.count("test_helpers.test_clock.created") == 3
    assert not Alert.objects.filter(name="provisioning_failed", status="open").exists()


def test_a_repeat_after_the_idempotency_keys_are_gone_finds_the_subscription(cohort, family):
    payer = family[0]
    provision(cohort)
    CohortMember.objects.update(provisioning="customer", provisioned_at=None, stripe_subscription_id="")
    Cohort.objects.update(state=CohortState.DRAFT, ready_at=None)
    provision(cohort)
    payer.refresh_from_db()
    assert count_at_stripe() == (5, 5)
    assert payer.cohort_members.get().stripe_subscription_id.startswith("sub_")


def test_what_cannot_be_served_is_told_before_anything_is_created(cohort, family, stripe):
    _, _, _, first, second, _ = family
    for account in (first, second):
        account.plans.update(unit_amount_decimal=Decimal(12345))
    with pytest.raises(CannotProvision, match=r"flat_usd_12345.*; there is no price flat_usd_12345"):
        provision(cohort)
    assert count_at_stripe() == (0, 0)
    assert not TestClock.objects.exists()


def test_a_refusal_is_kept_on_its_member_and_told(cohort, family, stripe):
    stripe.control("POST", "/_sandbox/faults", {"kind": "drop_before", "path": "/v1/subscriptions"})
    with pytest.raises(GatewayUnavailable):
        provision(cohort)
    failed = CohortMember.objects.exclude(provisioning_error="").get()
    assert failed.provisioning == "customer"
    assert Alert.objects.get(name="provisioning_failed").detail.startswith(f"account {failed.account_id}: ")


def test_only_a_draft_is_provisioned(cohort):
    provision(cohort)
    with pytest.raises(WrongCohortState, match="ready: only a draft"):
        provision(cohort)


def test_send_invoice_on_a_customer_that_was_there_before(stripe):
    account = CustomerAccountFactory.create(
        stripe_customer_id=gateway.create_customer(
            name="Before", email="before@example.com", address=None, metadata={}, idempotency_key="before"
        ).id,
        opened_at=datetime(2020, 1, 1, tzinfo=UTC),
    )
    AccountPlanFactory.create(account=account)
    apply_catalog(at=date(2026, 10, 1))
    cohort = create_cohort(name="cohort-3", account_ids=[account.pk], actor="test", now=NOW)
    now = datetime.now(UTC)
    options = ProvisioningOptions(collection_method="send_invoice", days_until_due=14)
    provision_cohort(cohort_id=cohort.pk, period=Period.of(now), options=options, actor="test", now=now)
    subscription = gateway.get_subscription(CohortMember.objects.get().stripe_subscription_id)
    assert (subscription.collection_method, subscription.days_until_due) == ("send_invoice", 14)
    assert {item.period_end for item in subscription.items} == {Period.of(now).end_at}
