"""Checkout sessions in setup and subscription mode, and the step a person at a browser would take."""

from __future__ import annotations

from typing import Any

from sandbox.billing import due
from sandbox.billing.pricing import product_name, shown_price
from sandbox.billing.tiers import rate
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.expand import includable
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.customers import create_customer
from sandbox.resources.fields import filter_created, filter_equal, merge_metadata
from sandbox.resources.payment_methods import attach
from sandbox.resources.setup_intents import confirm_setup, new_setup_intent
from sandbox.resources.subscription_params import chosen_price
from sandbox.resources.subscriptions import create_subscription

KIND = "checkout.session"
OPEN_SECONDS = 24 * 3_600
DEFAULT_CARD = "pm_card_visa"
COPIED = (
    "allow_promotion_codes", "billing_address_collection", "cancel_url", "client_reference_id", "customer_creation",
    "customer_email", "locale", "return_url", "submit_type", "success_url",
)  # fmt: skip


@on_load
def _declare(store: Store) -> None:
    store.index(KIND, "customer")


@operation("POST", "/v1/checkout/sessions", params="checkout.SessionCreateParams")
def create_session(ctx: Context) -> JsonObject:
    """Open a session; `mode` is `setup` or `subscription`.

    Raises:
        StripeError: 400, the mode is `payment` (not covered), or line items are missing or out of place.
    """
    params = ctx.params
    mode = params.get("mode", "payment")
    if mode == "payment":
        raise invalid("mode", "The sandbox covers the modes `setup` and `subscription`.")
    if params.get("customer"):
        ctx.require("customer", params["customer"], "customer")
    session = _blank(ctx, mode, params)
    if mode == "subscription":
        _add_line_items(ctx, session, params)
    else:
        _add_setup_intent(ctx, session, params)
    ctx.store.put(KIND, session)
    due.wait(ctx, session, session["expires_at"])
    return session


def _blank(ctx: Context, mode: str, params: dict[str, Any]) -> JsonObject:
    now = ctx.now()
    session_id = ctx.store.new_id("cs_test")
    hosted = params.get("ui_mode", "hosted_page") == "hosted_page"
    return {
        "id": session_id,
        "object": KIND,
        **{name: params.get(name) for name in COPIED},
        "_items": [],
        "_subscription_data": params.get("subscription_data", {}),
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "client_secret": None if hosted else f"{session_id}_secret_{ctx.store.new_id('x')[2:]}",
        "created": now,
        "currency": params.get("currency"),
        "custom_fields": [],
        "custom_text": {
            "after_submit": None, "shipping_address": None, "submit": None, "terms_of_service_acceptance": None
        },
        "customer": params.get("customer"),
        "expires_at": params.get("expires_at", now + OPEN_SECONDS),
        "invoice": None,
        "livemode": False,
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "mode": mode,
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "payment_method_types": params.get("payment_method_types", ["card"]),
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "phone_number_collection": {"enabled": False},
        "setup_intent": None,
        "shipping_options": [],
        "status": "open",
        "subscription": None,
        "ui_mode": params.get("ui_mode", "hosted_page"),
        "url": f"https://checkout.stripe.com/c/pay/{session_id}" if hosted else None,
    }  # fmt: skip


def _add_line_items(ctx: Context, session: JsonObject, params: dict[str, Any]) -> None:
    if not params.get("line_items"):
        raise invalid("line_items", "Missing required param: line_items.", "parameter_missing")
    total = 0
    for position, given in enumerate(params["line_items"]):
        price = chosen_price(ctx, given, f"line_items[{position}]")
        metered = price["recurring"]["usage_type"] == "metered"
        quantity = None if metered else given.get("quantity", 1)
        amount = 0 if metered else sum(charge.amount_minor for charge in rate(price, quantity or 0))
        total += amount
        session["currency"] = price["currency"]
        session["_items"].append(
            {
                "id": ctx.store.new_id("li"),
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price["currency"],
                "description": product_name(ctx, price),
                "metadata": given.get("metadata", {}),
                "price": shown_price(price),
                "quantity": quantity,
            }
        )
    session["amount_subtotal"] = session["amount_total"] = total
    session["total_details"] = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}


def _add_setup_intent(ctx: Context, session: JsonObject, params: dict[str, Any]) -> None:
    if params.get("line_items"):
        raise invalid("line_items", "You can not pass `line_items` in `setup` mode.")
    data = params.get("setup_intent_data", {})
    intent = new_setup_intent(ctx, session["customer"])
    intent["description"] = data.get("description")
    intent["metadata"] = merge_metadata({}, data.get("metadata", {}))
    ctx.store.put("setup_intent", intent)
    ctx.emit("setup_intent.created", intent)
    session["setup_intent"] = intent["id"]


@operation("GET", "/v1/checkout/sessions/{session}", params="checkout.SessionRetrieveParams")
def retrieve_session(ctx: Context) -> JsonObject:
    return ctx.require(KIND, ctx.path["session"], "session")


@operation("GET", "/v1/checkout/sessions", params="checkout.SessionListParams")
def list_sessions(ctx: Context) -> JsonObject:
    params = ctx.params
    found = (
        ctx.store.find(KIND, "customer", params["customer"]) if "customer" in params else ctx.store.all(KIND)
    )
    found = filter_equal(found, params, "status", "subscription", "payment_intent")
    return list_page(ctx, filter_created(found, params.get("created")), "/v1/checkout/sessions")


@operation("GET", "/v1/checkout/sessions/{session}/line_items", params="checkout.SessionListLineItemsParams")
def list_session_line_items(ctx: Context) -> JsonObject:
    session = ctx.require(KIND, ctx.path["session"], "session")
    return list_page(ctx, session["_items"][::-1], f"/v1/checkout/sessions/{session['id']}/line_items")


@includable(KIND, "line_items")
def session_line_items(ctx: Context, session: JsonObject) -> JsonObject:
    """The line items, which are only sent when asked for."""
    url = f"/v1/checkout/sessions/{session['id']}/line_items"
    return {"object": "list", "data": session["_items"], "has_more": False, "url": url}


@operation("POST", "/v1/checkout/sessions/{session}", params="checkout.SessionModifyParams")
def update_session(ctx: Context) -> JsonObject:
    session = dict(ctx.require(KIND, ctx.path["session"], "session"))
    if "metadata" in ctx.params:
        session["metadata"] = merge_metadata(session["metadata"], ctx.params["metadata"])
    ctx.store.put(KIND, session)
    return session


@operation("POST", "/v1/checkout/sessions/{session}/expire", params="checkout.SessionExpireParams")
def expire_session(ctx: Context) -> JsonObject:
    session = _open(ctx, ctx.path["session"])
    _expire(ctx, session, ctx.now())
    return session


@due.due_work(KIND)
def _expire(ctx: Context, session: JsonObject, at: int) -> None:
    session["status"], session["url"] = "expired", None
    ctx.store.put(KIND, session)
    due.wait(ctx, session, None)
    ctx.emit("checkout.session.expired", session)


def _open(ctx: Context, session_id: str) -> JsonObject:
    session = ctx.require(KIND, session_id, "session")
    if session["status"] != "open":
        raise StripeError(400, f"This Checkout Session is no longer open; it is {session['status']}.")
    return session


# The body is that of a setup intent's confirmation: `payment_method`, by default a card that works.
@operation(
    "POST", "/_sandbox/checkout/sessions/{session}/complete", params="SetupIntentConfirmParams", auth=False
)
def complete_session(ctx: Context) -> JsonObject:
    """Do what the customer does on the page: enter a card and confirm. Emits `checkout.session.completed` at the end.

    Raises:
        StripeError: 400, the session isn't open; 402, the card was refused, and the session stays open.
    """
    session = dict(_open(ctx, ctx.path["session"]))
    card = ctx.params.get("payment_method", DEFAULT_CARD)
    if session["customer"] is None:
        email = session["customer_email"] or "customer@example.com"
        session["customer"] = create_customer(Context(ctx.engine, params={"email": email}))["id"]
    if session["mode"] == "setup":
        _complete_setup(ctx, session, card)
    else:
        _complete_subscription(ctx, session, card)
    customer = ctx.require("customer", session["customer"])
    session["customer_details"] = {
        "address": customer["address"],
        "email": customer["email"],
        "name": customer["name"],
        "phone": customer["phone"],
        "tax_exempt": customer["tax_exempt"],
        "tax_ids": [],
    }
    session["status"], session["url"] = "complete", None
    ctx.store.put(KIND, session)
    due.wait(ctx, session, None)
    ctx.emit("checkout.session.completed", session)
    return session


def _complete_setup(ctx: Context, session: JsonObject, card: str) -> None:
    method = attach(ctx, card, session["customer"])
    intent = ctx.require("setup_intent", session["setup_intent"])
    confirm_setup(ctx, {**intent, "customer": session["customer"], "payment_method": method["id"]})


def _complete_subscription(ctx: Context, session: JsonObject, card: str) -> None:
    method = attach(ctx, card, session["customer"])
    items = []
    for item in session["_items"]:
        entry = {"price": item["price"]["id"], "metadata": item["metadata"]}
        items.append(entry if item["quantity"] is None else {**entry, "quantity": item["quantity"]})
    params = {
        "customer": session["customer"],
        "items": items,
        "default_payment_method": method["id"],
        "payment_behavior": "error_if_incomplete",
        **session["_subscription_data"],
    }
    subscription = create_subscription(Context(ctx.engine, params=params))
    session["subscription"], session["invoice"] = subscription["id"], subscription["latest_invoice"]
    session["payment_status"] = "paid" if session["amount_total"] else "no_payment_required"
