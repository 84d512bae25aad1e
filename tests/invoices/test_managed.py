"""Managed-service jobs become invoice items: exactly, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from billing_worker import gateway
from billing_worker.accounts.models import ManagedJob
from billing_worker.alerts.models import Alert
from billing_worker.core.periods import Period
from invoices.models import ManagedCharge
from invoices.services.managed import bill_managed_jobs, release_stale_charges
from invoices.states import ChargeState
from tests.factories import AccountFactory, BillingLeaseFactory, CustomerAccountFactory, ManagedJobFactory
from tests.invoices.factories import NOW

pytestmark = pytest.mark.django_db
OCTOBER = Period(2026, 10)


class FakeStripe:
    """Makes one item per idempotency key, as Stripe does, and fails on request."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.calls = 0
        self.fail_before: Exception | None = None
        self.fail_after: Exception | None = None

    def create_invoice_item(self, *, idempotency_key: str, **params: Any) -> gateway.InvoiceItem:
        self.calls += 1
        if self.fail_before:
            raise self.fail_before
        self.items.setdefault(idempotency_key, params)
        if self.fail_after:
            raise self.fail_after
        return gateway.InvoiceItem(
            id=f"ii_{idempotency_key}",
            customer=params["customer"],
            amount_minor=params["amount_minor"],
            currency=params["currency"],
            description=params["description"],
            period_start=params["period_start"],
            period_end=params["period_end"],
            invoice=None,
        )


@pytest.fixture
def stripe(monkeypatch) -> FakeStripe:
    fake = FakeStripe()
    monkeypatch.setattr("billing_worker.gateway.create_invoice_item", fake.create_invoice_item)
    return fake


def make_job(**changes: Any) -> ManagedJob:
    """A job of 1,250.00 done in October for an account that Stripe bills."""
    account = changes.pop("account", None) or CustomerAccountFactory.create()
    BillingLeaseFactory.create(account=account)
    return ManagedJobFactory.create(account=account, **changes)


def test_a_job_becomes_one_item_with_its_exact_amount(stripe):
    job = make_job(title="Landing page", amount_minor=123457)
    for _ in range(3):
        report = bill_managed_jobs(period=OCTOBER, now=NOW)
    assert (report.billed, report.created, report.waiting) == (1, 0, 0)
    assert stripe.calls == 1
    assert stripe.items[f"managed-job-{job.pk}"] == {
        "customer": f"cus_{job.account_id}",
        "amount_minor": 123457,
        "currency": "usd",
        "description": "Landing page",
        "period_start": job.completed_at,
        "period_end": job.completed_at,
        "metadata": {"kind": "managed", "account_id": str(job.account_id), "job_id": str(job.pk)},
        "invoice": None,
    }
    charge = ManagedCharge.objects.get()
    assert (charge.state, charge.stripe_invoice_item_id) == (ChargeState.BILLED, f"ii_managed-job-{job.pk}")


def test_only_what_stripe_bills_for_the_month_is_sent(stripe):
    make_job(completed_at=datetime(2026, 11, 1, tzinfo=UTC))
    make_job(completed_at=datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC))
    make_job(status="open", completed_at=None)
    make_job(status="billed")
    ManagedJobFactory.create(account=CustomerAccountFactory.create())
    make_job(account=AccountFactory.create())
    due = make_job(completed_at=datetime(2026, 10, 1, tzinfo=UTC))
    report = bill_managed_jobs(period=OCTOBER, now=NOW)
    assert (report.billed, report.skipped) == (1, 2)
    assert list(stripe.items) == [f"managed-job-{due.pk}"]


def test_a_childs_job_is_billed_to_its_parents_customer(stripe):
    parent = CustomerAccountFactory.create()
    BillingLeaseFactory.create(account=parent)
    job = make_job(account=AccountFactory.create(parent=parent))
    bill_managed_jobs(period=OCTOBER, now=NOW)
    item = stripe.items[f"managed-job-{job.pk}"]
    assert item["customer"] == parent.stripe_customer_id
    assert item["metadata"]["account_id"] == str(job.account_id)


def test_a_childs_job_waits_while_the_old_service_bills_its_parent(stripe):
    make_job(account=AccountFactory.create(parent=CustomerAccountFactory.create()))
    assert bill_managed_jobs(period=OCTOBER, now=NOW).skipped == 1
    assert not stripe.items


def test_a_lost_answer_is_fetched_with_the_same_key(stripe):
    make_job()
    stripe.fail_after = gateway.GatewayUnavailable("timed out", outcome_unknown=True)
    assert bill_managed_jobs(period=OCTOBER, now=NOW).waiting == 1
    stripe.fail_after = None
    assert bill_managed_jobs(period=OCTOBER, now=NOW + timedelta(minutes=1)).waiting == 1, "still claimed"
    assert bill_managed_jobs(period=OCTOBER, now=NOW + timedelta(minutes=6)).billed == 1
    assert len(stripe.items) == 1


def test_once_stripe_may_have_forgotten_the_key_a_person_looks_first(stripe):
    make_job()
    stripe.fail_after = gateway.GatewayUnavailable("timed out", outcome_unknown=True)
    bill_managed_jobs(period=OCTOBER, now=NOW)
    stripe.fail_after = None
    assert bill_managed_jobs(period=OCTOBER, now=NOW + timedelta(hours=23)).unknown == 1
    assert stripe.calls == 1
    assert Alert.objects.filter(name="managed_charge_failed").count() == 1


def test_a_charge_that_was_released_and_then_waited_past_its_keys_life_is_left_to_a_person(stripe):
    """Released while its key was good, and then nobody ran for a day: sending it now could bill it twice."""
    make_job()
    stripe.fail_after = gateway.GatewayUnavailable("timed out", outcome_unknown=True)
    bill_managed_jobs(period=OCTOBER, now=NOW)
    stripe.fail_after = None
    assert release_stale_charges(now=NOW + timedelta(minutes=6)) == 1

    assert bill_managed_jobs(period=OCTOBER, now=NOW + timedelta(hours=23)).unknown == 1
    assert stripe.calls == 1
    assert Alert.objects.filter(name="managed_charge_failed").count() == 1


def test_a_call_that_certainly_did_nothing_does_not_start_the_keys_life(stripe):
    make_job()
    stripe.fail_before = gateway.GatewayRateLimited("slow down")
    assert bill_managed_jobs(period=OCTOBER, now=NOW).waiting == 1
    stripe.fail_before = None
    assert bill_managed_jobs(period=OCTOBER, now=NOW + timedelta(hours=30)).billed == 1
    assert len(stripe.items) == 1


def test_a_refusal_is_final_and_alerts(stripe):
    job = make_job()
    stripe.fail_before = gateway.GatewayRejected(
        "no such customer", stripe_code="resource_missing", param="customer", status=400
    )
    assert bill_managed_jobs(period=OCTOBER, now=NOW).rejected == 1
    assert bill_managed_jobs(period=OCTOBER, now=NOW).rejected == 1
    assert stripe.calls == 1
    assert Alert.objects.get().subject == f"job {job.pk}"


def test_the_command_refuses_in_shadow_and_reports_otherwise(stripe, settings, capsys):
    make_job()
    with pytest.raises(CommandError, match="SHADOW is on"):
        call_command("bill_managed_jobs", period="2026-10")
    assert not stripe.items
    settings.ENV = settings.ENV.model_copy(update={"SHADOW": False})
    call_command("bill_managed_jobs", period="2026-10")
    assert (
        capsys.readouterr().out == "2026-10: 1 billed (1 new), 0 waiting, 0 rejected, 0 unknown, 0 skipped\n"
    )
    with pytest.raises(CommandError, match="not a month"):
        call_command("bill_managed_jobs", period="2026-13")
