"""A cohort after its dual-run month, October 2026, with both ledgers and everything that the gate looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User

from billing_worker.accounts.models import Account
from billing_worker.core.money import get_exponent
from billing_worker.mirror.models import StripeInvoice
from cohorts.models import Cohort, CohortMember
from cohorts.services import reconcile_cohort
from cohorts.states import CohortState, ProvisioningState
from invoices.models import InvoiceDocument, InvoiceMail
from tests.factories import AccountPlanFactory, BillingLeaseFactory, CustomerAccountFactory
from tests.legacy.tables import add_invoice, add_line
from tests.reconciliation.factories import add_stripe_invoice, make_stripe_line

CREATED = datetime(2026, 9, 21, 8, 30, tzinfo=UTC)
READY = datetime(2026, 9, 28, 9, 12, tzinfo=UTC)
STARTED = datetime(2026, 9, 29, 14, 5, tzinfo=UTC)
NOW = datetime(2026, 11, 1, 6, 0, tzinfo=UTC)


def make_person(username: str, role: str, **values: Any) -> User:
    """A person with the password `a-long-enough-word` in the group of this name."""
    user = User.objects.create_user(username, password="a-long-enough-word", is_staff=True, **values)
    user.groups.add(Group.objects.get(name=role))
    return user


@dataclass(frozen=True)
class Month:
    """What one account was billed for October on both sides, in minor units of its currency."""

    name: str
    legacy_minor: int
    stripe_minor: int
    currency: str = "usd"


def add_member(cohort: Cohort, month: Month, *, number: int) -> Account:
    """A provisioned member with its lease, both sides' invoices, and the mailed PDF of Stripe's."""
    account = CustomerAccountFactory.create(name=month.name, currency=month.currency)
    AccountPlanFactory.create(account=account, unit_amount_decimal=Decimal(month.stripe_minor))
    CohortMember.objects.create(
        cohort=cohort,
        account=account,
        provisioning=ProvisioningState.PROVISIONED,
        provisioned_at=READY,
        stripe_subscription_id=f"sub_{account.pk}",
    )
    BillingLeaseFactory.create(account=account)
    total = str(Decimal(month.legacy_minor).scaleb(-get_exponent(month.currency)).quantize(Decimal("0.01")))
    add_invoice(9000 + number, account.pk, total, currency=month.currency.upper(), status="draft")
    add_line(9000 + number, 9000 + number, "sub", total)
    deliver(add_stripe_invoice(account, make_stripe_line("sub", month.stripe_minor), finalized_at=NOW))
    return account


def deliver(invoice: StripeInvoice) -> InvoiceMail:
    """The invoice's PDF, stored and mailed."""
    assert invoice.account is not None
    document = InvoiceDocument.objects.create(
        invoice=invoice,
        account=invoice.account,
        revision=1,
        reason="invoice.finalized",
        number=invoice.number,
        period="2026-10",
        currency=invoice.currency,
        total_minor=invoice.total_minor,
        locale="en_US",
        content={},
        content_hash=f"{invoice.pk:064d}",
        template_version="1",
        state="stored",
        created_at=NOW,
        stored_at=NOW,
        storage_name=f"{invoice.account_id}/{invoice.pk}.pdf",
        pdf_sha256="0" * 64,
    )
    return InvoiceMail.objects.create(
        document=document, sequence=0, message_id=f"{invoice.pk}@example.com", subject="Your invoice", state="sent",
        queued_at=NOW, sent_at=NOW,
    )  # fmt: skip


def make_cohort(*months: Month, name: str = "cohort-1", reconciled: bool = True, **values: Any) -> Cohort:
    """A cohort whose dual-run month is over; by default two accounts without drift, reconciled."""
    cohort = Cohort.objects.create(
        **{
            "name": name,
            "description": "Flat subscription only",
            "state": CohortState.DUAL_RUN,
            "dual_run_period": "2026-10",
            "created_at": CREATED,
            "ready_at": READY,
            "dual_run_at": STARTED,
            **values,
        }
    )
    start = CohortMember.objects.count()
    months = months or (Month("Quarry Lane Bakery", 49900, 49900), Month("Tern & Co", 14900, 14900))
    for number, month in enumerate(months, start=start + 1):
        add_member(cohort, month, number=number)
    if reconciled:
        reconcile_cohort(cohort_id=cohort.pk, actor="test", now=NOW)
    return cohort
