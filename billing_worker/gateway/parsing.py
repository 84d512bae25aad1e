"""Stripe's JSON to our dataclasses. The same functions read API answers and webhook payloads.

Where Stripe keeps a thing moved between API versions; these read the pinned one (`parent`, `pricing`, item periods).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from billing_worker.gateway.types import (
    Address,
    CreditNote,
    CreditNoteLine,
    Customer,
    CustomerTaxId,
    Invoice,
    InvoiceItem,
    InvoiceLine,
    LineTax,
    Meter,
    MeterEventSummary,
    Price,
    PriceTier,
    Product,
    Subscription,
    SubscriptionItem,
    TaxId,
    TestClock,
    WebhookEndpoint,
)

Payload = Mapping[str, Any]


def parse_instant(epoch: int | None) -> datetime | None:
    """Unix seconds to an aware UTC datetime; None stays None."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def _moment(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def get_id(reference: str | Payload | None) -> str | None:
    """The id of a reference, expanded or not."""
    if reference is None or isinstance(reference, str):
        return reference or None
    return str(reference["id"])


def _text(payload: Payload, name: str) -> str:
    return payload.get(name) or ""


def _metadata(payload: Payload) -> dict[str, str]:
    return dict(payload.get("metadata") or {})


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _sum_amounts(entries: Iterable[Payload] | None) -> int:
    return sum(entry["amount"] for entry in entries or ())


def _sum_inclusive(taxes: Iterable[Payload] | None) -> int:
    return _sum_amounts(tax for tax in taxes or () if _is_inclusive(tax))


def _is_inclusive(tax: Payload) -> bool:
    """Whether a tax is inside the amounts that it is on. https://docs.stripe.com/api/invoice-line-item/object"""
    return tax.get("tax_behavior") == "inclusive"


def parse_address(payload: Payload | None) -> Address | None:
    if not payload:
        return None
    names = ("line1", "line2", "city", "state", "postal_code", "country")
    return Address(**{name: _text(payload, name) for name in names})


def parse_tax_id(payload: Payload) -> CustomerTaxId:
    return CustomerTaxId(
        id=payload["id"],
        type=payload["type"],
        value=payload["value"],
        country=_text(payload, "country"),
        status=_text(payload.get("verification") or {}, "status") or "unavailable",
    )


def parse_customer(payload: Payload, *, tax_ids: Iterable[Payload] = ()) -> Customer:
    """A customer, also a deleted one, of which Stripe only sends the id. `tax_ids` are newest first, as in lists."""
    settings = payload.get("invoice_settings") or {}
    return Customer(
        id=payload["id"],
        name=_text(payload, "name"),
        email=_text(payload, "email"),
        address=parse_address(payload.get("address")),
        balance_minor=payload.get("balance") or 0,
        default_payment_method=get_id(settings.get("default_payment_method")),
        preferred_locales=tuple(payload.get("preferred_locales") or ()),
        tax_exempt=_text(payload, "tax_exempt") or "none",
        tax_ids=tuple(reversed([parse_tax_id(tax_id) for tax_id in tax_ids])),
        test_clock=get_id(payload.get("test_clock")),
        is_deleted=bool(payload.get("deleted")),
        created_at=parse_instant(payload.get("created")),
        metadata=_metadata(payload),
    )


def parse_meter(payload: Payload) -> Meter:
    return Meter(
        id=payload["id"],
        event_name=payload["event_name"],
        display_name=payload["display_name"],
        status=payload["status"],
    )


def parse_product(payload: Payload) -> Product:
    return Product(
        id=payload["id"],
        name=_text(payload, "name"),
        is_active=bool(payload.get("active")),
        metadata=_metadata(payload),
    )


def _parse_tier(payload: Payload) -> PriceTier:
    return PriceTier(
        up_to=payload.get("up_to"),
        unit_amount_decimal=_decimal(payload.get("unit_amount_decimal")) or Decimal(0),
        flat_amount_decimal=_decimal(payload.get("flat_amount_decimal")),
    )


def parse_price(payload: Payload) -> Price:
    recurring = payload.get("recurring") or {}
    return Price(
        id=payload["id"],
        product=get_id(payload["product"]) or "",
        currency=payload["currency"],
        lookup_key=payload.get("lookup_key"),
        nickname=_text(payload, "nickname"),
        is_active=bool(payload.get("active")),
        billing_scheme=payload["billing_scheme"],
        unit_amount_decimal=_decimal(payload.get("unit_amount_decimal")),
        tiers_mode=payload.get("tiers_mode"),
        tiers=tuple(_parse_tier(tier) for tier in payload.get("tiers") or ()),
        usage_type=recurring.get("usage_type"),
        meter=recurring.get("meter"),
        metadata=_metadata(payload),
    )


def _parse_subscription_item(payload: Payload) -> SubscriptionItem:
    price = payload["price"]
    return SubscriptionItem(
        id=payload["id"],
        price=get_id(price) or "",
        product=None if isinstance(price, str) else get_id(price.get("product")),
        quantity=payload.get("quantity"),
        period_start=parse_instant(payload.get("current_period_start")),
        period_end=parse_instant(payload.get("current_period_end")),
        metadata=_metadata(payload),
    )


def parse_subscription(payload: Payload) -> Subscription:
    items = payload.get("items") or {"data": [], "has_more": False}
    return Subscription(
        id=payload["id"],
        customer=get_id(payload["customer"]) or "",
        status=payload["status"],
        currency=_text(payload, "currency"),
        collection_method=_text(payload, "collection_method"),
        days_until_due=payload.get("days_until_due"),
        billing_cycle_anchor_at=parse_instant(payload.get("billing_cycle_anchor")),
        started_at=parse_instant(payload.get("start_date")),
        created_at=_moment(payload["created"]),
        cancel_at_period_end=bool(payload.get("cancel_at_period_end")),
        cancel_at=parse_instant(payload.get("cancel_at")),
        canceled_at=parse_instant(payload.get("canceled_at")),
        ended_at=parse_instant(payload.get("ended_at")),
        latest_invoice=get_id(payload.get("latest_invoice")),
        test_clock=get_id(payload.get("test_clock")),
        description=_text(payload, "description"),
        items=tuple(_parse_subscription_item(item) for item in items["data"]),
        has_more_items=bool(items.get("has_more")),
        metadata=_metadata(payload),
    )


def _parse_percentages(payload: Payload) -> dict[str, Decimal]:
    """The tax rates that Stripe embeds whole, by id: lines name theirs only by id."""
    found: dict[str, Decimal] = {}
    for rate in payload.get("default_tax_rates") or ():
        percentage = _decimal(rate.get("percentage"))
        if percentage is not None:
            found[rate["id"]] = percentage
    return found


def _parse_line_tax(payload: Payload, percentages: Mapping[str, Decimal]) -> LineTax:
    rate = get_id((payload.get("tax_rate_details") or {}).get("tax_rate"))
    return LineTax(
        amount_minor=payload["amount"],
        taxable_minor=payload.get("taxable_amount"),
        percentage=percentages.get(rate or ""),
        reason=_text(payload, "taxability_reason"),
        is_inclusive=_is_inclusive(payload),
        rate=rate or "",
    )


def parse_invoice_line(
    payload: Payload, *, percentages: Mapping[str, Decimal] = MappingProxyType({})
) -> InvoiceLine:
    """A line. `percentages` are those of the tax rates that its invoice embeds, by id."""
    parent = payload.get("parent") or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    pricing = payload.get("pricing") or {}
    prices = pricing.get("price_details") or {}
    return InvoiceLine(
        id=payload["id"],
        amount_minor=payload["amount"],
        currency=payload["currency"],
        quantity=payload.get("quantity"),
        unit_amount_decimal=_decimal(pricing.get("unit_amount_decimal")),
        description=_text(payload, "description"),
        period_start=_moment(payload["period"]["start"]),
        period_end=_moment(payload["period"]["end"]),
        price=get_id(prices.get("price")),
        product=get_id(prices.get("product")),
        subscription=get_id(payload.get("subscription")) or get_id(details.get("subscription")),
        subscription_item=details.get("subscription_item"),
        invoice_item=get_id(details.get("invoice_item")),
        is_proration=bool(details.get("proration")),
        discount_minor=_sum_amounts(payload.get("discount_amounts")),
        tax_minor=_sum_amounts(payload.get("taxes")),
        taxes=tuple(_parse_line_tax(tax, percentages) for tax in payload.get("taxes") or ()),
        metadata=_metadata(payload),
    )


def parse_invoice(payload: Payload, *, lines: Iterable[Payload] | None = None) -> Invoice:
    """An invoice. `lines` replaces the first page that the payload carries, and then counts as all of them."""
    moments = payload.get("status_transitions") or {}
    parent = payload.get("parent") or {}
    page = payload.get("lines") or {"data": [], "has_more": False}
    percentages = _parse_percentages(payload)
    return Invoice(
        id=payload.get("id") or "",
        number=payload.get("number"),
        status=_text(payload, "status"),
        customer=get_id(payload.get("customer")) or "",
        customer_name=_text(payload, "customer_name"),
        customer_email=_text(payload, "customer_email"),
        customer_address=parse_address(payload.get("customer_address")),
        customer_tax_ids=tuple(
            TaxId(type=entry["type"], value=entry.get("value") or "")
            for entry in payload.get("customer_tax_ids") or ()
        ),
        customer_tax_exempt=_text(payload, "customer_tax_exempt") or "none",
        currency=payload["currency"],
        subtotal_minor=payload["subtotal"],
        total_minor=payload["total"],
        total_tax_minor=_sum_amounts(payload.get("total_taxes")),
        inclusive_tax_minor=_sum_inclusive(payload.get("total_taxes")),
        total_excluding_tax_minor=payload.get("total_excluding_tax"),
        total_discount_minor=_sum_amounts(payload.get("total_discount_amounts")),
        amount_due_minor=payload["amount_due"],
        amount_paid_minor=payload["amount_paid"],
        amount_remaining_minor=payload["amount_remaining"],
        starting_balance_minor=payload.get("starting_balance") or 0,
        ending_balance_minor=payload.get("ending_balance"),
        billing_reason=_text(payload, "billing_reason"),
        collection_method=_text(payload, "collection_method"),
        auto_advance=bool(payload.get("auto_advance")),
        created_at=_moment(payload["created"]),
        period_start=_moment(payload["period_start"]),
        period_end=_moment(payload["period_end"]),
        finalized_at=parse_instant(moments.get("finalized_at")),
        due_at=parse_instant(payload.get("due_date")),
        paid_at=parse_instant(moments.get("paid_at")),
        voided_at=parse_instant(moments.get("voided_at")),
        hosted_invoice_url=_text(payload, "hosted_invoice_url"),
        subscription=get_id((parent.get("subscription_details") or {}).get("subscription")),
        attempt_count=payload.get("attempt_count") or 0,
        next_payment_attempt_at=parse_instant(payload.get("next_payment_attempt")),
        description=_text(payload, "description"),
        footer=_text(payload, "footer"),
        test_clock=get_id(payload.get("test_clock")),
        lines=tuple(
            parse_invoice_line(line, percentages=percentages)
            for line in (page["data"] if lines is None else lines)
        ),
        has_more_lines=lines is None and bool(page.get("has_more")),
        metadata=_metadata(payload),
    )


def parse_invoice_item(payload: Payload) -> InvoiceItem:
    return InvoiceItem(
        id=payload["id"],
        customer=get_id(payload["customer"]) or "",
        amount_minor=payload["amount"],
        currency=payload["currency"],
        description=_text(payload, "description"),
        period_start=_moment(payload["period"]["start"]),
        period_end=_moment(payload["period"]["end"]),
        invoice=get_id(payload.get("invoice")),
        metadata=_metadata(payload),
    )


def parse_credit_note_line(payload: Payload) -> CreditNoteLine:
    """A line of a credit note. Percentages are known where Stripe embeds the rate, which it does for custom lines."""
    rates = _parse_percentages({"default_tax_rates": payload.get("tax_rates")})
    return CreditNoteLine(
        id=payload["id"],
        amount_minor=payload["amount"],
        quantity=payload.get("quantity"),
        unit_amount_decimal=_decimal(payload.get("unit_amount_decimal")),
        description=_text(payload, "description"),
        invoice_line=get_id(payload.get("invoice_line_item")),
        discount_minor=payload.get("discount_amount") or _sum_amounts(payload.get("discount_amounts")),
        tax_minor=_sum_amounts(payload.get("taxes")),
        taxes=tuple(_parse_line_tax(tax, rates) for tax in payload.get("taxes") or ()),
        metadata=_metadata(payload),
    )


def parse_credit_note(payload: Payload, *, lines: Iterable[Payload] | None = None) -> CreditNote:
    """A credit note. `lines` replaces the first page that the payload carries, and then counts as all of them."""
    page = payload.get("lines") or {"data": [], "has_more": False}
    return CreditNote(
        id=payload["id"],
        number=_text(payload, "number"),
        invoice=get_id(payload["invoice"]) or "",
        customer=get_id(payload["customer"]) or "",
        status=payload["status"],
        currency=payload["currency"],
        amount_minor=payload["amount"],
        subtotal_minor=payload["subtotal"],
        total_minor=payload["total"],
        total_tax_minor=_sum_amounts(payload.get("total_taxes")),
        inclusive_tax_minor=_sum_inclusive(payload.get("total_taxes")),
        total_excluding_tax_minor=payload.get("total_excluding_tax"),
        total_discount_minor=payload.get("discount_amount") or 0,
        pre_payment_minor=payload.get("pre_payment_amount") or 0,
        post_payment_minor=payload.get("post_payment_amount") or 0,
        refunded_minor=sum(refund.get("amount_refunded") or 0 for refund in payload.get("refunds") or ()),
        out_of_band_minor=payload.get("out_of_band_amount") or 0,
        reason=_text(payload, "reason"),
        memo=_text(payload, "memo"),
        created_at=_moment(payload["created"]),
        effective_at=parse_instant(payload.get("effective_at")),
        voided_at=parse_instant(payload.get("voided_at")),
        lines=tuple(parse_credit_note_line(line) for line in (page["data"] if lines is None else lines)),
        has_more_lines=lines is None and bool(page.get("has_more")),
        metadata=_metadata(payload),
    )


def parse_meter_event_summary(payload: Payload) -> MeterEventSummary:
    """Stripe types the aggregate as a number with fractions; ours are counts, so a fraction is an error."""
    value = Decimal(str(payload["aggregated_value"]))
    if value != value.to_integral_value():
        raise ValueError(f"meter summary {payload.get('id')} holds {value}, which is not a count")
    return MeterEventSummary(
        value=int(value), start_at=_moment(payload["start_time"]), end_at=_moment(payload["end_time"])
    )


def parse_test_clock(payload: Payload) -> TestClock:
    return TestClock(
        id=payload["id"],
        name=_text(payload, "name"),
        status=payload["status"],
        frozen_at=_moment(payload["frozen_time"]),
    )


def parse_webhook_endpoint(payload: Payload) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=payload["id"],
        url=payload["url"],
        status=_text(payload, "status"),
        enabled_events=tuple(payload.get("enabled_events") or ()),
        secret=payload.get("secret"),
    )
