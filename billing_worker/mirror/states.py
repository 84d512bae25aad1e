"""What mirrored objects can be, and which of two states is the later one."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class LineKind(TextChoices):
    """What an invoice line bills. Set from the catalog's products and from the metadata of our own invoice items."""

    SUB = "sub", "Flat fee"
    ST = "ST", "Impressions ST"
    RM = "RM", "Impressions RM"
    CV = "CV", "Impressions CV"
    SAMPLED = "sampled", "Sampled usage"
    MANAGED = "managed", "Managed service"
    CUSTOM = "custom", "Other"


class InvoiceStatus(TextChoices):
    DRAFT = "draft", "Draft"
    OPEN = "open", "Open"
    UNCOLLECTIBLE = "uncollectible", "Uncollectible"
    PAID = "paid", "Paid"
    VOID = "void", "Void"


#: An invoice only ever moves up: an event that would move it down is late, not news.
INVOICE_RANK: Final[dict[str, int]] = {
    InvoiceStatus.DRAFT: 0,
    InvoiceStatus.OPEN: 1,
    InvoiceStatus.UNCOLLECTIBLE: 2,
    InvoiceStatus.PAID: 3,
    InvoiceStatus.VOID: 3,
}
#: A subscription may go back and forth (`past_due` to `active`) until it ends, and an end is final.
SUBSCRIPTION_ENDS: Final = frozenset({"canceled", "incomplete_expired"})
CREDIT_NOTE_RANK: Final[dict[str, int]] = {"issued": 0, "void": 1}
