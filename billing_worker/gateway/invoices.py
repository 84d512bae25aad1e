"""Invoices and their items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from billing_worker.gateway.parsing import parse_invoice, parse_invoice_item
from billing_worker.gateway.transport import call, iterate, make_path
from billing_worker.gateway.types import Invoice, InvoiceItem

if TYPE_CHECKING:
    from stripe.params import (
        InvoiceCreatePreviewParams,
        InvoiceFinalizeInvoiceParams,
        InvoiceItemCreateParams,
        InvoiceItemListParams,
        InvoiceListParams,
        InvoiceUpdateParams,
    )


def get_invoice(invoice: str) -> Invoice:
    """An invoice with all of its lines, however many pages they take."""
    return _complete(call("get", make_path("invoices", invoice)))


def list_invoices(
    *,
    customer: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Iterator[Invoice]:
    """Invoices created in `[created_from, created_to)`, newest first, each with all of its lines."""
    params: InvoiceListParams = {}
    if customer is not None:
        params["customer"] = customer
    created: dict[str, int] = {}
    if created_from is not None:
        created["gte"] = int(created_from.timestamp())
    if created_to is not None:
        created["lt"] = int(created_to.timestamp())
    if created:
        params["created"] = created  # type: ignore[typeddict-item]
    for payload in iterate(make_path("invoices"), params):
        yield _complete(payload)


def set_auto_advance(invoice: str, enabled: bool) -> Invoice:
    """Let Stripe finalize and collect a draft on its own, or hold it until we do."""
    params: InvoiceUpdateParams = {"auto_advance": enabled}
    return _complete(call("post", make_path("invoices", invoice), params))


def finalize_invoice(
    invoice: str, *, auto_advance: bool | None = None, idempotency_key: str | None = None
) -> Invoice:
    """Turn a draft into an immutable invoice. A second call is refused by Stripe (`GatewayRejected`)."""
    params: InvoiceFinalizeInvoiceParams = {}
    if auto_advance is not None:
        params["auto_advance"] = auto_advance
    return _complete(
        call("post", make_path("invoices", invoice, "finalize"), params, idempotency_key=idempotency_key)
    )


def preview_invoice(*, customer: str, subscription: str | None = None) -> Invoice:
    """The invoice that the customer (or one subscription) would get next. It has no lasting id; usage may lag."""
    params: InvoiceCreatePreviewParams = {"customer": customer}
    if subscription is not None:
        params["subscription"] = subscription
    return _complete(call("post", make_path("invoices", "create_preview"), params))


def create_invoice_item(
    *,
    customer: str,
    amount_minor: int,
    currency: str,
    description: str,
    period_start: datetime,
    period_end: datetime,
    metadata: Mapping[str, str],
    invoice: str | None = None,
    subscription: str | None = None,
    idempotency_key: str,
) -> InvoiceItem:
    """Bill an exact amount on the given draft, or on the customer's (or the subscription's) next invoice."""
    params: InvoiceItemCreateParams = {
        "customer": customer,
        "amount": amount_minor,
        "currency": currency,
        "description": description,
        "period": {"start": int(period_start.timestamp()), "end": int(period_end.timestamp())},
        "metadata": dict(metadata),
    }
    if invoice is not None:
        params["invoice"] = invoice
    if subscription is not None:
        params["subscription"] = subscription
    return parse_invoice_item(
        call("post", make_path("invoiceitems"), params, idempotency_key=idempotency_key)
    )


def list_invoice_items(*, customer: str, created_from: datetime | None = None) -> Iterator[InvoiceItem]:
    """A customer's invoice items, billed ones included, newest first."""
    params: InvoiceItemListParams = {"customer": customer}
    if created_from is not None:
        params["created"] = {"gte": int(created_from.timestamp())}
    for payload in iterate(make_path("invoiceitems"), params):
        yield parse_invoice_item(payload)


def _complete(payload: dict[str, Any]) -> Invoice:
    """Parse an invoice and fetch the lines that its first page left out. A preview's lines come in one page."""
    page = payload.get("lines") or {}
    if not page.get("has_more") or not payload.get("id"):
        return parse_invoice(payload)
    return parse_invoice(payload, lines=list(iterate(make_path("invoices", payload["id"], "lines"))))
