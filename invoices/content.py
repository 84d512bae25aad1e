"""What a document says: a frozen copy of a finalized Stripe invoice, in our words and as JSON.

It is taken once, when the document is made, and everything that follows (the check, the PDF, the mail) reads only this.
Amounts are `int` minor units of `currency`; times are aware UTC; texts are cleaned of control and direction characters.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from billing_worker.core.rating import LineKind, UsageType

DocumentKind = Literal["invoice", "credit_note", "receipt"]
PageSize = Literal["A4", "Letter"]
#: `facturx`: a PDF/A-3 with the invoice inside as XML (EN 16931).
InvoiceFormat = Literal["pdf", "facturx"]

#: Longest text that a document prints in one place; customers' names and descriptions are cut there.
MAX_TEXT: Final = 300

# Controls, zero-width characters and everything that turns the reading direction: none of it belongs on paper.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]+"
)


def clean_text(text: str | None, *, limit: int = MAX_TEXT) -> str:
    """Text that is safe to print: composed, on one line, without controls, at most `limit` characters."""
    if not text:
        return ""
    cleaned = " ".join(_FORBIDDEN.sub(" ", unicodedata.normalize("NFC", text[: limit * 4])).split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1].rstrip() + "…"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PostalAddress(_Frozen):
    """An address in its parts, as a machine reads it; the country is its party's."""

    line1: str = ""
    line2: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""


class Party(_Frozen):
    """A seller or a buyer. `address` and `tax_ids` are what is printed, the rest is for machines.

    `vat_id` begins with its country (`DE123456789`); `tax_number` is a number of the tax office, `legal_id` one of a
    register.
    """

    name: str
    address: tuple[str, ...] = ()
    country: str = ""
    email: str = ""
    tax_ids: tuple[str, ...] = ()
    postal: PostalAddress | None = None
    vat_id: str = ""
    tax_number: str = ""
    legal_id: str = ""


class BankAccount(_Frozen):
    """Where a transfer goes to: an `iban`, or a `number` where there are none."""

    holder: str = ""
    iban: str = ""
    number: str = ""
    bic: str = ""


class LineTax(_Frozen):
    """One tax on one line. `percentage` is None where Stripe does not tell it; `reason` is Stripe's word.

    `inclusive`: it is inside the line's amount. `rate` is Stripe's id of its rate. Both only where a tax is in a price.
    """

    amount_minor: int
    taxable_minor: int | None
    percentage: Decimal | None
    reason: str
    inclusive: bool = False
    rate: str = ""


class ContentLine(_Frozen):
    """One line of Stripe's invoice. The period is half-open.

    `amount_minor` is before discounts and before taxes on top; a tax in the price is inside it. `tax_minor` is both.
    """

    id: str
    kind: LineKind
    account_id: int | None
    account_name: str
    description: str
    quantity: int | None
    unit_amount_decimal: Decimal | None
    amount_minor: int
    discount_minor: int
    tax_minor: int
    period_start: datetime
    period_end: datetime
    is_proration: bool
    taxes: tuple[LineTax, ...] = ()

    @property
    def inclusive_tax_minor(self) -> int:
        """The part of `tax_minor` that is inside `amount_minor`."""
        return sum(tax.amount_minor for tax in self.taxes if tax.inclusive)

    @property
    def is_inclusive(self) -> bool:
        """Whether a tax is meant to be inside its amount, be it too small for a cent."""
        return any(tax.inclusive for tax in self.taxes)


class Payment(_Frozen):
    """What a receipt is for: one payment towards one invoice.

    `number` of the document is the receipt's own. `paid_before_minor` is what earlier payments of the invoice came to.
    `invoice_tax_minor` is the tax in the invoice's total, told where its prices include tax.
    """

    stripe_payment_id: str
    invoice_number: str
    invoice_issued_at: datetime
    invoice_total_minor: int
    amount_minor: int
    paid_before_minor: int
    paid_at: datetime
    #: Stripe's kind of method (`card`, `sepa_debit`), and the card's brand; empty where it does not tell them.
    method: str = ""
    brand: str = ""
    last4: str = ""
    invoice_tax_minor: int = 0


class UsageSeries(_Frozen):
    """What was used of one type on each day (UTC), in units."""

    kind: UsageType
    units: tuple[int, ...]


class DailyUsage(_Frozen):
    """The billed usage by day from `start_date` on: each series adds up to the lines of its kind."""

    start_date: date
    series: tuple[UsageSeries, ...]


class Correction(_Frozen):
    """What a credit note takes back of which invoice, and how the amount is given: the four parts are its total.

    `deducted_minor` reduced what was still due; the others give back what was paid. `reason` is Stripe's code.
    """

    stripe_credit_note_id: str
    invoice_number: str
    invoice_issued_at: datetime
    reason: str = ""
    memo: str = ""
    deducted_minor: int = 0
    refunded_minor: int = 0
    balance_minor: int = 0
    out_of_band_minor: int = 0


class InvoiceContent(_Frozen):
    """A whole document. `amount_due_minor` is what Stripe asked for, `amount_remaining_minor` what is still open.

    `total_tax_minor` is every tax, `inclusive_tax_minor` the part of it that is inside the prices of the lines and so
    in `subtotal_minor`; with any, `total_excluding_tax_minor` is Stripe's own total without taxes.

    What has a default came later: documents made before have none of it.
    """

    document_kind: DocumentKind
    stripe_invoice_id: str
    number: str
    status: str
    currency: str
    account_id: int
    seller: Party
    buyer: Party
    issued_at: datetime
    due_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    period_start: datetime
    period_end: datetime
    collection_method: str
    subtotal_minor: int
    total_discount_minor: int
    total_tax_minor: int
    total_minor: int
    starting_balance_minor: int
    amount_due_minor: int
    amount_paid_minor: int
    amount_remaining_minor: int
    hosted_invoice_url: str
    locale: str
    page_size: PageSize
    lines: tuple[ContentLine, ...]
    #: `none`, `exempt`, or `reverse`: the customer owes the tax.
    tax_exempt: str = "none"
    bank: BankAccount | None = None
    invoice_format: InvoiceFormat = "pdf"
    #: What credit notes took off what an invoice asks for; it is in `amount_due_minor` already.
    credited_minor: int = 0
    payment: Payment | None = None
    correction: Correction | None = None
    daily_usage: DailyUsage | None = None
    inclusive_tax_minor: int = 0
    total_excluding_tax_minor: int | None = None

    @property
    def has_inclusive_taxes(self) -> bool:
        return any(line.is_inclusive for line in self.lines)

    @property
    def subject(self) -> str:
        """What it is about, as Stripe names it: a receipt's payment, a credit note. Empty: the invoice itself."""
        if self.correction:
            return self.correction.stripe_credit_note_id
        return self.payment.stripe_payment_id if self.payment else ""


#: Left out where a document has none of it: what was printed before these came keeps its hash.
_LEFT_OUT: Final = (
    *("credited_minor", "payment", "correction", "daily_usage"),
    *("inclusive_tax_minor", "total_excluding_tax_minor"),
)
_LEFT_OUT_OF_TAXES: Final = ("inclusive", "rate")
_LEFT_OUT_OF_PAYMENT: Final = ("invoice_tax_minor",)


def dump_content(content: InvoiceContent) -> dict[str, object]:
    """JSON-ready; decimals as strings, so that no float ever carries a rate."""
    data = content.model_dump(mode="json")
    for line in data["lines"]:
        line["taxes"] = [_drop(tax, _LEFT_OUT_OF_TAXES) for tax in line["taxes"]]
    if data["payment"]:
        data["payment"] = _drop(data["payment"], _LEFT_OUT_OF_PAYMENT)
    return _drop(data, _LEFT_OUT)


def _drop(data: dict[str, object], names: Sequence[str]) -> dict[str, object]:
    """Without those of these fields that say nothing."""
    return {name: value for name, value in data.items() if value or name not in names}


def load_content(data: dict[str, object]) -> InvoiceContent:
    return InvoiceContent.model_validate(data)


def compute_content_hash(content: InvoiceContent) -> str:
    """SHA-256 (hex) of the canonical JSON: the same content has the same hash on every machine."""
    canonical = json.dumps(dump_content(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
