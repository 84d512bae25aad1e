"""Invoice payments: what was collected or tried towards an invoice."""

from __future__ import annotations

from sandbox.billing.collection import settle_by_intent
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import operation
from sandbox.engine.shapes import list_page
from sandbox.resources.fields import filter_created, filter_equal
from sandbox.resources.payment_intents import CONFIRMED_HOOKS

KIND = "invoice_payment"


@operation("GET", "/v1/invoice_payments/{invoice_payment}", params="InvoicePaymentRetrieveParams")
def retrieve_invoice_payment(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["invoice_payment"])


@operation("GET", "/v1/invoice_payments", params="InvoicePaymentListParams")
def list_invoice_payments(ctx: Context) -> JsonObject:
    """List payments of an `invoice` or those made by one `payment[payment_intent]`."""
    params = ctx.params
    rows = ctx.store.find(KIND, "invoice", params["invoice"]) if "invoice" in params else ctx.store.all(KIND)
    rows = filter_equal(filter_created(rows, params.get("created")), params, "status")
    intent = (params.get("payment") or {}).get("payment_intent")
    if intent:
        rows = [row for row in rows if row["payment"].get("payment_intent") == intent]
    return list_page(ctx, rows, "/v1/invoice_payments")


CONFIRMED_HOOKS.append(settle_by_intent)
