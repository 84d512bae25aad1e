"""Setup intents: a payment method saved without a payment."""

from __future__ import annotations

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import complete, list_page
from sandbox.engine.store import Store
from sandbox.resources.cards import card_of
from sandbox.resources.fields import changed, filter_created, filter_equal, merge_metadata, unset
from sandbox.resources.payment_methods import attach, build_payment_method, resolve_method

KIND = "setup_intent"
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "customer")


@operation(
    "POST",
    "/v1/setup_intents",
    params="SetupIntentCreateParams",
    refuses=(
        "on_behalf_of",
        "attach_to_self",
        "confirmation_token",
        "excluded_payment_method_types",
        "flow_directions",
        "payment_method_configuration",
        "single_use",
    ),
)
def create_setup_intent(ctx: Context) -> JsonObject:
    """Create a setup intent and, with ``confirm``, complete it; emits ``setup_intent.created``."""
    params = ctx.params
    customer_id = params.get("customer")
    if customer_id:
        ctx.require("customer", customer_id, "customer")
    intent = new_setup_intent(ctx, customer_id)
    if "automatic_payment_methods" in params:
        intent["automatic_payment_methods"] = {
            "allow_redirects": "always",
            **params["automatic_payment_methods"],
        }
    for name in ("usage", "payment_method_types"):
        if name in params:
            intent[name] = params[name]
    _apply(ctx, intent, params)
    ctx.store.put(KIND, intent)
    ctx.emit("setup_intent.created", intent)
    return confirm_setup(ctx, intent) if params.get("confirm") else intent


def new_setup_intent(ctx: Context, customer_id: str | None) -> JsonObject:
    """Return a new, unstored setup intent."""
    id = ctx.store.new_id("seti")
    return {
        "id": id,
        "object": KIND,
        "automatic_payment_methods": None,
        "client_secret": f"{id}_secret_{ctx.store.new_id('x')[2:]}",
        "created": ctx.now_for(customer_id),
        "customer": customer_id,
        "description": None,
        "livemode": False,
        "metadata": {},
        "payment_method": None,
        "payment_method_options": {
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
        "usage": "off_session",
    }


def _apply(ctx: Context, intent: JsonObject, params: JsonObject) -> None:
    if "description" in params:
        intent["description"] = unset(params["description"])
    if "metadata" in params:
        intent["metadata"] = merge_metadata(intent["metadata"], params["metadata"])
    if params.get("payment_method"):
        method = resolve_method(ctx, params["payment_method"], "payment_method")
    elif "payment_method_data" in params:
        method = build_payment_method(ctx, params["payment_method_data"])
        ctx.store.put("payment_method", method)
    else:
        return
    intent["payment_method"] = method["id"]
    if intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"


def confirm_setup(ctx: Context, intent: JsonObject) -> JsonObject:
    """Complete the setup: the method is attached to the customer. Emits ``setup_intent.succeeded``.

    Raises:
        StripeError: 402 where the card refuses; emits ``setup_intent.setup_failed``.
    """
    if intent["payment_method"] is None:
        raise invalid(
            "payment_method",
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            "setup_intent_unexpected_state",
        )
    method = resolve_method(ctx, intent["payment_method"], "payment_method")
    refusal = card_of(method).on_attach
    if refusal is not None:
        failed = {
            **intent,
            "status": "requires_payment_method",
            "payment_method": None,
            "last_setup_error": {
                "code": refusal.code,
                "decline_code": refusal.decline_code,
                "message": refusal.message,
                "type": "card_error",
            },
        }
        ctx.store.put(KIND, failed)
        ctx.emit("setup_intent.setup_failed", failed)
        raise refusal.error({"setup_intent": complete(KIND, failed)})
    if intent["customer"]:
        attach(ctx, method["id"], intent["customer"])
    after = {**intent, "status": "succeeded", "last_setup_error": None}
    ctx.store.put(KIND, after)
    ctx.emit("setup_intent.succeeded", after)
    return after


def _open(ctx: Context, verb: str) -> JsonObject:
    intent = ctx.require(KIND, ctx.path["intent"], "intent")
    if intent["status"] not in _CONFIRMABLE:
        raise StripeError(
            400,
            f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}. Only a SetupIntent "
            f"with one of the following statuses may be: {', '.join(_CONFIRMABLE)}.",
            code="setup_intent_unexpected_state",
            extra={"setup_intent": complete(KIND, intent)},
        )
    return dict(intent)


@operation("GET", "/v1/setup_intents/{intent}", params="SetupIntentRetrieveParams")
def retrieve_setup_intent(ctx: Context) -> JsonObject:
    """Return a setup intent."""
    return ctx.require(KIND, ctx.path["intent"], "intent")


@operation(
    "POST",
    "/v1/setup_intents/{intent}",
    params="SetupIntentModifyParams",
    refuses=(
        "attach_to_self",
        "excluded_payment_method_types",
        "flow_directions",
        "payment_method_configuration",
    ),
)
def update_setup_intent(ctx: Context) -> JsonObject:
    """Update an unconfirmed setup intent."""
    intent = _open(ctx, "update")
    if ctx.params.get("customer"):
        intent["customer"] = ctx.require("customer", ctx.params["customer"], "customer")["id"]
    _apply(ctx, intent, ctx.params)
    ctx.store.put(KIND, intent)
    return intent


@operation(
    "POST",
    "/v1/setup_intents/{intent}/confirm",
    params="SetupIntentConfirmParams",
    refuses=("confirmation_token",),
)
def confirm_setup_intent(ctx: Context) -> JsonObject:
    """Complete the setup."""
    intent = _open(ctx, "confirm")
    _apply(ctx, intent, ctx.params)
    return confirm_setup(ctx, intent)


@operation("POST", "/v1/setup_intents/{intent}/cancel", params="SetupIntentCancelParams")
def cancel_setup_intent(ctx: Context) -> JsonObject:
    """Cancel; emits ``setup_intent.canceled``."""
    intent = _open(ctx, "cancel")
    after = {**intent, "status": "canceled", "cancellation_reason": ctx.params.get("cancellation_reason")}
    ctx.store.put(KIND, after)
    ctx.emit("setup_intent.canceled", after, changed(intent, after))
    return after


@operation("GET", "/v1/setup_intents", params="SetupIntentListParams")
def list_setup_intents(ctx: Context) -> JsonObject:
    """List setup intents; ``customer``, ``payment_method`` and ``created`` filter."""
    items = filter_equal(ctx.store.all(KIND), ctx.params, "customer", "payment_method")
    return list_page(ctx, filter_created(items, ctx.params.get("created")), "/v1/setup_intents")
