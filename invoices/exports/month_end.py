"""A month's invoices for finance: one row for each, and what they add up to.

An invoice belongs to the month that its period starts in, as everywhere in the console: it is in exactly one export.
Its lines may bill other months (a flat fee is billed in advance): `for_period_minor` is the part for this one, and
`get_service_month` adds up the month as reconciliation does, by the lines' own periods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from django.db.models import F, Q, QuerySet, Sum

from billing_worker.core.periods import Period, to_utc
from billing_worker.mirror.models import (
    StripeCreditNote,
    StripeCreditNoteLine,
    StripeInvoice,
    StripeInvoiceLine,
)
from billing_worker.mirror.states import InvoiceStatus, LineKind
from invoices.models import InvoicePayment
from invoices.selectors import select_ours

FINAL_STATUSES: Final = (
    InvoiceStatus.OPEN,
    InvoiceStatus.PAID,
    InvoiceStatus.UNCOLLECTIBLE,
    InvoiceStatus.VOID,
)
KINDS: Final[tuple[str, ...]] = tuple(LineKind.values)
#: The amounts of a row beside its lines by kind, in the order of the columns.
AMOUNTS: Final[tuple[str, ...]] = (
    *("for_period", "other_periods", "discount", "net", "tax", "tax_in_prices", "total"),
    *("paid", "open", "credited", "unexplained"),
)


_WITHOUT_TAX: Final = Sum(F("amount_minor") - F("inclusive_tax_minor"))


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRow:
    """One invoice. Amounts are minor units; `lines_minor` has every kind, as Stripe's lines say it.

    `tax_minor` is every tax; `tax_in_prices_minor` is the part of it that is inside the lines, the rest is on top.
    """

    stripe_invoice_id: str
    number: str
    account_id: int
    account_name: str
    cohort: str
    status: str
    currency: str
    issued_date: date | None
    due_date: date | None
    paid_date: date | None
    lines_minor: Mapping[str, int]
    for_period_minor: int
    discount_minor: int
    tax_minor: int
    tax_in_prices_minor: int
    total_minor: int
    paid_minor: int
    open_minor: int
    credited_minor: int
    method: str

    @property
    def other_periods_minor(self) -> int:
        """The part of the lines that is for other months."""
        return sum(self.lines_minor.values()) - self.for_period_minor

    @property
    def net_minor(self) -> int:
        """The total without any tax; with `tax_minor` it is the total."""
        return self.total_minor - self.tax_minor

    @property
    def unexplained_minor(self) -> int:
        """What Stripe's total has over lines - discounts + tax on top. Anything but 0 needs a look."""
        on_top = self.tax_minor - self.tax_in_prices_minor
        return self.total_minor - (sum(self.lines_minor.values()) - self.discount_minor + on_top)

    @property
    def days_to_pay(self) -> int | None:
        """Calendar days (UTC) from issue to payment; None while it is not paid."""
        if self.paid_date is None or self.issued_date is None or self.status != InvoiceStatus.PAID:
            return None
        return (self.paid_date - self.issued_date).days


@dataclass(slots=True)
class CurrencyTotals:
    """What the invoices of a currency add up to. Void ones are counted and add nothing."""

    invoices: int = 0
    void: int = 0
    lines_minor: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    amounts_minor: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AMOUNTS, 0))

    def add(self, row: InvoiceRow) -> None:
        if row.status == InvoiceStatus.VOID:
            self.void += 1
            return
        self.invoices += 1
        for kind in KINDS:
            self.lines_minor[kind] += row.lines_minor[kind]
        for name in AMOUNTS:
            self.amounts_minor[name] += getattr(row, f"{name}_minor")


def count_invoices(period: Period) -> int:
    """How many rows the month has."""
    return _select_invoices(period).count()


def iter_rows(period: Period, *, cohorts: Mapping[int, str]) -> Iterator[InvoiceRow]:
    """The month's finalized invoices of ours by currency, account and number. `cohorts` names each account's cohort."""
    lines, for_period = _sum_lines(period)
    credited = _sum_credit_notes(period)
    methods = _find_methods(period)
    invoices = _select_invoices(period).select_related("account").order_by("currency", "account_id", "number")
    for invoice in invoices.iterator(chunk_size=1000):
        account = invoice.account
        assert account is not None, "select_ours() has accounts only"
        yield InvoiceRow(
            stripe_invoice_id=invoice.stripe_invoice_id,
            number=invoice.number,
            account_id=account.pk,
            account_name=account.name,
            cohort=cohorts.get(account.pk, ""),
            status=invoice.status,
            currency=invoice.currency,
            issued_date=to_utc(invoice.finalized_at).date() if invoice.finalized_at else None,
            due_date=to_utc(invoice.due_at).date() if invoice.due_at else None,
            paid_date=to_utc(invoice.paid_at).date() if invoice.paid_at else None,
            lines_minor=lines[invoice.pk],
            for_period_minor=for_period[invoice.pk],
            discount_minor=invoice.total_discount_minor,
            tax_minor=invoice.total_tax_minor,
            tax_in_prices_minor=invoice.inclusive_tax_minor,
            total_minor=invoice.total_minor,
            paid_minor=invoice.amount_paid_minor,
            open_minor=invoice.amount_remaining_minor if invoice.status == InvoiceStatus.OPEN else 0,
            credited_minor=credited.get(invoice.stripe_invoice_id, 0),
            method=_describe_method(invoice, methods.get(invoice.pk)),
        )


def add_up(rows: Iterable[InvoiceRow]) -> dict[str, CurrencyTotals]:
    """Totals by currency, in the order of the currencies' codes."""
    totals: defaultdict[str, CurrencyTotals] = defaultdict(CurrencyTotals)
    for row in rows:
        totals[row.currency].add(row)
    return dict(sorted(totals.items()))


def get_service_month(period: Period) -> dict[str, dict[str, int]]:
    """What was billed for the month by currency and kind, in minor units, whatever invoice it stands on.

    Lines count in the month that their own period starts in; void invoices don't count. Lines of issued credit notes
    are taken off in the month that they give back. Before taxes, those in prices too, and before discounts.
    """
    invoices = select_ours().filter(status__in=FINAL_STATUSES).exclude(status=InvoiceStatus.VOID)
    lines = StripeInvoiceLine.objects.filter(
        invoice__in=invoices,
        period_start__gte=period.start_at,
        period_start__lt=period.end_at,
    )
    sums: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(KINDS, 0))
    for currency, kind, amount in (
        lines.order_by().values_list("currency", "kind").annotate(amount=_WITHOUT_TAX)
    ):
        sums[currency][kind] += amount
    credited = StripeCreditNoteLine.objects.filter(
        credit_note__status="issued",
        credit_note__stripe_invoice_id__in=invoices.values("stripe_invoice_id"),
        period_start__gte=period.start_at,
        period_start__lt=period.end_at,
    )
    for currency, kind, amount in (
        credited.order_by().values_list("currency", "kind").annotate(amount=_WITHOUT_TAX)
    ):
        sums[currency][kind] -= amount
    return dict(sorted(sums.items()))


def _select_invoices(period: Period) -> QuerySet[StripeInvoice]:
    return select_ours().filter(
        status__in=FINAL_STATUSES, period_start__gte=period.start_at, period_start__lt=period.end_at
    )


def _sum_lines(period: Period) -> tuple[defaultdict[int, dict[str, int]], defaultdict[int, int]]:
    """By invoice: its lines by kind, and its lines for the month."""
    by_kind: defaultdict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(KINDS, 0))
    for_period: defaultdict[int, int] = defaultdict(int)
    in_month = Q(period_start__gte=period.start_at, period_start__lt=period.end_at)
    lines = StripeInvoiceLine.objects.filter(
        invoice__status__in=FINAL_STATUSES,
        invoice__period_start__gte=period.start_at,
        invoice__period_start__lt=period.end_at,
    ).order_by()
    rows = lines.values_list("invoice_id", "kind").annotate(
        amount=Sum("amount_minor"), for_month=Sum("amount_minor", filter=in_month)
    )
    for invoice_id, kind, amount, for_month in rows.iterator(chunk_size=5000):
        by_kind[invoice_id][kind] += amount
        for_period[invoice_id] += for_month or 0
    return by_kind, for_period


def _sum_credit_notes(period: Period) -> dict[str, int]:
    notes = StripeCreditNote.objects.filter(
        status="issued", stripe_invoice_id__in=_select_invoices(period).values("stripe_invoice_id")
    )
    return dict(notes.order_by().values_list("stripe_invoice_id").annotate(total=Sum("total_minor")))


def _find_methods(period: Period) -> dict[int, str]:
    """By invoice: how it was paid, as far as its payments were read from Stripe; several payments are all named."""
    methods: defaultdict[int, list[str]] = defaultdict(list)
    for payment in InvoicePayment.objects.filter(invoice__in=_select_invoices(period)).order_by(
        "paid_at", "pk"
    ):
        methods[payment.invoice_id].append(payment.describe_method())
    return {invoice_id: ", ".join(dict.fromkeys(names)) for invoice_id, names in methods.items()}


def _describe_method(invoice: StripeInvoice, paid_by: str | None) -> str:
    """How the invoice was paid, or else is to be paid, as far as Stripe's invoice says it."""
    if paid_by:
        return paid_by
    if invoice.amount_due_minor <= 0:
        return "nothing due"
    return {"charge_automatically": "charged automatically", "send_invoice": "sent for payment"}.get(
        invoice.collection_method, invoice.collection_method
    )
