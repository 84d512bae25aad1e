"""Reads about documents, mails and charges."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine, StripeSubscription
from billing_worker.mirror.states import LineKind
from invoices.models import InvoiceDocument, InvoiceMail
from invoices.states import MAIL_ARRIVED, DocumentKind, DocumentState, MailState

#: Invoices looked at in one statement.
_PORTION: Final = 1000


def is_ours(invoice: StripeInvoice) -> bool:
    """Whether we print and mail this invoice: its payer is an account here and it bills something of our catalog.

    A customer of ours can have other invoices at Stripe (the old service's own, or made by hand in Stripe's dashboard):
    those are mirrored and left alone, because somebody else sends them. The same as `select_ours`, without a statement
    where the lines are loaded and say it.
    """
    if invoice.account_id is None:
        return False
    lines = invoice.lines.all()
    if lines:
        return any(line.kind != LineKind.CUSTOM for line in lines)
    subscriptions = StripeSubscription.objects.filter(stripe_subscription_id=invoice.subscription)
    return subscriptions.filter(account__isnull=False).exists()


def select_ours() -> QuerySet[StripeInvoice]:
    """Invoices that are ours (see `is_ours`)."""
    lines = StripeInvoiceLine.objects.filter(invoice=OuterRef("pk"))
    subscriptions = StripeSubscription.objects.filter(
        stripe_subscription_id=OuterRef("subscription"), account__isnull=False
    )
    return StripeInvoice.objects.filter(account__isnull=False).filter(
        Exists(lines.exclude(kind=LineKind.CUSTOM)) | ~Exists(lines) & Exists(subscriptions)
    )


def select_undocumented(statuses: tuple[str, ...]) -> QuerySet[StripeInvoice]:
    """Finalized invoices of ours that have no document, oldest first."""
    documents = InvoiceDocument.objects.filter(invoice=OuterRef("pk"), kind=DocumentKind.INVOICE)
    return select_ours().filter(~Exists(documents), status__in=statuses).order_by("pk")


def list_undocumented(statuses: tuple[str, ...], *, limit: int) -> list[int]:
    """Keys of the first of `select_undocumented`, in portions.

    In one statement MariaDB makes a table of every line there is before it looks at the first invoice. Here the few
    without a document are found by its index, and only their lines are read.
    """
    documents = InvoiceDocument.objects.filter(invoice=OuterRef("pk"), kind=DocumentKind.INVOICE)
    bare = StripeInvoice.objects.filter(~Exists(documents), account__isnull=False, status__in=statuses)
    found: list[int] = []
    last = 0
    while len(found) < limit:
        portion = list(bare.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:_PORTION])
        if not portion:
            break
        last = portion[-1]
        found += select_ours().filter(pk__in=portion).order_by("pk").values_list("pk", flat=True)
    return found[:limit]


def count_undelivered(*, account_ids: Collection[int]) -> int:
    """Finalized invoices of these payers without a stored document whose mail has left us and did not bounce.

    A bounced invoice counts until it was sent again and that mail left us without a bounce of its own.
    """
    delivered = InvoiceMail.objects.filter(
        document__invoice=OuterRef("pk"),
        document__kind=DocumentKind.INVOICE,
        document__state=DocumentState.STORED,
        state__in=MAIL_ARRIVED,
    )
    finalized = select_ours().filter(account__in=account_ids, status__in=("open", "paid", "uncollectible"))
    return finalized.filter(~Exists(delivered)).count()


def annotate_mail_state(documents: QuerySet[InvoiceDocument]) -> QuerySet[Any]:
    """`mail_state` of each document: that of its newest mail, None without one."""
    newest = InvoiceMail.objects.filter(document=OuterRef("pk")).order_by("-sequence")
    return documents.annotate(mail_state=Subquery(newest.values("state")[:1]))


def select_due_documents(now: datetime) -> QuerySet[InvoiceDocument]:
    return InvoiceDocument.objects.filter(_is_due(now), state=DocumentState.PENDING).order_by("pk")


def select_due_mails(now: datetime) -> QuerySet[InvoiceMail]:
    return InvoiceMail.objects.filter(_is_due(now), state=MailState.QUEUED).order_by("pk")


def list_due_mail_ids(*, document_id: int, now: datetime) -> list[int]:
    """The mails of one document that wait to be sent."""
    return list(select_due_mails(now).filter(document=document_id).values_list("pk", flat=True))


def _is_due(now: datetime) -> Q:
    return Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
