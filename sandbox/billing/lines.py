"""Invoice lines as Stripe shows them. Nothing here touches the store: lines get their ids when they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sandbox.billing.money import decimal_text, display_amount
from sandbox.billing.tiers import Charge, rate
from sandbox.engine.errors import JsonObject

Period = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LineSource:
    """What a subscription's line is about."""

    subscription: str
    item: str | None
    price: Mapping[str, Any]
    product_name: str
    metadata: Mapping[str, str]


def _line(
    *,
    amount: int,
    currency: str,
    description: str | None,
    period: Period,
    quantity: int | None,
    parent: JsonObject,
) -> JsonObject:
    return {
        "id": "",
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": quantity,
        "quantity_decimal": None if quantity is None else str(quantity),
        "subscription": None,
        "subtotal": amount,
        "taxes": [],
    }


def pricing_of(price: Mapping[str, Any], unit_amount: Decimal | None) -> JsonObject:
    """The `pricing` hash of a line or an invoice item."""
    return {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": None if unit_amount is None else decimal_text(unit_amount),
    }


def subscription_line(
    source: LineSource,
    *,
    amount: int,
    quantity: int | None,
    unit_amount: Decimal | None,
    description: str,
    period: Period,
    proration: bool = False,
) -> JsonObject:
    """A line that a subscription item gives rise to."""
    parent = {
        "type": "subscription_item_details",
        "subscription_item_details": {
            "invoice_item": None,
            "proration": proration,
            "proration_details": {"credited_items": None},
            "subscription": source.subscription,
            "subscription_item": source.item,
        },
        "invoice_item_details": None,
    }
    line = _line(
        amount=amount,
        currency=source.price["currency"],
        description=description,
        period=period,
        quantity=quantity,
        parent=parent,
    )
    line["pricing"] = pricing_of(source.price, unit_amount)
    line["subscription"] = source.subscription
    line["metadata"] = dict(source.metadata)
    return line


def period_lines(source: LineSource, quantity: int, period: Period) -> list[JsonObject]:
    """The lines of a full period: one for each tier that the quantity reaches, a single one without tiers."""
    return [
        subscription_line(
            source,
            amount=charge.amount_minor,
            quantity=charge.quantity,
            unit_amount=charge.unit_amount,
            description=_describe(source, charge),
            period=period,
        )
        for charge in rate(source.price, quantity)
    ]


def free_line(source: LineSource, quantity: int, period: Period, description: str) -> JsonObject:
    """A line that shows a quantity and costs nothing: a trial, a first period that isn't prorated, no usage yet."""
    return subscription_line(
        source, amount=0, quantity=quantity, unit_amount=Decimal(0), description=description, period=period
    )


def _describe(source: LineSource, charge: Charge) -> str:
    price = source.price
    amount = display_amount(charge.unit_amount, price["currency"])
    rhythm = _rhythm(price)
    if charge.tier is None:
        return f"{charge.quantity} × {source.product_name} (at {amount} / {rhythm})"
    if charge.flat:
        return f"{source.product_name} (Tier {charge.tier} at {amount} / {rhythm})"
    return f"{charge.quantity} × {source.product_name} (Tier {charge.tier} at {amount} / {rhythm})"


def _rhythm(price: Mapping[str, Any]) -> str:
    recurring = price["recurring"]
    count = recurring.get("interval_count") or 1
    return str(recurring["interval"]) if count == 1 else f"{count} {recurring['interval']}s"


def invoice_item_line(item: Mapping[str, Any]) -> JsonObject:
    """The line of an invoice item that was pulled into an invoice; it keeps the item's period and metadata."""
    subscription = ((item.get("parent") or {}).get("subscription_details") or {}).get("subscription")
    parent = {
        "type": "invoice_item_details",
        "invoice_item_details": {
            "invoice_item": item["id"],
            "proration": item["proration"],
            "proration_details": {"credited_items": None},
            "subscription": subscription,
        },
        "subscription_item_details": None,
    }
    line = _line(
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        period=(item["period"]["start"], item["period"]["end"]),
        quantity=item["quantity"],
        parent=parent,
    )
    line["quantity_decimal"] = item.get("quantity_decimal") or line["quantity_decimal"]
    line["pricing"] = item.get("pricing")
    line["subscription"] = subscription
    line["discountable"] = item["discountable"]
    line["metadata"] = dict(item.get("metadata") or {})
    line["_tax_rates"] = list(item.get("_tax_rates") or [])
    return line


def invoice_item_of(line: Mapping[str, Any]) -> str | None:
    """The invoice item behind a line, if there is one."""
    details = (line.get("parent") or {}).get("invoice_item_details")
    return details["invoice_item"] if details else None


def subscription_item_of(line: Mapping[str, Any]) -> str | None:
    """The subscription item behind a line, if there is one."""
    details = (line.get("parent") or {}).get("subscription_item_details")
    return details["subscription_item"] if details else None
