"""Payment intents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import complete, list_page
from sandbox.engine.store import Store
from sandbox.resources.cards import AUTHENTICATION, Decline, card_of
from sandbox.resources.charges import capture_charge, make_charge
from sandbox.resources.fields import changed, filter_created, filter_equal, merge_metadata, unset
from sandbox.resources.payment_methods import attach, build_payment_method, resolve_method

KIND = "payment_intent"
MINIMUM = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "chf": 50, "cad": 50, "aud": 50}
"""Smallest chargeable amounts in minor units; other currencies take any positive amount here."""
MAXIMUM = 99_999_999
_PLAIN = (
    *("description", "receipt_email", "setup_future_usage", "shipping", "statement_descriptor"),
    *("statement_descriptor_suffix", "transfer_group", "payment_method_types", "payment_method_options"),
)
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "customer")


@operation(
    "POST",
    "/v1/payment_intents",
    params="PaymentIntentCreateParams",
    refuses=(
        "application_fee_amount",
        "on_behalf_of",
        "transfer_data",
        "confirmation_token",
        "excluded_payment_method_types",
        "mandate",
        "payment_details",
        "payment_method_configuration",
    ),
)
def create_payment_intent(ctx: Context) -> JsonObject:
    """Create a payment intent and, with ``confirm``, attempt the payment; emits ``payment_intent.created``."""
    params = ctx.params
    if "customer" in params:
        ctx.require("customer", params["customer"], "customer")
    intent = new_intent(ctx, params["amount"], params["currency"], params.get("customer"))
    if "automatic_payment_methods" in params:
        intent["automatic_payment_methods"] = {
            "allow_redirects": "always",
            **params["automatic_payment_methods"],
        }
    intent["capture_method"] = params.get("capture_method", "automatic_async")
    intent["confirmation_method"] = params.get("confirmation_method", "automatic")
    _apply(ctx, intent, params)
    ctx.store.put(KIND, intent)
    ctx.emit("payment_intent.created", intent)
    if params.get("confirm"):
        return confirm_intent(ctx, intent, off_session=_is_off_session(params.get("off_session")))
    return intent


def new_intent(ctx: Context, amount: int, currency: str, customer_id: str | None) -> JsonObject:
    """Return a new, unstored payment intent over ``amount`` minor units.

    Raises:
        StripeError: the amount is below the currency's minimum or above what Stripe takes.
    """
    currency = currency.lower()
    if amount < 1:
        raise invalid("amount", "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    if amount < MINIMUM.get(currency, 1):
        raise invalid(
            "amount", f"Amount must be at least {MINIMUM[currency]} in {currency}.", "amount_too_small"
        )
    if amount > MAXIMUM:
        raise invalid("amount", f"Amount must be no more than {MAXIMUM}.", "amount_too_large")
    id = ctx.store.new_id("pi")
    return {
        "id": id,
        "object": KIND,
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "automatic_payment_methods": None,
        "capture_method": "automatic",
        "client_secret": f"{id}_secret_{ctx.store.new_id('x')[2:]}",
        "confirmation_method": "automatic",
        "created": ctx.now_for(customer_id),
        "currency": currency,
        "customer": customer_id,
        "description": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "payment_method": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "receipt_email": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "status": "requires_payment_method",
        "transfer_group": None,
    }


def _apply(ctx: Context, intent: JsonObject, params: JsonObject) -> None:
    for name in _PLAIN:
        if name in params:
            intent[name] = unset(params[name])
    if "metadata" in params:
        intent["metadata"] = merge_metadata(intent["metadata"], params["metadata"])
    method_id = params.get("payment_method")
    if method_id:
        method = resolve_method(ctx, method_id, "payment_method")
        _check_owner(intent, method)
    elif "payment_method_data" in params:
        method = build_payment_method(ctx, params["payment_method_data"])
        ctx.store.put("payment_method", method)
    else:
        return
    intent["payment_method"] = method["id"]
    if intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"


def _check_owner(intent: JsonObject, method: JsonObject) -> None:
    if method["customer"] is not None and method["customer"] != intent["customer"]:
        raise invalid(
            "payment_method",
            f"The provided PaymentMethod ({method['id']}) belongs to another customer. To use it, you must pass that "
            "customer as `customer`.",
        )


def _is_off_session(value: Any) -> bool:
    return value not in (None, False)


def confirm_intent(ctx: Context, intent: JsonObject, *, off_session: bool) -> JsonObject:
    """Attempt the payment. Returns the succeeded, capturable or action-requiring intent.

    Raises:
        StripeError: 402 ``card_error``; the intent is back to ``requires_payment_method`` with ``last_payment_error``.
    """
    if intent["payment_method"] is None:
        raise invalid(
            "payment_method",
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent "
            "with a payment method and then confirm it again.",
            "payment_intent_unexpected_state",
        )
    method = resolve_method(ctx, intent["payment_method"], "payment_method")
    card = card_of(method)
    if card.needs_authentication and not off_session:
        return _require_action(ctx, intent)
    refusal = card.on_charge
    return settle_attempt(ctx, intent, method, AUTHENTICATION if card.needs_authentication else refusal)


def settle_attempt(
    ctx: Context, intent: JsonObject, method: JsonObject, refusal: Decline | None
) -> JsonObject:
    """Record the outcome of an attempt on the intent, emit its events and return it.

    Raises:
        StripeError: 402 where ``refusal`` is given.
    """
    capture = intent["capture_method"] != "manual"
    charge = make_charge(ctx, intent, method, refusal=refusal, capture=capture)
    after = {**intent, "latest_charge": charge["id"], "next_action": None}
    if refusal is not None:
        error = _last_error(charge, method, refusal)
        after |= {"status": "requires_payment_method", "payment_method": None, "last_payment_error": error}
        ctx.store.put(KIND, after)
        ctx.emit("payment_intent.payment_failed", after)
        raise refusal.error(
            {
                "charge": charge["id"],
                "payment_intent": complete(KIND, after),
                "payment_method": complete(method["object"], method),
            }
        )
    after["last_payment_error"] = None
    if capture:
        after |= {"status": "succeeded", "amount_received": intent["amount"]}
    else:
        after |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
    if intent["setup_future_usage"] and intent["customer"] and method["customer"] is None:
        attach(ctx, method["id"], intent["customer"])
    ctx.store.put(KIND, after)
    ctx.emit("payment_intent.succeeded" if capture else "payment_intent.amount_capturable_updated", after)
    return after


def _last_error(charge: JsonObject, method: JsonObject, refusal: Decline) -> JsonObject:
    error: JsonObject = {
        "charge": charge["id"],
        "code": refusal.code,
        "doc_url": f"https://stripe.com/docs/error-codes/{refusal.code.replace('_', '-')}",
        "message": refusal.message,
        "type": "card_error",
    }
    if refusal.decline_code:
        error["decline_code"] = refusal.decline_code
    if method["object"] == "payment_method":
        error["payment_method"] = complete("payment_method", method)
    return error


def _require_action(ctx: Context, intent: JsonObject) -> JsonObject:
    after = {
        **intent,
        "status": "requires_action",
        "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}},
    }
    ctx.store.put(KIND, after)
    ctx.emit("payment_intent.requires_action", after)
    return after


def _in_state(ctx: Context, verb: str, *statuses: str) -> JsonObject:
    intent = ctx.require(KIND, ctx.path["intent"], "intent")
    if intent["status"] not in statuses:
        raise StripeError(
            400,
            f"This PaymentIntent's status is {intent['status']}: you cannot {verb} it. Only a PaymentIntent with one "
            f"of the following statuses may be: {', '.join(statuses)}.",
            code="payment_intent_unexpected_state",
            extra={"payment_intent": complete(KIND, intent)},
        )
    return intent


@operation("GET", "/v1/payment_intents/{intent}", params="PaymentIntentRetrieveParams")
def retrieve_payment_intent(ctx: Context) -> JsonObject:
    """Return a payment intent."""
    return ctx.require(KIND, ctx.path["intent"], "intent")


@operation(
    "POST",
    "/v1/payment_intents/{intent}",
    params="PaymentIntentModifyParams",
    refuses=(
        "application_fee_amount",
        "transfer_data",
        "excluded_payment_method_types",
        "payment_details",
        "payment_method_configuration",
    ),
)
def update_payment_intent(ctx: Context) -> JsonObject:
    """Update an intent that was not confirmed yet."""
    intent = _in_state(ctx, "update", *_CONFIRMABLE)
    after = dict(intent)
    if "amount" in ctx.params or "currency" in ctx.params:
        asked = {"amount": intent["amount"], "currency": intent["currency"], **ctx.params}
        fresh = new_intent(ctx, asked["amount"], asked["currency"], None)
        after |= {"amount": fresh["amount"], "currency": fresh["currency"]}
    if ctx.params.get("customer"):
        after["customer"] = ctx.require("customer", ctx.params["customer"], "customer")["id"]
    _apply(ctx, after, ctx.params)
    ctx.store.put(KIND, after)
    return after


@operation(
    "POST",
    "/v1/payment_intents/{intent}/confirm",
    params="PaymentIntentConfirmParams",
    refuses=(
        "amount_to_confirm",
        "confirmation_token",
        "excluded_payment_method_types",
        "mandate",
        "payment_details",
    ),
)
def confirm_payment_intent(ctx: Context) -> JsonObject:
    """Attempt the payment."""
    intent = dict(_in_state(ctx, "confirm", *_CONFIRMABLE))
    _apply(ctx, intent, ctx.params)
    confirmed = confirm_intent(ctx, intent, off_session=_is_off_session(ctx.params.get("off_session")))
    for hook in CONFIRMED_HOOKS:
        hook(ctx, confirmed)
    return confirmed


CONFIRMED_HOOKS: list[Callable[[Context, JsonObject], None]] = []
"""Functions ``(ctx, intent)`` that run when a client has confirmed an intent itself (the payment of an invoice)."""


@operation(
    "POST",
    "/v1/payment_intents/{intent}/capture",
    params="PaymentIntentCaptureParams",
    refuses=("application_fee_amount", "transfer_data", "final_capture", "payment_details"),
)
def capture_payment_intent(ctx: Context) -> JsonObject:
    """Capture what was authorised, or ``amount_to_capture`` of it."""
    intent = _in_state(ctx, "capture", "requires_capture")
    amount = (
        ctx.params["amount_to_capture"] if "amount_to_capture" in ctx.params else intent["amount_capturable"]
    )
    if not 1 <= amount <= intent["amount_capturable"]:
        raise invalid(
            "amount_to_capture", "The amount is greater than the capturable amount.", "amount_too_large"
        )
    capture_charge(ctx, ctx.require("charge", intent["latest_charge"]), amount)
    after = {**intent, "status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    ctx.store.put(KIND, after)
    ctx.emit("payment_intent.succeeded", after)
    return after


@operation("POST", "/v1/payment_intents/{intent}/cancel", params="PaymentIntentCancelParams")
def cancel_payment_intent(ctx: Context) -> JsonObject:
    """Cancel an intent that did not succeed; emits ``payment_intent.canceled``."""
    intent = _in_state(ctx, "cancel", *_CONFIRMABLE, "requires_capture", "processing")
    return cancel_intent(ctx, intent, ctx.params.get("cancellation_reason"))


def cancel_intent(ctx: Context, intent: JsonObject, reason: str | None) -> JsonObject:
    """Cancel and announce; the caller has checked the status."""
    after = {
        **intent,
        "status": "canceled",
        "canceled_at": ctx.now_for(intent["customer"]),
        "cancellation_reason": reason,
        "amount_capturable": 0,
        "next_action": None,
    }
    ctx.store.put(KIND, after)
    ctx.emit("payment_intent.canceled", after, changed(intent, after))
    return after


@operation("GET", "/v1/payment_intents", params="PaymentIntentListParams")
def list_payment_intents(ctx: Context) -> JsonObject:
    """List payment intents; ``customer`` and ``created`` filter."""
    if "customer" in ctx.params:
        items = ctx.store.find(KIND, "customer", ctx.params["customer"])
    else:
        items = ctx.store.all(KIND)
    items = filter_created(filter_equal(items, ctx.params, "customer"), ctx.params.get("created"))
    return list_page(ctx, items, "/v1/payment_intents")
