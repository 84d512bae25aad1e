"""Charges in doubt are settled by Stripe's list, refused ones by people; drafts take what belongs on them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from billing_worker import gateway
from billing_worker.accounts.models import AuditEntry
from billing_worker.alerts.models import Alert
from billing_worker.core.errors import InvalidInput
from invoices.models import ManagedCharge
from invoices.services.charge_decisions import give_up_charges, resolve_charges, retry_charges
from invoices.services.managed import bill_managed_jobs, list_open_periods
from tests.factories import CustomerAccountFactory, ManagedJobFactory
from tests.invoices.factories import DECEMBER, NOVEMBER, NOW, StripeInvoiceFactory
from tests.invoices.test_managed import OCTOBER as PERIOD
from tests.invoices.test_managed import FakeStripe, make_job

pytestmark = pytest.mark.django_db
REFUSED = gateway.GatewayRejected(
    "no such customer", stripe_code="resource_missing", param="customer", status=400
)
FINALIZED = gateway.GatewayRejected("not a draft", stripe_code="invoice_not_editable", param=None, status=400)
LOST = gateway.GatewayUnavailable("timed out", outcome_unknown=True)


@pytest.fixture
def stripe(monkeypatch) -> FakeStripe:
    fake = FakeStripe()
    monkeypatch.setattr("billing_worker.gateway.create_invoice_item", fake.create_invoice_item)

    def list_invoice_items(*, customer, created_from=None):
        for key, params in fake.items.items():
            if params["customer"] == customer:
                yield gateway.InvoiceItem(
                    id=f"ii_{key}", description="", invoice=None,
                    **{name: value for name, value in params.items() if name not in ("description", "invoice")},
                )  # fmt: skip

    monkeypatch.setattr("billing_worker.gateway.list_invoice_items", list_invoice_items)
    return fake


def bill(now=NOW):
    return bill_managed_jobs(period=PERIOD, now=now)


@pytest.mark.parametrize("has_effect", [True, False])
def test_a_doubt_is_settled_by_what_stripe_lists(stripe, has_effect):
    job = make_job()
    ManagedJobFactory.create(account=job.account, title="Another one of the same customer")
    setattr(stripe, "fail_after" if has_effect else "fail_before", LOST)
    bill()
    stripe.fail_after = stripe.fail_before = None
    later = NOW + timedelta(hours=24)
    assert bill(later).unknown == 2

    assert resolve_charges(now=later) == 2
    charge = ManagedCharge.objects.get(job=job)
    if has_effect:
        assert (charge.state, charge.stripe_invoice_item_id) == ("billed", f"ii_managed-job-{job.pk}")
    else:
        assert (charge.state, charge.first_sent_at) == ("pending", None)
        assert bill(later).billed == 2
    assert len(stripe.items) == 2
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_doubt_stays_while_stripe_does_not_answer(stripe, monkeypatch):
    make_job()
    stripe.fail_after = LOST
    bill()
    bill(NOW + timedelta(hours=24))

    def fail(**_):
        raise gateway.GatewayUnavailable("down", outcome_unknown=False)

    monkeypatch.setattr("billing_worker.gateway.list_invoice_items", fail)
    assert resolve_charges(now=NOW + timedelta(hours=24)) == 0
    assert ManagedCharge.objects.get().state == "unknown"


def test_a_refused_charge_is_tried_again_under_another_key_once_the_cause_is_mended(stripe):
    job = make_job()
    stripe.fail_before = REFUSED
    bill()
    stripe.fail_before = None
    (charge,) = ManagedCharge.objects.all()
    with pytest.raises(InvalidInput, match="say why"):
        retry_charges(ids=[charge.pk], reason=" ", actor="finance", now=NOW)
    assert retry_charges(ids=[charge.pk], reason="customer restored", actor="finance", now=NOW) == 1
    assert bill().billed == 1
    assert list(stripe.items) == [f"managed-job-{job.pk}-r1"]
    entry = AuditEntry.objects.get(action="invoices.charge_retried")
    assert (entry.actor, entry.reason, entry.before["state"]) == ("finance", "customer restored", "rejected")
    assert not Alert.objects.filter(resolved_at=None).exists()
    assert retry_charges(ids=[charge.pk], reason="again", actor="finance", now=NOW) == 0, "billed"


def test_a_charge_that_was_given_up_is_not_sent_and_can_be_taken_up_again(stripe):
    make_job()
    stripe.fail_before = REFUSED
    bill()
    stripe.fail_before = None
    (charge,) = ManagedCharge.objects.all()
    assert give_up_charges(ids=[charge.pk], reason="waived", actor="finance", now=NOW) == 1
    report = bill()
    assert (report.given_up, report.waiting, report.rejected) == (1, 0, 0)
    assert not stripe.items
    assert retry_charges(ids=[charge.pk], reason="not waived", actor="finance", now=NOW) == 1
    assert bill().billed == 1


def test_it_goes_on_the_open_draft_of_its_month_and_on_no_other(stripe):
    account = CustomerAccountFactory.create()
    draft = StripeInvoiceFactory.create(account=account, status="draft", number="")
    StripeInvoiceFactory.create(account=account, status="draft", period_start=NOVEMBER, period_end=DECEMBER)
    StripeInvoiceFactory.create(account=account, status="open")
    StripeInvoiceFactory.create(account=account, status="draft", billing_reason="manual")
    StripeInvoiceFactory.create(account=account, status="draft", currency="eur")
    StripeInvoiceFactory.create(account=CustomerAccountFactory.create(), status="draft")
    job = make_job(account=account)
    assert bill().billed == 1
    (key,) = stripe.items
    assert key == f"managed-job-{job.pk}-{draft.stripe_invoice_id}"
    assert stripe.items[key]["invoice"] == draft.stripe_invoice_id
    assert stripe.items[key]["period_start"] == job.completed_at


def test_a_draft_that_was_finalized_meanwhile_leaves_it_to_the_next_invoice(stripe):
    job = make_job()
    StripeInvoiceFactory.create(account=job.account, status="draft")
    calls = []
    create = stripe.create_invoice_item

    def refuse_drafts(**params):
        calls.append(params["invoice"])
        if params["invoice"]:
            raise FINALIZED
        return create(**params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("billing_worker.gateway.create_invoice_item", refuse_drafts)
        assert bill().billed == 1
    assert [bool(invoice) for invoice in calls] == [True, False]
    assert list(stripe.items) == [f"managed-job-{job.pk}"]
    assert not Alert.objects.exists()


def test_an_answer_that_got_lost_is_asked_for_again_on_the_same_draft(stripe):
    """Under one key all requests are the same, even if the draft is finalized between them."""
    job = make_job()
    draft = StripeInvoiceFactory.create(account=job.account, status="draft")
    stripe.fail_after = LOST
    bill()
    stripe.fail_after = None
    draft.status = "open"
    draft.save()
    assert bill(NOW + timedelta(minutes=6)).billed == 1
    assert list(stripe.items) == [f"managed-job-{job.pk}-{draft.stripe_invoice_id}"]


def test_the_schedule_bills_this_month_the_two_before_it_and_what_still_waits(stripe):
    stripe.fail_before = gateway.GatewayRateLimited("slow down")
    make_job()
    bill()
    ManagedCharge.objects.update(period="2025-02")
    assert [str(period) for period in list_open_periods(now=NOW)] == [
        "2025-02",
        "2026-09",
        "2026-10",
        "2026-11",
    ]
