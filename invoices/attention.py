"""Documents that wait for a person: which, why, and what to do. List, dashboard and badge agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Exists, F, OuterRef, QuerySet

from invoices.models import InvoiceDocument, InvoiceMail
from invoices.states import DocumentState, MailState

#: It did not arrive, or was never handed over. A complaint is none of these: that mail arrived.
LOST: Final = (MailState.BOUNCED, MailState.FAILED, MailState.REFUSED)
ANY: Final = "any"


@dataclass(frozen=True, slots=True)
class Need:
    """One reason why somebody has to look. `key` is the filter's value."""

    key: str
    title: str
    advice: str
    select: Callable[[], QuerySet[Any]]


def _select_newest(state: DocumentState) -> QuerySet[Any]:
    """Documents in a state that no later revision has taken the place of."""
    return InvoiceDocument.objects.filter(~Exists(_select_later()), state=state).values("pk")


def _select_later() -> QuerySet[InvoiceDocument]:
    return InvoiceDocument.objects.filter(
        invoice=OuterRef("invoice"),
        kind=OuterRef("kind"),
        subject=OuterRef("subject"),
        revision__gt=OuterRef("revision"),
    )


def _select_lost() -> QuerySet[Any]:
    """Documents whose mail did not arrive, unless a later mail told of the same thing."""
    later = InvoiceMail.objects.filter(
        document__invoice=OuterRef("document__invoice"),
        document__kind=OuterRef("document__kind"),
        document__subject=OuterRef("document__subject"),
        pk__gt=OuterRef("pk"),
    )
    lost = InvoiceMail.objects.filter(~Exists(later), state__in=LOST)
    return lost.order_by().annotate(found=F("document")).values("found")


def _select_in_doubt() -> QuerySet[Any]:
    return (
        InvoiceMail.objects.filter(state=MailState.UNKNOWN)
        .order_by()
        .annotate(found=F("document"))
        .values("found")
    )


def select_unmailed() -> QuerySet[Any]:
    """Revisions that took the place of what the customer has, and that nobody has mailed or decided about.

    VOID revisions and revised credit notes are not mailed by themselves. What a person asked for is that person's.
    """
    mails = InvoiceMail.objects.filter(document=OuterRef("pk"))
    return InvoiceDocument.objects.filter(
        ~Exists(mails),
        ~Exists(_select_later()),
        state=DocumentState.STORED,
        revision__gt=1,
        requested_by="",
        no_mail_reason="",
    ).values("pk")


NEEDS: Final = (
    Need(
        "blocked",
        "Blocked",
        "The sums do not come out, or the PDF does not say what Stripe says. Nothing was sent.",
        lambda: _select_newest(DocumentState.BLOCKED),
    ),
    Need(
        "gave_up",
        "Gave up printing",
        "Five attempts failed. Mend the cause, then make a new revision.",
        lambda: _select_newest(DocumentState.FAILED),
    ),
    Need(
        "lost",
        "Mail did not arrive",
        "Bounced, failed or refused: send it to another contact of the account.",
        _select_lost,
    ),
    Need("in_doubt", "Mail in doubt", "Nobody knows whether it went out: look and say.", _select_in_doubt),
    Need(
        "unmailed",
        "Revision not mailed",
        "VOID revisions and revised credit notes are mailed by a person: mail them, or say why not.",
        select_unmailed,
    ),
)


def find_needing() -> dict[str, set[int]]:
    """The documents that wait, by reason: five statements that start from the few rows in such a state."""
    return {
        need.key: {next(iter(row.values())) for row in need.select().distinct()} for need in NEEDS
    }  # fmt: skip


def find_needing_once(request: Any) -> dict[str, set[int]]:
    """The same, looked up once for a page that tells it in several places."""
    found: dict[str, set[int]] | None = getattr(request, "documents_needing", None)
    if found is None:
        found = request.documents_needing = find_needing()
    return found


def filter_needing(documents: QuerySet[Any], key: str) -> QuerySet[Any]:
    """Those of the documents that wait for a person for the reason `key`, or for `any`. Other keys: all of them."""
    needing = find_needing()
    if key == ANY:
        return documents.filter(pk__in=set().union(*needing.values()))
    return documents.filter(pk__in=needing[key]) if key in needing else documents
