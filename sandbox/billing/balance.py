"""The customer's balance: what it has in credit (negative) or owes (positive), in minor units."""

from __future__ import annotations

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject
from sandbox.engine.routing import on_load
from sandbox.engine.store import Store

KIND = "customer_balance_transaction"


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "customer")


def post_to_balance(
    ctx: Context,
    customer_id: str,
    amount_minor: int,
    currency: str,
    *,
    type: str,
    at: int,
    invoice: str | None = None,
    credit_note: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
) -> JsonObject:
    """Add `amount_minor` (negative gives credit) to the balance and return the transaction that records it."""
    customer = ctx.require("customer", customer_id, "customer")
    before = customer.get("balance") or 0
    transaction = {
        "id": ctx.store.new_id("cbtxn"),
        "object": KIND,
        "amount": amount_minor,
        "checkout_session": None,
        "created": at,
        "credit_note": credit_note,
        "currency": currency,
        "customer": customer_id,
        "description": description,
        "ending_balance": before + amount_minor,
        "invoice": invoice,
        "livemode": False,
        "metadata": metadata or {},
        "type": type,
    }
    ctx.store.put(KIND, transaction)
    customer = {**customer, "balance": before + amount_minor}
    previous: JsonObject = {"balance": before}
    if not customer.get("currency"):
        previous["currency"] = customer.get("currency")
        customer["currency"] = currency
    ctx.store.put("customer", customer)
    if amount_minor:
        ctx.emit("customer.updated", customer, previous)
    return transaction


def claim_currency(ctx: Context, customer: JsonObject, currency: str) -> JsonObject:
    """Set the customer's currency by its first invoice, subscription or invoice item. Returns it as it is now."""
    if customer.get("currency"):
        return customer
    customer = {**customer, "currency": currency}
    ctx.store.put("customer", customer)
    return customer
