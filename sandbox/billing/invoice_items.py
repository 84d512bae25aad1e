"""Invoice items: amounts that wait for a customer's next invoice, or belong to one already."""

from __future__ import annotations

from decimal import Decimal

from sandbox.billing.lines import Period, pricing_of
from sandbox.billing.money import decimal_text, round_half_up
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject


def new_invoice_item(
    ctx: Context,
    customer: JsonObject,
    *,
    amount: int,
    currency: str,
    description: str | None,
    period: Period,
    at: int,
    quantity: Decimal = Decimal(1),
    price: JsonObject | None = None,
    unit_amount: Decimal | None = None,
    subscription: str | None = None,
    subscription_item: str | None = None,
    proration: bool = False,
) -> JsonObject:
    """An invoice item, not yet stored and on no invoice; `amount` in minor units, may be negative."""
    parent = None
    if subscription is not None:
        details = {"subscription": subscription, "subscription_item": subscription_item}
        parent = {"type": "subscription_details", "subscription_details": details}
    return {
        "id": ctx.store.new_id("ii"),
        "object": "invoiceitem",
        "_tax_rates": [],
        "amount": amount,
        "currency": currency,
        "customer": customer["id"],
        "date": at,
        "description": description,
        "discountable": not proration,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "net_amount": amount,
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pricing": pricing_of(price, unit_amount) if price else None,
        "proration": proration,
        "proration_details": {"credited_items": None, "discount_amounts": []} if proration else None,
        "quantity": round_half_up(quantity),
        "quantity_decimal": decimal_text(quantity),
        "tax_rates": [],
        "test_clock": customer.get("test_clock"),
    }


def priced_amount(unit_amount: Decimal, quantity: Decimal) -> int:
    """What a quantity at a unit price comes to in minor units, rounded half up once."""
    return round_half_up(unit_amount * quantity)
