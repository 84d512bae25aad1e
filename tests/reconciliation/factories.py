"""Stripe's side of a month as the mirror holds it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from billing_worker.accounts.models import Account
from billing_worker.mirror.models import StripeInvoice, StripeInvoiceLine

OCTOBER_FIRST = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER_FIRST = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER_FIRST = datetime(2026, 12, 1, tzinfo=UTC)

_numbers = count(1)


def make_stripe_line(kind: str, amount_minor: int, **values: Any) -> StripeInvoiceLine:
    """An unsaved line for October 2026 at a quantity of one."""
    return StripeInvoiceLine(
        **{
            "kind": kind,
            "amount_minor": amount_minor,
            "quantity": 1,
            "unit_amount_decimal": Decimal(amount_minor),
            "description": kind,
            "period_start": OCTOBER_FIRST,
            "period_end": NOVEMBER_FIRST,
            **values,
        }
    )


def add_stripe_invoice(account: Account, *lines: StripeInvoiceLine, **values: Any) -> StripeInvoice:
    """An open invoice with these lines."""
    number = next(_numbers)
    total = sum(line.amount_minor + line.tax_minor for line in lines)
    invoice = StripeInvoice.objects.create(
        **{
            "stripe_invoice_id": f"in_{number}",
            "account": account,
            "customer": account.stripe_customer_id or f"cus_{account.pk}",
            "number": f"S-{number:04d}",
            "status": "open",
            "currency": account.currency,
            "subtotal_minor": total,
            "total_minor": total,
            "amount_due_minor": total,
            "amount_paid_minor": 0,
            "amount_remaining_minor": total,
            "period_start": OCTOBER_FIRST,
            "period_end": NOVEMBER_FIRST,
            "created_at": NOVEMBER_FIRST,
            "last_event_at": NOVEMBER_FIRST,
            **values,
        }
    )
    for position, line in enumerate(lines):
        line.invoice, line.position = invoice, position
        line.stripe_line_id, line.currency = f"il_{number}_{position}", invoice.currency
        line.save()
    return invoice
