"""Stripe's objects and events as it sends them, cut to what matters here. Companies and ids are invented."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

#: 2026-11-01T01:00:00Z, an hour after the dual-run month.
NOVEMBER = int(datetime(2026, 11, 1, 1, tzinfo=UTC).timestamp())
_OCTOBER_START = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
_NOVEMBER_START = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
_numbers = count(1)


def make_line(**changes: Any) -> dict[str, Any]:
    """A metered line of October: 400 impressions at 0.05 cents."""
    return {
        "id": "il_1",
        "object": "line_item",
        "amount": 20,
        "currency": "usd",
        "description": "400 impressions",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "livemode": False,
        "metadata": {},
        "parent": {
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "subscription": "sub_1",
                "subscription_item": "si_1",
            },
        },
        "period": {"start": _OCTOBER_START, "end": _NOVEMBER_START},
        "pricing": {
            "type": "price_details",
            "price_details": {"price": "price_st", "product": "prod_st"},
            "unit_amount_decimal": "0.05",
        },
        "quantity": 400,
        "taxes": [],
        **changes,
    }


def make_job_line(**changes: Any) -> dict[str, Any]:
    """A managed service of account 5002, billed as an invoice item."""
    return make_line(
        **{
            "id": "il_job",
            "amount": 123456,
            "description": "Managed service",
            "metadata": {"kind": "managed", "account_id": "5002", "job_id": "9"},
            "parent": {
                "type": "invoice_item_details",
                "invoice_item_details": {"invoice_item": "ii_1", "proration": False, "subscription": None},
                "subscription_item_details": None,
            },
            "pricing": {
                "type": "price_details",
                "price_details": {"price": "price_auto", "product": "prod_auto"},
                "unit_amount_decimal": "123456",
            },
            "quantity": 1,
            **changes,
        }
    )


def make_invoice(**changes: Any) -> dict[str, Any]:
    """A finalized invoice over October's usage, 0.20 dollars, in the pinned API version."""
    lines = changes.pop("lines", [make_line()])
    total = sum(line["amount"] for line in lines)
    return {
        "id": "in_1",
        "object": "invoice",
        "amount_due": total,
        "amount_paid": 0,
        "amount_remaining": total,
        "attempt_count": 0,
        "auto_advance": True,
        "billing_reason": "subscription_cycle",
        "collection_method": "charge_automatically",
        "created": _NOVEMBER_START,
        "currency": "usd",
        "customer": "cus_1",
        "customer_address": {"city": "Springfield", "country": "US", "line1": "1 Example Street"},
        "customer_email": "billing@example.com",
        "customer_name": "Example Ltd",
        "customer_tax_ids": [{"type": "eu_vat", "value": "DE000000000"}],
        "description": None,
        "due_date": None,
        "ending_balance": 0,
        "footer": None,
        "hosted_invoice_url": "https://example.com/i/in_1",
        "lines": {"object": "list", "data": lines, "has_more": False, "url": "/v1/invoices/in_1/lines"},
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": "EXAMPLE-0001",
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": "sub_1"},
        },
        "period_end": _NOVEMBER_START,
        "period_start": _OCTOBER_START,
        "starting_balance": 0,
        "status": "open",
        "status_transitions": {
            "finalized_at": NOVEMBER,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": total,
        "test_clock": "clock_1",
        "total": total,
        "total_discount_amounts": [],
        "total_taxes": [],
        **changes,
    }


def make_paid_invoice(**changes: Any) -> dict[str, Any]:
    invoice = make_invoice(**changes)
    invoice.update(status="paid", amount_paid=invoice["total"], amount_remaining=0)
    invoice["status_transitions"] = {**invoice["status_transitions"], "paid_at": NOVEMBER + 60}
    return invoice


def make_subscription(**changes: Any) -> dict[str, Any]:
    return {
        "id": "sub_1",
        "object": "subscription",
        "billing_cycle_anchor": _NOVEMBER_START,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "collection_method": "charge_automatically",
        "created": _OCTOBER_START,
        "currency": "usd",
        "customer": "cus_1",
        "days_until_due": None,
        "description": None,
        "ended_at": None,
        "items": {
            "object": "list",
            "has_more": False,
            "data": [
                {
                    "id": "si_1",
                    "object": "subscription_item",
                    "current_period_start": _OCTOBER_START,
                    "current_period_end": _NOVEMBER_START,
                    "metadata": {"kind": "ST"},
                    "price": {"id": "price_st", "object": "price", "product": "prod_st"},
                }
            ],
        },
        "latest_invoice": "in_1",
        "livemode": False,
        "metadata": {"account_id": "5001"},
        "start_date": _OCTOBER_START,
        "status": "active",
        "test_clock": "clock_1",
        **changes,
    }


def make_credit_line(**changes: Any) -> dict[str, Any]:
    """Half of the metered line of `make_invoice`, taken back."""
    return {
        "id": "cnli_1",
        "object": "credit_note_line_item",
        "amount": 10,
        "description": "200 impressions",
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": "il_1",
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": 200,
        "tax_rates": [],
        "taxes": [],
        "type": "invoice_line_item",
        "unit_amount": None,
        "unit_amount_decimal": None,
        **changes,
    }


def make_credit_note(**changes: Any) -> dict[str, Any]:
    lines = changes.pop("lines", [make_credit_line()])
    return {
        "id": "cn_1",
        "object": "credit_note",
        "amount": 10,
        "created": NOVEMBER,
        "currency": "usd",
        "customer": "cus_1",
        "invoice": "in_1",
        "lines": {"object": "list", "data": lines, "has_more": False, "url": "/v1/credit_notes/cn_1/lines"},
        "livemode": False,
        "memo": "Half of it",
        "metadata": {},
        "number": "EXAMPLE-0001-CN-01",
        "reason": "order_change",
        "post_payment_amount": 0,
        "pre_payment_amount": 10,
        "refunds": [],
        "status": "issued",
        "subtotal": 10,
        "total": 10,
        "voided_at": None,
        **changes,
    }


def make_customer(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cus_1",
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": _OCTOBER_START,
        "email": "billing@example.com",
        "invoice_settings": {"default_payment_method": "pm_1"},
        "livemode": False,
        "metadata": {"account_id": "5001"},
        "name": "Example Ltd",
        "preferred_locales": [],
        "test_clock": "clock_1",
        **changes,
    }


def make_product(**changes: Any) -> dict[str, Any]:
    return {
        "id": "prod_st",
        "object": "product",
        "active": True,
        "created": _OCTOBER_START,
        "livemode": False,
        "metadata": {"kind": "ST"},
        "name": "Impressions",
        **changes,
    }


def make_price(**changes: Any) -> dict[str, Any]:
    return {
        "id": "price_st",
        "object": "price",
        "active": True,
        "billing_scheme": "tiered",
        "created": _OCTOBER_START,
        "currency": "usd",
        "livemode": False,
        "lookup_key": "tiers_st_usd_1",
        "metadata": {"kind": "ST"},
        "nickname": None,
        "product": "prod_st",
        "recurring": {"interval": "month", "meter": "mtr_1", "usage_type": "metered"},
        "tiers_mode": "graduated",
        "type": "recurring",
        "unit_amount": None,
        "unit_amount_decimal": None,
        **changes,
    }


def make_event(type: str, content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A snapshot event about an object, at `NOVEMBER` unless told otherwise. Each has an id of its own."""
    previous = changes.pop("previous_attributes", None)
    data = {"object": content} | ({"previous_attributes": previous} if previous else {})
    return {
        "id": f"evt_{next(_numbers):06d}",
        "object": "event",
        "api_version": "2026-08-26.dahlia",
        "created": NOVEMBER,
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
        **changes,
    }
