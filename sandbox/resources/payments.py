"""Collection of money by other resources: the functions that charge a customer and give money back."""

from __future__ import annotations

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError
from sandbox.resources.cards import card_of
from sandbox.resources.charges import refund_charge
from sandbox.resources.payment_intents import KIND, new_intent, settle_attempt
from sandbox.resources.payment_methods import resolve_method


def charge_customer(
    ctx: Context,
    customer_id: str,
    amount: int,
    currency: str,
    invoice_id: str | None,
    payment_method: str | None = None,
) -> tuple[JsonObject | None, StripeError | None]:
    """Charge a customer off session for an invoice.

    ``amount`` is in the currency's minor unit and positive. ``payment_method`` (an id or test alias) wins over the
    customer's ``invoice_settings.default_payment_method`` and ``default_source``.

    Returns the payment intent and None where the money came; the payment intent (status
    ``requires_payment_method``, ``last_payment_error`` set) and the 402 ``card_error`` where the card was declined;
    (None, a 400) where the customer has nothing to pay with. Emits ``payment_intent.*`` and ``charge.*``; the events
    of the invoice are the caller's.

    Raises:
        StripeError: the customer or payment method does not exist, or the amount is out of bounds.
    """
    customer = ctx.require("customer", customer_id, "customer")
    method_id = payment_method or default_method(customer)
    if method_id is None:
        return None, no_method_error()
    method = resolve_method(ctx, method_id, "payment_method")
    intent = new_intent(ctx, amount, currency, customer_id)
    intent |= {
        "status": "requires_confirmation",
        "payment_method": method["id"],
        "description": "Payment for Invoice" if invoice_id else None,
        "receipt_email": customer["email"],
        "_invoice": invoice_id,
    }
    ctx.store.put(KIND, intent)
    ctx.emit("payment_intent.created", intent)
    try:
        return settle_attempt(ctx, intent, method, card_of(method).on_charge), None
    except StripeError as error:
        return ctx.store.get(KIND, intent["id"]), error


def retry_payment(
    ctx: Context, intent: JsonObject, payment_method: str | None = None
) -> tuple[JsonObject | None, StripeError | None]:
    """Attempt a declined payment intent again, as the next try for an open invoice. Returns as `charge_customer`."""
    customer = ctx.require("customer", intent["customer"], "customer")
    method_id = payment_method or default_method(customer)
    if method_id is None:
        return intent, no_method_error()
    method = resolve_method(ctx, method_id, "payment_method")
    trying = {**intent, "payment_method": method["id"], "status": "requires_confirmation"}
    try:
        return settle_attempt(ctx, trying, method, card_of(method).on_charge), None
    except StripeError as error:
        return ctx.store.get(KIND, intent["id"]), error


def default_method(customer: JsonObject) -> str | None:
    """Return the id of what a customer pays with by default, or None."""
    chosen: str | None = customer["invoice_settings"]["default_payment_method"] or customer["default_source"]
    return chosen


def no_method_error() -> StripeError:
    """Return the 400 for a customer without any payment method."""
    return StripeError(
        400,
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method. For more information, visit "
        "https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.",
        code="resource_missing",
    )


def refund_payment(
    ctx: Context, payment_intent_id: str, amount: int, reason: str | None = None
) -> JsonObject:
    """Refund ``amount`` minor units of a succeeded payment intent. Returns the refund.

    Raises:
        StripeError: the intent has no charge, or the charge holds less.
    """
    intent = ctx.require(KIND, payment_intent_id, "payment_intent")
    charge = ctx.require("charge", intent["latest_charge"] or "", "charge")
    return refund_charge(ctx, charge, amount, reason)
