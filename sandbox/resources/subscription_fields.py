"""The fields of a subscription: what a new one holds, and what a request may set on it."""

from __future__ import annotations

from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, invalid
from sandbox.resources.fields import merge_metadata, unset
from sandbox.resources.subscription_params import tax_rates

NOT_COVERED = (
    "application_fee_percent",
    "billing_schedules",
    "billing_thresholds",
    "pending_invoice_item_interval",
    "transfer_data",
)
INVOICE_SETTINGS: JsonObject = {
    "account_tax_ids": None, "custom_fields": None, "description": None, "footer": None, "issuer": {"type": "self"}
}  # fmt: skip


def refuse_not_covered(params: dict[str, Any]) -> None:
    """Refuse parameters that Stripe takes and the sandbox would only ignore."""
    refuse(params, NOT_COVERED)


def refuse(params: dict[str, Any], names: tuple[str, ...]) -> None:
    """Refuse the named parameters, and automatic tax where it is switched on.

    Raises:
        StripeError: 400, naming the first of them that was given.
    """
    for name in names:
        if params.get(name):
            raise invalid(name, f"The sandbox does not cover `{name}`.")
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise invalid("automatic_tax[enabled]", "The sandbox does not cover automatic tax.")


def check_collection(method: str, params: dict[str, Any]) -> None:
    """Refuse `days_until_due` where customers are charged, and its absence where they are sent the invoice."""
    has_days = params.get("days_until_due") is not None
    if method == "send_invoice" and not has_days:
        message = "You must pass `days_until_due` (or `due_date`) when `collection_method` is `send_invoice`."
        raise invalid("days_until_due", message, "parameter_missing")
    if method != "send_invoice" and has_days:
        message = "You can only pass `days_until_due` when `collection_method` is `send_invoice`."
        raise invalid("days_until_due", message)


def blank_subscription(subscription_id: str, customer: JsonObject, currency: str, now: int) -> JsonObject:
    """A subscription with nothing chosen yet, not stored; the caller sets its start, anchor and period."""
    empty = (
        "application application_fee_percent billing_thresholds cancel_at canceled_at days_until_due default_source "
        "default_payment_method description ended_at latest_invoice next_pending_invoice_item_invoice on_behalf_of "
        "pause_collection pending_invoice_item_interval pending_setup_intent pending_update schedule transfer_data "
        "trial_end trial_start"
    )
    return {
        "id": subscription_id,
        "object": "subscription",
        **dict.fromkeys(empty.split()),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_mode": {"type": "flexible", "flexible": {"proration_discounts": "included"}, "updated_at": now},
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": dict(INVOICE_SETTINGS),
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "payment_method_options": None, "payment_method_types": None, "save_default_payment_method": "off"
        },
        "status": "active",
        "test_clock": customer.get("test_clock"),
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    }  # fmt: skip


def apply_plain(ctx: Context, subscription: JsonObject, params: dict[str, Any]) -> None:
    """Set what a request may set freely, at creation and later."""
    plain = ("collection_method", "days_until_due", "default_payment_method", "default_source", "description")
    for name in (*plain, "on_behalf_of"):
        if name in params:
            subscription[name] = unset(params[name])
    if "metadata" in params:
        subscription["metadata"] = merge_metadata(subscription["metadata"], params["metadata"])
    if "default_tax_rates" in params:
        subscription["default_tax_rates"] = tax_rates(ctx, params["default_tax_rates"], "default_tax_rates")
    for name in ("invoice_settings", "payment_settings", "trial_settings"):
        if params.get(name):
            given = {key: unset(value) for key, value in params[name].items()}
            subscription[name] = {**subscription[name], **given}
    if "pause_collection" in params:
        pause = unset(params["pause_collection"])
        subscription["pause_collection"] = {"resumes_at": None, **pause} if pause else None
    if "cancellation_details" in params:
        given = {key: unset(value) for key, value in params["cancellation_details"].items()}
        subscription["cancellation_details"] = {**subscription["cancellation_details"], **given}


def apply_end(subscription: JsonObject, params: dict[str, Any], period_end: int) -> None:
    """Set or lift the end that is planned: at a moment, or with the period."""
    now = subscription["created"] if "canceled_at" not in params else params["canceled_at"]
    if "cancel_at" in params:
        at = unset(params["cancel_at"])
        if isinstance(at, str):
            at = period_end
        if at is not None and at <= now:
            raise invalid("cancel_at", "The `cancel_at` timestamp must be in the future.")
        subscription["cancel_at"] = at
        subscription["canceled_at"] = now if at is not None else None
        subscription["cancel_at_period_end"] = False
    if "cancel_at_period_end" in params:
        ends = params["cancel_at_period_end"]
        subscription["cancel_at_period_end"] = ends
        subscription["cancel_at"] = period_end if ends else None
        subscription["canceled_at"] = now if ends else None
        reason = "cancellation_requested" if ends else None
        subscription["cancellation_details"] = {**subscription["cancellation_details"], "reason": reason}
